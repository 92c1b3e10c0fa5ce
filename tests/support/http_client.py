"""A client of a daemon's HTTP."""

import json
import re
import socket
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from typing import Any, NamedTuple

from tests.support.processes import PATIENCE, Daemon, wait_for

_AT = re.compile(r"listening-http=\"?(?:tls:)?127\.0\.0\.1:(\d+)")


class Answer(NamedTuple):
    """What was answered.  headers: by their names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def port_of(daemon: Daemon) -> int:
    """Where it listens for HTTP."""
    wait_for("where it listens for HTTP", lambda: _AT.search(daemon.log))
    found = _AT.findall(daemon.log)
    return int(found[-1])


def ask(
    daemon: Daemon, path: str, method: str = "GET", body: bytes | None = None, user: str = "", **headers: str
) -> Answer:
    """One request.  user: NAME:PASSWORD.  headers: with _ for -."""
    connection = HTTPConnection("127.0.0.1", port_of(daemon), timeout=PATIENCE)
    try:
        connection.request(method, path, body, _headers(user, headers))
        response = connection.getresponse()
        return Answer(response.status, _lower(response), response.read())
    finally:
        connection.close()


def _headers(user: str, headers: Mapping[str, str]) -> dict[str, str]:
    auth = {"Authorization": f"Basic {b64encode(user.encode()).decode()}"} if user else {}
    return auth | {name.replace("_", "-"): value for name, value in headers.items()}


def _lower(response: HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


class Event(NamedTuple):
    """A server-sent event.  data: as JSON has it."""

    kind: str
    id: str
    data: dict[str, Any]


class Events:
    """A watch that is open."""

    def __init__(self, response: HTTPResponse) -> None:
        self._response = response
        assert (response.status, response.getheader("Content-Type")) == (200, "text/event-stream"), response.read()

    def next(self) -> Event:
        """The next event, other than of progress."""
        while True:
            fields: dict[str, str] = {}
            while line := self._response.readline().decode().rstrip("\n"):
                name, _, value = line.partition(": ")
                fields[name] = value
            assert fields, "the end"
            if fields["event"] != "progress":
                return Event(fields["event"], fields["id"], json.loads(fields["data"]))

    def rest(self) -> bytes:
        """All up to the end."""
        return self._response.read()


@contextmanager
def watch(daemon: Daemon, query: str = "", user: str = "", **headers: str) -> Iterator[Events]:
    """A watch."""
    connection = HTTPConnection("127.0.0.1", port_of(daemon), timeout=PATIENCE)
    try:
        connection.request("GET", f"/v1/watch{query}", headers=_headers(user, headers))
        yield Events(connection.getresponse())
    finally:
        connection.close()


def raw(daemon: Daemon, data: bytes) -> bytes:
    """All that comes back for some bytes."""
    with socket.create_connection(("127.0.0.1", port_of(daemon)), timeout=PATIENCE) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer
