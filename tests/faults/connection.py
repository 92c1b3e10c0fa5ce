"""A client that writes down what it asks and what it is told."""

import asyncio
import socket
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from typing import NamedTuple

from tests.faults.history import CUT, History, Operation, Pair, Read, Reply, Transaction, Violation, Write, form
from tests.support.processes import PATIENCE

READ_BYTES = 64 * 1024
STATUS = frozenset(("OK", "OK64", "NONE", "CONFLICT", "ERR"))
ITEMS = frozenset(("KEY", "PAIR", "PAIR64", "GONE", "COPY", "CHANGED", "INFO", "HELP"))


class Lost(Exception):
    """The connection is gone."""


class Request(NamedTuple):
    """What is to be sent, and what it means.  lines: with their LFs."""

    lines: bytes
    what: Write | Read | Transaction


class Connection:
    """A socket and its lines."""

    _numbers = count(1)

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = next(self._numbers)
        self._reader = reader
        self._writer = writer
        self._lines: deque[str] = deque()
        self._tail = b""

    @classmethod
    async def open(cls, port: int, receive_buffer: int = 0) -> "Connection":
        """Connect, as soon as the daemon is there.  receive_buffer: bytes, to read slowly; 0 for the default."""
        give_up = time.monotonic() + PATIENCE
        while True:
            connection = socket.socket()
            connection.setblocking(False)
            if receive_buffer:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            try:
                await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
                return cls(*await asyncio.open_connection(sock=connection, limit=READ_BYTES))
            except OSError as error:
                connection.close()
                if time.monotonic() > give_up:
                    raise Violation(f"for {PATIENCE:.0f} s nobody could connect: {error}") from None
            await asyncio.sleep(0.01)

    def send(self, data: bytes) -> None:
        """Send; the connection's end shows when lines are read."""
        self._writer.write(data)

    async def line(self, *, patient: bool = False) -> str:
        """The next line.  Raises Lost; Violation if none comes, unless `patient`."""
        while not self._lines:
            try:
                async with asyncio.timeout(None if patient else PATIENCE):
                    data = await self._reader.read(READ_BYTES)
            except OSError as error:
                raise Lost(str(error)) from None
            except TimeoutError:
                raise Violation(f"nothing came for {PATIENCE:.0f} s where a line was due") from None
            if not data:
                raise Lost("the end")
            *lines, self._tail = (self._tail + data).split(b"\n")
            try:
                self._lines.extend(line.decode() for line in lines)
            except UnicodeDecodeError as error:
                raise Violation(f"a line that is not UTF-8: {error.object[:200]!r}") from None
        return self._lines.popleft()

    async def reply(self) -> tuple[str, str, list[tuple[str, str]]]:
        """The next reply: its status word, the rest, and its items.  Raises Lost."""
        items: list[tuple[str, str]] = []
        while True:
            word, _, rest = (await self.line()).partition(" ")
            if word in STATUS:
                return word, rest, items
            if word not in ITEMS:
                raise Violation(f"no line of a reply: {word} {rest}"[:200])
            items.append((word, rest))

    def cut(self, *, at_once: bool) -> None:
        """End the connection; at_once: without what still waits to be sent."""
        if at_once:
            self._writer.transport.abort()
        else:
            self._writer.close()

    async def closed(self) -> None:
        """Wait until all of it is gone."""
        with suppress(OSError):
            await self._writer.wait_closed()


class Client:
    """Asks on one connection and records it."""

    def __init__(self, history: History, connection: Connection) -> None:
        self._history = history
        self._connection = connection

    async def ask(self, requests: Sequence[Request], cut: int = 0) -> list[Reply]:
        """Send all, then read the replies.

        cut: how many bytes at the end are not sent; the last line is then incomplete, and the connection ends.
        Raises Lost; what has no reply then is recorded as such.
        """
        start = time.monotonic()
        data = b"".join(request.lines for request in requests)
        self._connection.send(data[: len(data) - cut])
        if cut:
            self._connection.cut(at_once=cut % 2 == 0)
            for request in requests:
                reply = CUT if request is requests[-1] else None
                self._record(request, start, reply)
            raise Lost("cut")
        replies: list[Reply] = []
        try:
            for request in requests:
                replies.append(await self._reply(request))
                self._record(request, start, replies[-1])
        except Lost:
            for request in requests[len(replies) :]:
                self._record(request, start, None)
            raise
        return replies

    def _record(self, request: Request, start: float, reply: Reply | None) -> None:
        if reply is None:
            self._history.add(Operation(self._connection.number, request.what, start))
        else:
            self._history.add(Operation(self._connection.number, request.what, start, time.monotonic(), reply))

    async def _reply(self, request: Request) -> Reply:
        what = request.what
        if isinstance(what, Transaction):
            await self._expect("OK", "")
            for _ in (*what.checks, *what.writes):
                await self._expect("OK", "queued")
            if what.spoiled:
                await self._expect("ERR", "usage ")
        word, rest, items = await self._connection.reply()
        try:
            return parse(what, word, rest, items)
        except ValueError as error:
            raise Violation(f"a reply that makes no sense ({error}): {word} {rest}"[:300]) from None

    async def _expect(self, word: str, text: str) -> None:
        found, rest, _ = await self._connection.reply()
        if found != word or not rest.startswith(text):
            raise Violation(f"in a transaction: {found} {rest} where {word} {text} was due")


def parse(what: Write | Read | Transaction, word: str, rest: str, items: Sequence[tuple[str, str]]) -> Reply:
    """A reply as it is recorded."""
    if word == "NONE":
        return Reply("NONE")
    if word == "ERR":
        return Reply("ERR", text=rest)
    if word == "CONFLICT":
        number, _, key = rest.partition(" ")
        return Reply("CONFLICT", int(number), key=key)
    base64 = word == "OK64"
    if isinstance(what, Read) and what.verb == "LIST":
        return Reply("OK", int(rest.partition("@")[0]), items=tuple(pair(*item) for item in items))
    if isinstance(what, Read) and what.verb == "GET":
        return Reply("OK", value=form(rest, base64=base64))
    if isinstance(what, Read):
        number, _, value = rest.partition(" ")
        return Reply("OK", int(number), form(value, base64=base64))
    return Reply("OK", int(rest or 0))


def pair(word: str, rest: str) -> Pair:
    """A PAIR, PAIR64 or GONE line."""
    number, _, rest = rest.partition(" ")
    key, _, value = rest.partition(" ")
    return Pair(int(number), key, None if word == "GONE" else form(value, base64=word == "PAIR64"))
