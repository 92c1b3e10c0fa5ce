"""A connection that requests are asked on, by any number of tasks."""

import asyncio
import base64
import math
from collections import deque
from collections.abc import AsyncIterator
from typing import Self

from kvd.client.connection import CONNECT_TIMEOUT, DEFAULT_ADDRESS, ITEMS, STATUS, Connection, Reply, checked
from kvd.client.watch import Watch
from kvd.client.words import (
    Item,
    checked_key,
    checked_pattern,
    condition_option,
    decoded,
    encoded,
    is_text,
    read_item,
)  # fmt: skip
from kvd.errors import BadValue, ConnectionLost

KEYS_PAGE = 1000
"""Keys in a page, half a megabyte at the most."""
LIST_PAGE = 100
"""Items in a page, whose values may be a megabyte each."""


async def connect(address: str = DEFAULT_ADDRESS, *, connect_timeout: float = CONNECT_TIMEOUT) -> "Client":
    """Connect to the daemon at HOST:PORT, HOST or [IPV6]:PORT; raise BadAddress, Unreachable.

    connect_timeout: seconds until it must have answered a PING: what is not kvd may accept and be silent.
    """
    return Client(await Connection.open(address, connect_timeout), connect_timeout)


class Client:
    """One connection, for any number of tasks at once; made by `connect`.

    Requests are pipelined.  A call that is cancelled disturbs no other: its reply is read and dropped,
    but what it sent may be done all the same.

    Every call may raise Refusal (BadKey before anything is sent) and ConnectionLost, after which a write
    that was under way may have been done, or not.
    """

    def __init__(self, connection: "Connection", connect_timeout: float) -> None:
        self._connection, self._connect_timeout = connection, connect_timeout
        self._waiting: deque[asyncio.Future[Reply]] = deque()
        self._lost = ""
        self._reading = asyncio.create_task(self._read())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls that still wait raise ConnectionLost."""
        self._lose("closed by this program")
        await self._connection.close()
        await self._reading

    async def get(self, key: str) -> bytes | None:
        """Return the key's value, None if there is no such key."""
        reply = await self._ask(f"GET {checked_key(key)}")
        return None if reply.word == b"NONE" else decoded(reply.word, reply.text)

    async def gets(self, key: str) -> Item | None:
        """Return the key's value and revision, None if there is no such key."""
        reply = await self._ask(f"GETS {checked_key(key)}")
        if reply.word == b"NONE":
            return None
        revision, _, value = reply.text.partition(b" ")
        return Item(key, decoded(reply.word, value), int(revision))

    async def set(
        self, key: str, value: bytes | str, *, ttl: float | None = None, if_revision: int | str | None = None
    ) -> int:
        """Set the key and return the revision that this took; raise Conflict.

        ttl: seconds until the key expires, None for never.
        if_revision: only if the key has this revision or position; 0: only if there is no such key.
        """
        data = encoded(value)
        options = condition_option(if_revision) + ("" if ttl is None else f" ttl={ttl:.3f}")
        if not is_text(data):
            options += f" base64={len(data)}"
            data = base64.b64encode(data)
        request = f"PUT {checked_key(key)}{options} = " if options else f"SET {checked_key(key)} "
        return int((await self._ask(request, data)).text)

    async def delete(self, key: str, *, if_revision: int | str | None = None) -> int | None:
        """Delete the key and return the revision that this took, None if there is no such key.

        if_revision: only if the key has this revision or position, else raise Conflict.
        """
        reply = await self._ask(f"DEL {checked_key(key)}{condition_option(if_revision)}")
        return None if reply.word == b"NONE" else int(reply.text)

    async def touch(self, key: str, ttl: float | None) -> bool:
        """Let the key expire in `ttl` seconds, None: never; return whether there is such a key."""
        seconds = "-" if ttl is None else f"{ttl:.3f}"
        return (await self._ask(f"TOUCH {checked_key(key)} ttl={seconds}")).word == b"OK"

    async def ttl(self, key: str) -> float | None:
        """Return the seconds until the key expires, math.inf: never, None: there is no such key."""
        reply = await self._ask(f"TTL {checked_key(key)}")
        if reply.word == b"NONE":
            return None
        return math.inf if reply.text == b"-" else float(reply.text)

    async def incr(self, key: str, n: int = 1) -> int:
        """Add n to the number that the key holds, and return the sum; raise NotANumber, Overflow."""
        return int((await self._ask(f"INCR {checked_key(key)} {n}")).text)

    async def count(self, pattern: str = "*") -> int:
        """Return how many keys match."""
        return int((await self._ask(f"COUNT {checked_pattern(pattern)}")).text)

    async def keys(self, pattern: str = "*", after: str | None = None, limit: int | None = None) -> AsyncIterator[str]:
        """Yield the keys that match, in the order of their bytes.  Read in pages: not one snapshot.

        after: begin behind this key, which need not exist.  limit: end after so many, at least 1.
        """
        async for item in self._pages("KEYS", KEYS_PAGE, pattern, after, limit):
            yield item.key

    async def list(self, pattern: str = "*", after: str | None = None, limit: int | None = None) -> AsyncIterator[Item]:
        """Yield the keys that match with their values and revisions; for the rest, like `keys`."""
        async for item in self._pages("LIST", LIST_PAGE, pattern, after, limit):
            yield item

    async def info(self) -> dict[str, str]:
        """Return what the daemon says of itself, by name."""
        lines = [text.decode().partition(" ") for _, text in (await self._ask("INFO")).items]
        return {name: value for name, _, value in lines}

    async def ping(self, text: str | None = None) -> str:
        """Return the text that the daemon sends back, "" without one."""
        data = b"" if text is None else b" " + encoded(text)
        if not is_text(data):
            raise BadValue("the text of a ping must have no control characters")
        return (await self._ask("PING", data)).text.decode()

    def watch(self, *patterns: str) -> "Watch":
        """Watch the keys that match one of the patterns, or every key, on another connection."""
        return Watch(self._connection.address, *patterns, connect_timeout=self._connect_timeout)

    async def _pages(
        self, verb: str, size: int, pattern: str, after: str | None, limit: int | None
    ) -> AsyncIterator[Item]:
        request = f"{verb} {checked_pattern(pattern)}"
        while limit != 0:
            count = size if limit is None else min(size, limit)
            behind = "" if after is None else f" after={checked_key(after)}"
            items = (await self._ask(f"{request}{behind} limit={count}")).items
            for word, text in items:
                item = read_item(word, text)
                yield item
                after = item.key
            if len(items) < count:
                return
            limit = None if limit is None else limit - count

    async def _ask(self, request: str, value: bytes = b"") -> Reply:
        await self._connection.drain()
        if self._lost:
            raise ConnectionLost(self._lost)
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._connection.write(request.encode() + value + b"\n")
        return checked(await waiter)

    async def _read(self) -> None:
        reason, items = "its reader was cancelled", []
        try:
            while True:
                word, text = await self._connection.read()
                if word in ITEMS:
                    items.append((word, text))
                elif word in STATUS:
                    self._answer(Reply(word, text, items))
                    items = []
        except ConnectionLost as error:
            reason = str(error)
        finally:
            self._lose(reason)

    def _answer(self, reply: Reply) -> None:
        if not self._waiting:
            raise ConnectionLost("a reply came that nothing had asked for")
        waiter = self._waiting.popleft()
        if not waiter.done():  # done: its caller was cancelled
            waiter.set_result(reply)

    def _lose(self, reason: str) -> None:
        self._lost = self._lost or f"{reason}; a write under way may have been done, or not"
        self._connection.abort()
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(ConnectionLost(self._lost))
        self._waiting.clear()
