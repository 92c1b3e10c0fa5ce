"""/v1/keys: one key, read and written with its revision as ETag, and pages of keys."""

import asyncio
from http import HTTPStatus
from typing import Any

from kvd.errors import REFUSALS, BadKey, Refusal, Usage
from kvd.http.messages import BYTES, TEXT, HttpError, Request, Response, as_json, decoded, line
from kvd.http.visitor import Visitor
from kvd.model import OVER_QUOTA, Outcome, Position, Record
from kvd.model import TEXT as TEXT_KIND
from kvd.requests import Delete, KeyRange, Put, Read
from kvd.session.context import Context
from kvd.session.limits import Limit
from kvd.session.listing import listed
from kvd.wire import replies, words

USUAL_KEYS, MOST_KEYS = 100, 1000
"""Keys in a page, unless told, and at the most."""
PAGE_BYTES = 1024 * 1024
"""Bytes of keys and values in a page, the last value excepted."""
PAGES_AT_ONCE = 4
"""Pages that are made at once, for whomever: what they take is counted for their connections only when they are made.
The store gives the keys of one at a time."""
COUNTED = "COUNT"
"""As what a request counts of those in flight."""
_PREFIX_RULE = f"prefix= is what keys begin with, up to {words.MAX_KEY} bytes as a key has them, and no * after it"
ABSENT = b"0"
"""The condition that there is no such key."""


class Keys:
    """For all connections.  may_write: whether PUT and DELETE are allowed at all (--http-write)."""

    def __init__(self, context: Context, *, may_write: bool) -> None:
        self._context = context
        self._store = context.store
        self._may_write = may_write
        self._pages = asyncio.Semaphore(PAGES_AT_ONCE)

    async def one(self, request: Request, visitor: Visitor, part: str) -> Response:
        """A request for one key.  part: of the path.  Raises refusals, HttpError."""
        key = words.key(decoded(part))
        if request.method in ("GET", "HEAD"):
            return await self._get(request, visitor, key)
        if not self._may_write:
            raise HttpError(
                HTTPStatus.METHOD_NOT_ALLOWED, "kvd was started without --http-write", {"Allow": "GET, HEAD"}
            )
        return await (self._put if request.method == "PUT" else self._delete)(request, visitor, key)

    async def _get(self, request: Request, visitor: Visitor, key: bytes) -> Response:
        request.only()
        visitor.permit("GET", Read(key))
        with self._context.in_flight.alone(COUNTED):
            record = await self._store.fetch(key)
        if record is None:
            return line("there is no such key", HTTPStatus.NOT_FOUND)
        if (match := request.headers.get("if-match", "")) and not _names(match, record.revision):
            return _conflict(record.revision)
        headers = {
            "ETag": _tag(record.revision), "Cache-Control": "private, no-cache",
            "Allow": "GET, HEAD, PUT, DELETE" if self._may(visitor, key) else "GET, HEAD",
        } | self._ttl(record)  # fmt: skip
        if _names(request.headers.get("if-none-match", ""), record.revision):
            return Response(HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(HTTPStatus.OK, record.value, TEXT if record.kind == TEXT_KIND else BYTES, headers)

    def _may(self, visitor: Visitor, key: bytes) -> bool:
        """Whether one who reads a key may write it, too: then the page lets them."""
        return self._may_write and visitor.guard.refusal("DEL", Delete(key)) is None

    def _ttl(self, record: Record) -> dict[str, str]:
        """How many seconds a key has left, of one that will expire."""
        if record.deadline == b"0":
            return {}
        left = max(1, int(record.deadline) - 1 - self._store.now())
        return {"Kvd-Ttl": replies.seconds(left).decode()}

    async def _put(self, request: Request, visitor: Visitor, key: bytes) -> Response:
        request.only("ttl")
        ttl = request.given("ttl")
        value = request.body
        if len(value) > self._context.max_value:
            raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a value has {self._context.max_value} bytes at most")
        put = Put(key, words.kind_of(value), value, words.milliseconds(ttl.encode()) if ttl else 0, _condition(request))
        return await self._write(visitor, "PUT", put)

    async def _delete(self, request: Request, visitor: Visitor, key: bytes) -> Response:
        request.only()
        return await self._write(visitor, "DEL", Delete(key, _condition(request)))

    async def _write(self, visitor: Visitor, verb: str, write: Put | Delete) -> Response:
        visitor.permit(verb, write)
        with self._context.in_flight.alone(COUNTED, write.size):
            (outcome,) = await self._store.write([visitor.limited(write)], write.size)
        if outcome.startswith(OVER_QUOTA):
            visitor.guard.over_quota(verb, self._context.limits.reached(Limit.QUOTA), write.key)
        return _written(outcome)

    async def page(self, request: Request, visitor: Visitor) -> Response:
        """GET /v1/keys.  Raises refusals."""
        request.only("prefix", "after", "limit", "values")
        wanted = _range(request)
        with_values = _yes_or_no(request, "values")
        async with self._pages:
            return await self._page(wanted, visitor, with_values=with_values)

    async def _page(self, wanted: KeyRange, visitor: Visitor, *, with_values: bool) -> Response:
        items: list[dict[str, Any]] = []
        first: Position | None = None
        size, after = 0, ""
        limit = wanted.limit
        # One more than is shown says whether there is more.
        pages = listed(self._store, visitor.guard, wanted._replace(limit=limit + 1), records=True)
        async for position, found in pages:
            first = first or position
            for key, record in found:
                if len(items) == limit or size > PAGE_BYTES:
                    after = str(items[-1]["key"])
                    break
                items.append(_item(key, record, with_values))
                size += len(key) + (len(record.value) if record and with_values else 0)
            if after:
                break
        assert first  # noqa: S101
        return as_json({"position": bytes(first).decode(), "keys": items} | ({"after": after} if after else {}))


def _range(request: Request) -> KeyRange:
    prefix, after = request.one("prefix").encode(), request.one("after").encode()
    text = request.one("limit", f"{USUAL_KEYS}")
    limit = int(text) if text.isascii() and text.isdecimal() and len(text) <= len(f"{MOST_KEYS}") else 0
    if not 1 <= limit <= MOST_KEYS:
        raise Usage(f"limit= is 1 to {MOST_KEYS}")
    if prefix:
        try:
            words.key(prefix)
        except BadKey:
            raise BadKey(_PREFIX_RULE) from None
    return KeyRange(prefix + b"*", words.key(after) if after else b"", limit)


def _yes_or_no(request: Request, name: str) -> bool:
    word = request.one(name, "yes")
    if word not in ("yes", "no"):
        raise Usage(f"{name}= is yes or no")
    return word == "yes"


def _item(key: bytes, record: Record | None, with_values: bool) -> dict[str, Any]:
    assert record  # noqa: S101
    found: dict[str, Any] = {"key": key.decode(), "revision": int(record.revision)}
    return found | (value_of(record.kind, record.value) if with_values else {"size": record.apart or len(record.value)})


def value_of(kind: bytes, value: bytes) -> dict[str, str]:
    """A value as JSON takes it: `value`, a text, or `base64`."""
    return {"value": value.decode()} if kind == TEXT_KIND else {"base64": replies.base64(value).decode()}


def _tag(revision: bytes) -> str:
    return f'"{revision.decode()}"'


def _tags(header: str) -> list[str]:
    """The entity tags of a header, without quotes."""
    return [tag.strip().removeprefix("W/").strip('"') for tag in header.split(",") if tag.strip()]


def _names(header: str, revision: bytes) -> bool:
    return header.strip() == "*" or revision.decode() in _tags(header)


def _condition(request: Request) -> bytes:
    """What `if=` would be.  Raises Usage."""
    match, none_match = request.headers.get("if-match"), request.headers.get("if-none-match")
    if none_match is not None:
        if none_match.strip() != "*" or match is not None:
            raise Usage("expected If-None-Match: * (the key is new) or If-Match with one ETag")
        return ABSENT
    # An empty one is a mistake of who sends it, and no leave to write whatever there is.
    if match is None:
        return b""
    tags = _tags(match)
    try:
        if len(tags) == 1:
            return words.condition(tags[0].encode())
    except Usage:
        pass
    raise Usage("expected one ETag in If-Match: the revision")


def _conflict(revision: bytes) -> Response:
    """The condition does not hold."""
    tag = {} if revision == ABSENT else {"ETag": _tag(revision)}
    why = f"the key has revision {revision.decode()}" if tag else "there is no such key"
    return line(f"conflict: {why}", HTTPStatus.PRECONDITION_FAILED, tag)


def _written(outcome: Outcome) -> Response:
    """What a write's outcome is to a client of HTTP: what the protocol's status says.  Raises refusals."""
    word, _, text = replies.written(outcome)[:-1].partition(b" ")
    if word == b"OK":
        return Response(HTTPStatus.NO_CONTENT, headers={"ETag": _tag(text)})
    if word == b"NONE":
        return line("there is no such key", HTTPStatus.NOT_FOUND)
    if word == b"CONFLICT":
        return _conflict(text)
    code, _, why = text.decode().partition(" ")
    raise REFUSALS.get(code, Refusal)(why, code)
