"""A client of kvd in Python's standard library, to read beside protocol.txt: the pattern of those in ../."""

import base64
import random
import re
import select
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

STATUS_WORDS = ("OK", "OK64", "NONE", "CONFLICT", "ERR")
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0  # seconds before connecting again


class KvdError(Exception):
    """code: the daemon's, also `unavailable` (certainly not done), `uncertain` (perhaps) and `conflict`."""

    def __init__(self, code: str, text: str = "", revision: str = "") -> None:
        super().__init__(f"{code} {text}")
        self.code, self.revision = code, revision
        told = re.match(r"retry=(?=[0.]*[1-9])([0-5]?[0-9](?:\.[0-9]+)?|60)(?: |$)", text)
        self.retry = float(told[1]) if told else None


class Event(NamedTuple):
    """kind: copy, pair, gone, copied, set, del, expire, position.  position: after which to go on, if it moved it."""

    kind: str
    position: str = ""
    key: str = ""
    value: bytes | None = None


class Connection:
    """Lines out, lines in; OSError or ValueError when it is of no use any more."""

    def __init__(self, address: str, timeout: float, user: str, password: str) -> None:
        """Logs in, if there is a user."""
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host.strip("[]"), int(port)), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        if user:
            self.send(f"AUTH {user} {password}")
            word, rest = self.line()
            if word != "OK":
                self.close()
                raise KvdError(*rest.split(" ", 1)) if word == "ERR" else ConnectionError("lost its place")

    def send(self, *requests: str) -> None:
        self._socket.sendall("".join(request + "\n" for request in requests).encode())

    def line(self) -> tuple[str, str]:
        """The first word, and the rest after one space."""
        seen = 0
        while (end := self._buffer.find(b"\n", seen)) < 0:
            seen = len(self._buffer)
            data = self._socket.recv(1 << 16)
            if not data:
                raise ConnectionError("the connection ended")
            self._buffer += data
        line = bytes(self._buffer[:end]).removesuffix(b"\r").decode()
        del self._buffer[: end + 1]
        word, _, rest = line.partition(" ")
        return word, rest

    def is_quiet(self) -> bool:
        """Nothing has come that was not asked for, not even the end."""
        return not self._buffer and not select.select([self._socket], [], [], 0)[0]

    def close(self) -> None:
        self._socket.close()


class Kvd:
    """timeout: seconds without a byte, while one is due, after which a connection is given up."""

    def __init__(
        self, address: str = "127.0.0.1:5830", timeout: float = 30.0, user: str = "", password: str = ""
    ) -> None:
        self._timeout = timeout
        self._place = address, timeout, user, password
        self._connection: Connection | None = None

    def get(self, key: str) -> bytes | None:
        word, rest = self._ask(f"GET {_checked(key)}", again=True)
        return _value(word, rest)

    def gets(self, key: str) -> tuple[str, bytes | None]:
        """The revision, 0 for none, and the value."""
        word, rest = self._ask(f"GETS {_checked(key)}", again=True)
        revision, _, value = rest.partition(" ")
        return revision or "0", _value(word, value)

    def set(self, key: str, value: bytes) -> str:
        return self.put(key, value)

    def put(self, key: str, value: bytes, ttl: str = "", revision: str = "") -> str:
        """revision: 0 for a new key only.  Returns the revision; KvdError conflict where the condition fails."""
        options = (f" ttl={ttl}" if ttl else "") + (f" if={revision}" if revision else "")
        if re.fullmatch(rb"[\t -~]*", value):  # every other value goes as base64: the daemon sees whether it is text
            return self._ask(f"PUT {_checked(key)}{options} = {value.decode()}")[1]
        encoded = base64.b64encode(value).decode()
        return self._ask(f"PUT {_checked(key)}{options} base64={len(value)} = {encoded}")[1]

    def delete(self, key: str, revision: str = "") -> str | None:
        """None: there was no such key."""
        word, rest = self._ask(f"DEL {_checked(key)}" + (f" if={revision}" if revision else ""))
        return None if word == "NONE" else rest

    def close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None

    def _ask(self, request: str, again: bool = False) -> tuple[str, str]:
        """again: ask again when no reply came.  What was not sent yet may always be sent."""
        pause, deadline = FIRST_PAUSE, time.monotonic() + self._timeout
        while True:
            sent = False
            try:
                if self._connection and not self._connection.is_quiet():
                    self.close()
                self._connection = self._connection or Connection(*self._place)
                sent = True
                self._connection.send(request)
                return self._reply(self._connection)
            except (OSError, ValueError) as error:
                self.close()
                if sent and not again:
                    raise KvdError("uncertain", f"no reply came: {error}") from error
                if time.monotonic() > deadline:
                    raise KvdError("unavailable", f"no reply came: {error}") from error
            pause = _rest(pause)

    @staticmethod
    def _reply(connection: Connection) -> tuple[str, str]:
        while True:
            word, rest = connection.line()
            if word == "ERR":
                raise KvdError(*rest.split(" ", 1))
            if word == "CONFLICT":
                raise KvdError("conflict", revision=rest)
            if word in STATUS_WORDS:
                return word, rest

    def follow(self, *patterns: str, position: str = "-") -> Iterator[Event]:
        """Every change after a position, each once, for ever; first a copy for `-`, and where history is gone."""
        pause = FIRST_PAUSE
        while True:
            retry = None
            try:
                for event in self._watch(patterns, position):
                    position = event.position or position
                    pause = FIRST_PAUSE
                    yield event
            except KvdError as error:
                if error.code in ("compacted", "store", "future"):
                    position = "-"
                elif error.code != "unavailable":
                    raise
                retry = error.retry
            except (OSError, ValueError):
                pass  # the next connection goes on where this one ended
            pause = _rest(pause, retry)

    def _watch(self, patterns: tuple[str, ...], position: str) -> Iterator[Event]:
        """One connection's events."""
        with closing(Connection(*self._place)) as connection:
            follow = " ".join(["FOLLOW", position, *map(_checked_pattern, patterns)])
            connection.send(f"PROGRESS {self._timeout / 3:.3f}", follow)
            answered, copying = 0, False
            while True:
                word, rest = connection.line()
                if word == "ERR":
                    raise KvdError(*rest.split(" ", 1))
                if word == "OK" and answered == 1 and (copying or rest == position):
                    position = rest
                    yield Event("copied" if copying else "position", position)
                elif word in STATUS_WORDS and (word != "OK" or answered > 0):
                    raise ConnectionError(f"lost its place at {word} {rest}")
                answered += word == "OK"
                if word in ("CHANGE", "PROGRESS", "END") and answered == 2:
                    new, _, rest = rest.partition(" ")
                    if _is_after(new, position):
                        position = new
                        yield _change(position, rest) if word == "CHANGE" else Event("position", position)
                    if word == "END":
                        raise KvdError("unavailable", rest.partition(" ")[2])
                elif word == "COPY" and answered == 1:
                    copying = True
                    yield Event("copy")
                elif word in ("PAIR", "PAIR64", "GONE") and copying and answered == 1:
                    key, _, value = rest.partition(" ")[2].partition(" ")
                    yield Event("gone" if word == "GONE" else "pair", "", key, _value(word, value))


def _rest(pause: float, retry: float | None = None) -> float:
    time.sleep(pause * random.uniform(0.5, 1) if retry is None else retry)  # noqa: S311 - no secret
    return min(pause * 2, LONGEST_PAUSE)


def _value(word: str, value: str) -> bytes | None:
    if word in ("NONE", "GONE"):
        return None
    return base64.b64decode(value, validate=True) if word.endswith("64") else value.encode()


def _change(position: str, change: str) -> Event:
    word, _, rest = change.partition(" ")
    key, _, value = rest.partition(" ")
    kinds = {"SET": "set", "SET64": "set", "DEL": "del", "EXPIRE": "expire"}
    return Event(kinds[word], position, key, _value(word, value) if kinds[word] == "set" else None)


def _is_after(new: str, old: str) -> bool:
    (revision, _, store), (last, _, same) = new.partition("@"), old.partition("@")
    if store != same:
        raise ConnectionError("a position of another store came without a copy")
    return int(revision) > int(last)


def _checked(key: str) -> str:
    if not re.fullmatch(r"[^\x00-\x20\x7f*]+", key):
        raise KvdError("bad-key", "a key has no white space, no control character and no *")
    return key


def _checked_pattern(pattern: str) -> str:
    return pattern if pattern == "*" else _checked(pattern.removesuffix("*")) + "*" * pattern.endswith("*")
