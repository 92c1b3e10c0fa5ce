"""What is asked and what is answered, without a connection."""

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

import h11

from kvd.errors import (
    ANEW,
    Compacted,
    Denied,
    Future,
    LimitReached,
    NotAuthenticated,
    OtherStore,
    Refusal,
    TooLong,
    Unavailable,
    Uncertain,
    Usage,
)

TEXT, JSON, BYTES = "text/plain; charset=utf-8", "application/json", "application/octet-stream"
HEAD_BYTES = 16 * 1024
"""Bytes of a request's first line and its headers."""
_HEAD_IS_LONG = f"the request's line and its headers have {HEAD_BYTES} bytes at most"
_SHOWN = re.compile(r":? (?:bytearray\(|\(?b['\"])")
"""Where a message goes on with bytes as Python shows them."""
_NO_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
MOST_FIELDS = 1100
"""Words of a query: a watch has up to 1024 patterns."""
_STATUS: dict[type[Refusal], HTTPStatus] = {
    NotAuthenticated: HTTPStatus.UNAUTHORIZED,
    Denied: HTTPStatus.FORBIDDEN,
    TooLong: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    LimitReached: HTTPStatus.TOO_MANY_REQUESTS,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    # It may have been done.
    Uncertain: HTTPStatus.GATEWAY_TIMEOUT,
    Compacted: HTTPStatus.GONE,
    OtherStore: HTTPStatus.GONE,
    Future: HTTPStatus.GONE,
}
ANEW_HERE = "; read /v1/keys anew, and watch after its position"
"""What to do where changes are not to be had."""
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Whatever a value holds, a browser that is sent to it shows it as it is.
    "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


class HttpError(Exception):
    """A request is answered with an error.  headers: beside the usual ones."""

    def __init__(self, status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.headers = dict(headers or {})


class Request(NamedTuple):
    """One request.  path: without its query, as it was sent.  headers: by their names in lower case."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes = b""

    def one(self, name: str, default: str = "") -> str:
        """A field of the query that may be there once.  Raises Usage."""
        values = self.query.get(name, [default])
        if len(values) > 1:
            raise Usage(f"{name}= is given more than once")
        return values[0]

    def given(self, name: str) -> str:
        """A field that is not empty where it is there: that is a mistake of who sends it.  Raises Usage."""
        if not (value := self.one(name)) and name in self.query:
            raise Usage(f"{name}= is empty")
        return value

    def only(self, *names: str) -> None:
        """Raises Usage if the query has other fields than these."""
        for name in self.query:
            if name not in names:
                known = ", ".join(f"{name}=" for name in names) or "nothing"
                raise Usage(f"unknown field {name!a} after the ?: expected {known}")


class Response(NamedTuple):
    """One answer.  headers: beside those that all have, or instead of them."""

    status: HTTPStatus = HTTPStatus.OK
    body: bytes = b""
    kind: str = TEXT
    headers: Mapping[str, str] = {}

    def all_headers(self) -> dict[str, str]:
        """All but those of the connection."""
        shown = {} if self.status is HTTPStatus.NOT_MODIFIED else {"Content-Type": self.kind}
        return {**_ALWAYS, **shown, **self.headers}


def check(head: h11.Request) -> None:
    """Whether a request may begin like this.  Raises HttpError."""
    # Of a line with what stands between and after the two.
    if len(head.target) + sum(len(name) + len(value) + len(b": \r\n") for name, value in head.headers) > HEAD_BYTES:
        raise HttpError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, _HEAD_IS_LONG)
    names = {name for name, _ in head.headers}
    # Who is before kvd may have taken the other one, and would have seen another request after it.
    if {b"content-length", b"transfer-encoding"} <= names:
        raise HttpError(HTTPStatus.BAD_REQUEST, "expected Content-Length or Transfer-Encoding, and not both")


def joined(head: h11.Request) -> dict[str, str]:
    """The headers; one that is there several times is a list of all, so that none of them goes unnoticed."""
    found: dict[str, str] = {}
    for name, value in head.headers:
        text = value.decode("latin-1")
        found[name.decode()] = f"{found[name.decode()]}, {text}" if name.decode() in found else text
    return found


def parse(method: str, target: bytes, headers: dict[str, str]) -> Request:
    """Raises Usage."""
    if _NO_ESCAPE.search(target):
        raise Usage("expected two hexadecimal digits after each % of the path: %25 is a % itself")
    path, _, query = target.decode("ascii", "replace").partition("?")
    # Proxies may send all of a URL, which says to whom.
    if path.startswith(("http://", "https://")):
        try:
            url = urlsplit(path)
        except ValueError:
            raise Usage("expected a path, or a URL") from None
        path, headers = url.path or "/", headers | {"host": url.netloc}
    try:
        fields = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict",
                           max_num_fields=MOST_FIELDS)  # fmt: skip
    except UnicodeDecodeError:
        raise Usage("what comes after the ? is not UTF-8") from None
    except ValueError:
        raise Usage(f"what comes after the ? is not name=value&name=value, of {MOST_FIELDS} at most") from None
    found: dict[str, list[str]] = {}
    for name, value in fields:
        found.setdefault(name, []).append(value)
    return Request(method, path, found, headers)


def decoded(part: str) -> bytes:
    """The bytes that a part of a path stands for."""
    return unquote_to_bytes(part)


def as_json(value: Any, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """A JSON text, in one line."""
    return Response(status, json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n", JSON)


def line(text: str, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    """A text for people, in one line."""
    return Response(status, f"{text}\n".encode(), TEXT, headers or {})


def why_no_http(error: h11.RemoteProtocolError) -> str:
    """In plain words: h11 may end its own with what came, as Python shows it."""
    if error.error_status_hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
        return _HEAD_IS_LONG
    return f"this is no HTTP: {_SHOWN.split(str(error))[0]}"


def refused(error: Refusal) -> Response:
    """Why a request was refused: the word of the protocol, and the text."""
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), HTTPStatus.BAD_REQUEST)
    text = str(error).removesuffix(ANEW) + ANEW_HERE if status is HTTPStatus.GONE else str(error)
    headers = {"Retry-After": "1"} if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS) else {}
    if status is HTTPStatus.UNAUTHORIZED:
        headers = {"WWW-Authenticate": 'Basic realm="kvd", charset="UTF-8"'}
    return line(f"{error.word}: {text}", status, headers)
