"""Requests that the upstream answers whole: what it says is passed on as it comes.

A connection that was used for one is kept for the next.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress

from kvd.client.lines import STATUS, word_of
from kvd.edge.lines import PUSHED, Lines
from kvd.edge.upstream import Upstream
from kvd.errors import REFUSALS, ConnectionLost, Refusal, Unavailable, Uncertain

MOST_KEPT = 8
"""Idle connections that are kept."""
MOST = 64
"""Requests at once; more wait, and
PATIENCE: seconds for which a peer may then leave unread what it was sent, before its request makes way."""
PATIENCE = 1.0
TOO_SLOW = "this was read too slowly while others waited for their turn; try again"


def refusal_of(line: bytes) -> Refusal | None:
    """What an `ERR code text` says; None if it is none."""
    word, _, rest = line.partition(b" ")
    if word != b"ERR":
        return None
    code, _, text = rest.decode().partition(" ")
    return REFUSALS.get(code, Refusal)(text, code)


class Relay:
    """Asks for things, each on a connection of its own."""

    def __init__(self, upstream: Upstream, silence: float) -> None:
        """silence: seconds after which a connection is lost on which something is due."""
        self._upstream = upstream
        self._turn = upstream.turn()
        self._silence = silence
        self._kept: list[Lines] = []
        self._free = asyncio.Semaphore(MOST)
        # Those of which a peer has something to read, and since when, the longest first.
        self._unread: dict[Lines, float] = {}

    async def ask(
        self, request: bytes, *, is_write: bool = False, is_watch: bool = False
    ) -> AsyncGenerator[bytes, None]:  # fmt: skip
        """The item lines of a reply, many at a time, with their ends, and at last its status line alone.

        A write of which nothing came back raises Uncertain.  is_watch: more would come after it.  Raises Unavailable.
        """
        await self._enter()
        makes_way = False
        try:
            lines = await self.take()
            is_whole = False
            try:
                lines.send(request)
                async for part, is_whole in _reply(lines):  # noqa: B007  # it is asked at the end
                    self._unread[lines] = asyncio.get_running_loop().time()
                    try:
                        yield part
                    finally:
                        makes_way = self._unread.pop(lines, None) is None
            except ConnectionLost as lost:
                if is_write:
                    raise Uncertain("the upstream was lost under this write, which may have been done") from None
                raise Unavailable(TOO_SLOW if makes_way else str(lost)) from None
            finally:
                await self._give_back(lines, is_whole and not is_watch and not makes_way)
        finally:
            if not makes_way:
                self._free.release()

    async def _enter(self) -> None:
        """Wait until one more may be asked.  Who does not read must not keep others out."""
        while True:
            if self._free.locked():
                self._make_way()
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self._free.acquire()
                return

    def _make_way(self) -> None:
        """End the request whose peer has not read for the longest, if that is long."""
        lines, since = next(iter(self._unread.items()), (None, 0.0))
        if lines and asyncio.get_running_loop().time() - since >= PATIENCE:
            del self._unread[lines]
            lines.drop()
            self._free.release()

    async def take(self) -> Lines:
        """A connection.  Raises Unavailable."""
        while self._kept:
            lines = self._kept.pop()
            if not lines.is_closed:
                return lines
        try:
            return await self._upstream.connect(self._turn, self._silence)
        except ConnectionLost as lost:
            raise Unavailable(str(lost)) from None

    async def _give_back(self, lines: Lines, is_whole: bool) -> None:
        lines.is_due = False
        if is_whole and len(self._kept) < MOST_KEPT:
            self._kept.append(lines)
        else:
            await lines.close()

    async def close(self) -> None:
        """Close what is kept."""
        while self._kept:
            await self._kept.pop().close()


async def _reply(lines: Lines) -> AsyncIterator[tuple[bytes, bool]]:
    """The items of a reply, and its status, and whether it is that."""
    while True:
        items: list[bytes] = []
        for line in await lines.read():
            word = word_of(line)
            if word in STATUS:
                if items:
                    yield b"\n".join(items) + b"\n", False
                yield line + b"\n", True
                return
            items.append(line)
        yield b"\n".join(items) + b"\n", False


async def status_of(lines: Lines) -> tuple[bytes, list[bytes]]:
    """The next status line, and what has come with it, after it.  Raises ConnectionLost."""
    while True:
        came = await lines.read()
        for place, line in enumerate(came):
            if word_of(line) not in PUSHED:
                return line, came[place + 1 :]
