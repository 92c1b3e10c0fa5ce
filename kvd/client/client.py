"""A connection that requests are asked on, by any number of tasks."""

import asyncio
import base64
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, NamedTuple, Self, TypeVar

from kvd.client import arguments, replies
from kvd.client.arguments import Seconds, Value
from kvd.client.connection import CONNECT_TIMEOUT, TIMEOUT, Connection
from kvd.client.dialing import DEFAULT_ADDRESS
from kvd.client.errors import ProtocolError
from kvd.client.replies import ITEMS, STATUS, Line, Reply
from kvd.client.silence import Silence
from kvd.client.watch import Watch
from kvd.client.words import Item, is_text
from kvd.errors import ConnectionLost, KvdError

Result = TypeVar("Result")
_ReadPage = Callable[..., list[Item]]  # here, for Client has another `list`

KEYS_PAGE = 1000
"""Keys in a page, half a megabyte at the most."""
LIST_PAGE = 100
"""Items in a page, whose values may be a megabyte each."""
MOST_FACTS = 1000
"""Lines of INFO, of which there are some twenty."""


class _Request(NamedTuple):
    """What was asked and is not answered yet.

    waiter: takes what `read` makes of the reply.  most_items: how many items the reply may have.
    """

    waiter: asyncio.Future[Any]
    read: Callable[[Reply], Any]
    most_items: int


async def connect(
    address: str = DEFAULT_ADDRESS,
    *,
    connect_timeout: Seconds = CONNECT_TIMEOUT,
    timeout: Seconds | None = TIMEOUT,  # noqa: ASYNC109  # it lasts as long as the connection
) -> "Client":
    """Connect to the daemon at HOST:PORT, HOST or [IPV6]:PORT; raise BadAddress, Unreachable, TypeError, ValueError.

    connect_timeout: seconds until it must have answered a PING: what is not kvd may accept and be silent.
    timeout: seconds without a byte from the daemon, while a call waits for it, after which the connection is closed
    and all that wait raise TimedOut; None for no limit.  An answer may take longer, as long as it comes.
    """
    within = arguments.patience(connect_timeout, "connect_timeout")
    limit = arguments.patience_or_none(timeout, "timeout")
    return Client(await Connection.open(address, within), within, limit)


class Client:
    """One connection, for any number of tasks at once; made by `connect`.

    Requests are pipelined.  A call that is cancelled disturbs no other: its reply is read and dropped,
    but what it sent may be done all the same.

    Every call may raise TypeError and Refusal for its arguments before anything is sent, any Refusal of the daemon's,
    and ConnectionLost (TimedOut: the daemon was silent; ProtocolError: it is none), after which a write that was
    in flight may have been done, or not.

    Seconds are a number or a timedelta, to the millisecond.
    """

    def __init__(self, connection: Connection, connect_timeout: float, timeout: float | None = TIMEOUT) -> None:
        self._connection, self._connect_timeout, self._timeout = connection, connect_timeout, timeout
        self._waiting: deque[_Request] = deque()
        self._items: list[Line] = []
        self._draining = 0
        self._lost: ConnectionLost | None = None
        self._silence = Silence(connection, timeout, lambda: bool(self._waiting or self._draining))
        self._reading = asyncio.create_task(self._read())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls that still wait raise ConnectionLost."""
        self._lose(ConnectionLost("closed by this program"))
        await self._connection.close()
        await self._reading

    async def get(self, key: str) -> bytes | None:
        """Return the key's value, None if there is no such key."""
        return await self._ask(replies.value, b"GET " + arguments.key(key))

    async def gets(self, key: str) -> Item | None:
        """Return the key's value and revision, None if there is no such key."""
        found = await self._ask(replies.value_with_revision, b"GETS " + arguments.key(key))
        return found and Item(key, *found)

    async def set(
        self, key: str, value: Value, *, ttl: Seconds | None = None, if_revision: int | str | None = None
    ) -> int:
        """Set the key and return the revision that this took; raise Conflict.

        ttl: seconds until the key expires, None for never.
        if_revision: only if the key has this revision or position; 0: only if there is no such key.
        """
        name, data = arguments.key(key), arguments.value(value)
        options = arguments.condition(if_revision) + arguments.ttl(ttl)
        if not is_text(data):
            options += b" base64=%d" % len(data)
            data = base64.b64encode(data)
        request = b"PUT %b%b = " % (name, options) if options else b"SET %b " % name
        return await self._ask(replies.revision, request, data)

    async def delete(self, key: str, *, if_revision: int | str | None = None) -> int | None:
        """Delete the key and return the revision that this took, None if there is no such key.

        if_revision: only if the key has this revision or position, else raise Conflict.
        """
        request = b"DEL " + arguments.key(key) + arguments.condition(if_revision)
        return await self._ask(replies.revision_or_none, request)

    async def touch(self, key: str, ttl: Seconds | None, *, if_revision: int | str | None = None) -> bool:
        """Let the key expire in `ttl` seconds, None: never; return whether there is such a key.

        if_revision: only if the key has this revision or position, else raise Conflict.
        """
        options = arguments.ttl(ttl, never=b" ttl=-") + arguments.condition(if_revision)
        return await self._ask(replies.done, b"TOUCH " + arguments.key(key) + options)

    async def ttl(self, key: str) -> float | None:
        """Return the seconds until the key expires, math.inf: never, None: there is no such key."""
        return await self._ask(replies.seconds, b"TTL " + arguments.key(key))

    async def incr(self, key: str, n: int = 1) -> int:
        """Add n to the number that the key holds, and return the sum; raise NotANumber, Overflow."""
        request = b"INCR %b %b" % (arguments.key(key), arguments.amount(n))
        return await self._ask(replies.integer, request)

    async def count(self, pattern: str = "*") -> int:
        """Return how many keys match."""
        return await self._ask(replies.number, b"COUNT " + arguments.pattern(pattern))

    async def keys(self, pattern: str = "*", after: str | None = None, limit: int | None = None) -> AsyncIterator[str]:
        """Yield the keys that match, in the order of their bytes.  Read in pages: not one snapshot.

        after: begin after this key, which need not exist.  limit: end after so many, at least 1.
        """
        async for item in self._pages(b"KEYS ", replies.keys, KEYS_PAGE, pattern, after, limit):
            yield item.key

    async def list(self, pattern: str = "*", after: str | None = None, limit: int | None = None) -> AsyncIterator[Item]:
        """Yield the keys that match with their values and revisions; for the rest, like `keys`."""
        async for item in self._pages(b"LIST ", replies.pairs, LIST_PAGE, pattern, after, limit):
            yield item

    async def info(self) -> dict[str, str]:
        """Return what the daemon says of itself, by name."""
        return await self._ask(replies.facts, b"INFO", most_items=MOST_FACTS)

    async def ping(self, text: str | None = None) -> str:
        """Return the text that the daemon sends back, "" without one."""
        data = b"" if text is None else b" " + arguments.text(text)
        return await self._ask(replies.text, b"PING", data)

    def watch(self, *patterns: str) -> "Watch":
        """Watch the keys that match one of the patterns, or every key, on another connection."""
        address, within = self._connection.address, self._connect_timeout
        return Watch(address, *patterns, connect_timeout=within, timeout=self._timeout)

    async def _pages(
        self, verb: bytes, read: _ReadPage, size: int, pattern: str, after: str | None, limit: int | None
    ) -> AsyncIterator[Item]:
        request = verb + arguments.pattern(pattern)
        last, left = after, arguments.limit(limit)
        while left != 0:
            count = size if left is None else min(size, left)
            begin = b"" if last is None else b" after=" + arguments.key(last, "after")
            asked = b"%b%b limit=%d" % (request, begin, count)
            page = await self._ask(partial(read, after=last or ""), asked, most_items=count)
            for item in page:
                yield item
            if len(page) < count:
                return
            last = page[-1].key
            left = None if left is None else left - count

    async def _ask(
        self, read: Callable[[Reply], Result], request: bytes, value: bytes = b"", *, most_items: int = 0
    ) -> Result:
        self._draining += 1
        self._silence.begin()
        try:
            await self._connection.drain()
        finally:
            self._draining -= 1
        if self._lost:
            raise type(self._lost)(str(self._lost))
        waiter: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Request(waiter, read, most_items))
        self._connection.write(request + value + b"\n")
        return await waiter

    async def _read(self) -> None:
        error = ConnectionLost("its reader was cancelled")
        try:
            while True:
                self._take(await self._connection.read())
        except ConnectionLost as lost:
            error = lost
        finally:
            self._lose(error)

    def _take(self, line: Line) -> None:
        if line.word not in ITEMS and line.word not in STATUS:
            return
        if not self._waiting:
            raise ProtocolError("a reply came that nothing had asked for")
        if line.word in STATUS:
            self._answer(Reply(line, self._items))
            self._items = []
            return
        self._items.append(line)
        if len(self._items) > self._waiting[0].most_items:
            raise ProtocolError("a reply came with more items than were asked for")

    def _answer(self, reply: Reply) -> None:
        request = self._waiting[0]
        result, refusal = None, None
        try:
            result = replies.answer(reply, request.read)
        except ProtocolError:  # who has asked learns of it with all the others
            raise
        except KvdError as error:
            refusal = error
        self._waiting.popleft()
        if request.waiter.done():  # its caller was cancelled
            return
        if refusal:
            request.waiter.set_exception(refusal)
        else:
            request.waiter.set_result(result)

    def _lose(self, error: ConnectionLost) -> None:
        if not self._lost:
            self._lost = type(error)(f"{error}; a write in flight may have been done, or not")
        self._connection.abort()
        for request in self._waiting:
            if not request.waiter.done():
                request.waiter.set_exception(type(self._lost)(str(self._lost)))
        self._waiting.clear()
