"""The shell without a terminal: lines from standard input, replies and changes to standard output."""

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncIterator

from kvd.cli.hangup import call_at_hangup, cancelling
from kvd.cli.output import Output
from kvd.cli.shell.memory import Memory, changes_something
from kvd.cli.status import LOST, REFUSED, UNAVAILABLE, UNKNOWN, USAGE, Failure, asking, most_serious
from kvd.client.line_connection import STATUS, Connect, LineConnection, word_of
from kvd.client.received import LONGEST_LINE
from kvd.errors import ConnectionLost

PIECE = 1 << 16
"""Bytes that are read at once."""
MOST_DUE = 1000
"""Requests without a reply, after which no more is sent: the daemon does not read who does not read it."""

_STATUSES = {b"unavailable": UNAVAILABLE, b"uncertain": UNKNOWN}
_STATUSES |= dict.fromkeys((b"unknown-verb", b"usage", b"bad-key", b"bad-value", b"too-long"), USAGE)


class Piped:
    """Sends all lines, prints all that comes, and ends after the last reply, or goes on with a watch."""

    def __init__(self, lines: LineConnection, out: Output) -> None:
        self._lines, self._out = lines, out
        self._memory = Memory()
        self._asked: deque[bytes] = deque()
        self._statuses = {0}
        self._is_sent = asyncio.Event()
        self._room = asyncio.Event()

    async def run(self) -> None:
        """Raises Failure: a line was refused, or the daemon lost."""
        call_at_hangup(1, cancelling())
        sending = asyncio.create_task(self._send())
        try:
            await self._print(sending)
        except ConnectionLost as error:
            if any(map(changes_something, self._asked)):
                raise Failure(UNKNOWN, str(error)) from None
            if self._asked or not sending.done() or self._memory.watched is not None:
                raise Failure(LOST, str(error)) from None
        finally:
            sending.cancel()
            await self._lines.close()
        if sending.done() and not sending.cancelled():
            sending.result()
        if status := most_serious(self._statuses):
            raise Failure(status)

    async def _send(self) -> None:
        async for line in lines_of_standard_input():
            self._asked.append(line)
            self._lines.send(line)
            await self._lines.drain()
            while len(self._asked) >= MOST_DUE:
                self._room.clear()
                await self._room.wait()

    async def _print(self, sending: asyncio.Task[None]) -> None:
        while not self._is_over(sending):
            coming = asyncio.ensure_future(self._lines.next())
            try:
                while not coming.done():
                    waiting = {coming} if sending.done() else {coming, sending}
                    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    if not coming.done() and self._is_over(sending):
                        return
                self._took(coming.result())
            finally:
                coming.cancel()

    def _is_over(self, sending: asyncio.Task[None]) -> bool:
        is_going_on = self._memory.watched is not None and not _failed(sending)
        return sending.done() and not self._asked and not is_going_on

    def _took(self, line: bytes) -> None:
        word, _, rest = line.partition(b" ")
        self._out.line_of_bytes(line)
        if not self._lines.is_more:
            self._out.flush()
        if word not in STATUS:
            self._memory.pushed(line)
        elif self._asked:
            self._memory.answered(self._asked.popleft(), line)
            self._room.set()
            if word == b"ERR":
                self._statuses.add(_STATUSES.get(word_of(rest), REFUSED))


def _failed(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is not None


async def lines_of_standard_input() -> AsyncIterator[bytes]:
    """Yield the lines of standard input.  Raises Failure: the last one has no end."""
    begun: list[bytes] = []
    size = 0
    async for piece in _pieces():
        *lines, rest = piece.split(b"\n")
        for line in lines:
            yield b"".join((*begun, line)).removesuffix(b"\r")
            begun, size = [], 0
        begun.append(rest)
        size += len(rest)
        if size > LONGEST_LINE:
            raise Failure(USAGE, "a line on standard input is longer than any that a daemon takes")
    if size:
        raise Failure(USAGE, "the last line has no line end and was not sent")


async def _pieces() -> AsyncIterator[bytes]:
    """Yield what comes; it is waited for in a thread that nobody waits for, for a terminal or a pipe may never end."""
    loop, pieces, room = asyncio.get_running_loop(), asyncio.Queue[bytes](), threading.Semaphore(0)

    def read() -> None:
        piece = b"."
        while piece:
            try:
                piece = os.read(0, PIECE)
            except OSError:  # the shell's <&-
                piece = b""
            try:
                loop.call_soon_threadsafe(pieces.put_nowait, piece)
            except RuntimeError:  # the program has ended
                return
            room.acquire()

    threading.Thread(target=read, daemon=True).start()
    while piece := await pieces.get():
        yield piece
        room.release()


async def pipe(connect: Connect, out: Output) -> None:
    """Do it.  Raises Failure."""
    with asking():
        lines = await connect()
    await Piped(lines, out).run()
