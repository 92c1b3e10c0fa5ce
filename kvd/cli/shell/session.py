"""The daemon, for somebody who types: a lost connection is replaced by another, and the watch goes on."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from kvd.cli.shell.memory import Memory, changes_something, verb_of
from kvd.cli.shell.shown import for_people
from kvd.client.line_connection import STATUS, Connect, LineConnection, backoff, word_of
from kvd.errors import KvdError

MOST_AT_ONCE = 1000
"""Lines that are shown in one piece, between which the prompt is not drawn."""
MOST_TOLD = 5
"""Requests without a reply that are named, when a connection is lost."""

_PUSHED = frozenset((b"CHANGE", b"PROGRESS", b"END"))


@dataclass(slots=True)
class Shown:
    """A line of the daemon's, or a remark of the shell's."""

    line: bytes = b""
    remark: str = ""


Show = Callable[[Sequence[Shown]], Awaitable[None]]


class Session:
    """Sends what is typed and shows what comes.

    memory: what holds.  is_ended: whether QUIT was answered.  lost: why there is no connection, "": there is one.
    """

    def __init__(self, connect: Connect, show: Show) -> None:
        self.memory = Memory()
        self.lost = ""
        self.is_ended = False
        self._open, self._show = connect, show
        self._lines: LineConnection | None = None
        self._asked: deque[bytes] = deque()
        self._repeated = 0
        self._pauses = backoff()
        self._all_answered = asyncio.Event()

    async def open(self) -> None:
        """Connect for the first time.  Raises KvdError."""
        self._lines = await self._open()

    @property
    def address(self) -> str:
        """That of the daemon that it is connected to."""
        return self._lines.address if self._lines else ""

    async def close(self) -> None:
        """Close the connection."""
        if self._lines:
            await self._lines.close()

    def send(self, requests: Sequence[bytes]) -> bool:
        """Send requests; return whether there is a connection."""
        if self.lost or not self._lines:
            return False
        self._all_answered.clear()
        self._asked.extend(requests)
        self._lines.send(*requests)
        return True

    async def answered(self, seconds: float) -> None:
        """Wait until all is answered, but not for longer."""
        if self._asked:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._all_answered.wait()

    async def run(self) -> None:
        """Show what comes, and connect again, until QUIT is answered."""
        while not self.is_ended:
            try:
                if not self._lines:
                    await self._connect()
                await self._read()
            except KvdError as error:
                await self._lose(error)
                await asyncio.sleep(error.retry or self._pauses.next())

    async def _connect(self) -> None:
        self._lines = await self._open()
        repeated = self.memory.to_repeat()
        self._repeated = len(repeated)
        self._asked.extend(repeated)
        self._lines.send(*repeated)
        self.lost = ""
        await self._show([Shown(remark=f"connected again to kvd at {self.address}")])

    async def _read(self) -> None:
        lines = self._lines
        while lines and not self.is_ended:
            shown = self._took(await lines.next())
            while lines.is_more and len(shown) < MOST_AT_ONCE:
                shown += self._took(await lines.next())
            self._pauses.reset()
            await self._show(shown)
            if not self._asked:
                self._all_answered.set()

    def _took(self, line: bytes) -> list[Shown]:
        word = word_of(line)
        if word not in STATUS:
            if word in _PUSHED:
                self.memory.pushed(line)
            return [Shown(line)]
        if not self._asked:  # such as: there are too many connections
            return [Shown(line)]
        request = self._asked.popleft()
        if self._repeated:
            self._repeated -= 1
            return self._took_repeated(request, line)
        self.memory.answered(request, line)
        self.is_ended = verb_of(request) == b"QUIT" and word == b"OK"
        return [Shown(line)]

    def _took_repeated(self, request: bytes, line: bytes) -> list[Shown]:
        verb, is_done = verb_of(request), word_of(line) == b"OK"
        if verb == b"RESUME" and is_done:
            return [Shown(remark=f"the watch goes on after {for_people(self.memory.position)}, and nothing is missing")]
        if is_done:
            return []
        if verb == b"RESUME":
            self.memory.watched = None
            return [Shown(remark="the watch cannot go on; begin another one"), Shown(line)]
        if verb == b"AUTH":
            self.memory.login = b""
        return [Shown(remark=f"{verb.decode()} was refused now"), Shown(line)]

    async def _lose(self, error: KvdError) -> None:
        lines, self._lines = self._lines, None
        is_news, self.lost = not self.lost, str(error)
        if lines:
            await lines.close()
        asked = list(self._asked)[self._repeated :]
        self._asked.clear()
        self._repeated = 0
        self._all_answered.set()
        remarks = []
        if is_news:
            remarks.append(f"{error}; trying to connect again")
        if self.memory.in_transaction:
            self.memory.in_transaction = False
            remarks.append("the transaction was given up")
            asked = [request for request in asked if verb_of(request) == b"COMMIT"]
        remarks += map(_without_reply, asked[:MOST_TOLD])
        if len(asked) > MOST_TOLD:
            remarks.append(f"and so for {len(asked) - MOST_TOLD} more")
        await self._show([Shown(remark=remark) for remark in remarks])


def _without_reply(request: bytes) -> str:
    what = "it may have been done, or not" if changes_something(request) else "send it again"
    return f"no reply came to {for_people(request[:100])}: {what}"
