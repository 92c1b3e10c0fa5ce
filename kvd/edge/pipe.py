"""Requests to the upstream, each answered by a status line for each of its lines; pipelined, in order.

What comes within one turn of the event loop goes together.  Where a reply will not say which revision it is of, the
upstream is asked for its position after it, in the same piece.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from kvd.backoff import Backoff
from kvd.client.lines import STATUS, word_of
from kvd.edge.lines import Lines
from kvd.edge.upstream import Upstream
from kvd.errors import ConnectionLost, KvdError
from kvd.model import Position
from kvd.wire import words

logger = logging.getLogger("kvd.edge")

POSITION = b"UNWATCH\n"
"""Without a watch it is answered by the store's position."""
GRACE = 1.0
"""Seconds that requests wait for another upstream when one was lost, and
CLOCK: by which that may seem to be shorter."""
CLOCK = 1e-3

Answered = Callable[[list[bytes], Position | None, bool], None]
"""Takes the status lines that came, without their ends; the position after them, None if it is not known; and whether
the request was sent."""


@dataclass(eq=False, slots=True)
class Asked:
    """A request.  lines: of its replies, how many."""

    data: bytes
    lines: int
    done: Answered
    wants_position: bool = False
    replies: list[bytes] = field(default_factory=list)
    since: float = 0.0


class Pipe:
    """One connection after another; keep `run` running."""

    def __init__(self, upstream: Upstream, silence: float) -> None:
        """silence: seconds after which a connection is lost on which replies are due."""
        self._upstream = upstream
        self._turn = upstream.turn()
        self._silence = silence
        self._lines: Lines | None = None
        self._waiting: deque[Asked] = deque()
        self._in_flight: deque[Asked] = deque()
        # Of each position that was asked for, those whose replies wait for it.
        self._held: dict[Asked, list[Asked]] = {}
        self._scheduled = False
        # Why nothing more is asked of this upstream: as soon as all is answered, it is left.
        self._why_leave = ""

    def ask(self, data: bytes, lines: int, done: Answered, *, wants_position: bool = False) -> None:
        """Ask; `done` is called once."""
        loop = asyncio.get_running_loop()
        self._waiting.append(Asked(data, lines, done, wants_position, since=loop.time()))
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._flush)

    def give_up(self, address: str) -> None:
        """A daemon says nothing any more: what is in flight there has an unknown outcome; the next goes elsewhere."""
        if self._lines and self._lines.address == address:
            self._lines.give_up()

    def leave(self, address: str) -> None:
        """A daemon is behind: the next one is asked once what is in flight there is answered."""
        if self._lines and self._lines.address == address:
            self._why_leave = "it is behind"
            if not self._in_flight:
                self._lines.leave()

    async def run(self) -> None:
        """Serve until cancelled."""
        backoff = Backoff(jitter=True)
        try:
            while True:
                try:
                    self._lines = await self._upstream.connect(self._turn, self._silence)
                    backoff.reset()
                    self._why_leave = ""
                    self._flush()
                    await self._read(self._lines)
                except KvdError as error:
                    logger.debug("lost a connection to the upstream: %s", error)
                finally:
                    await self._lose()
                self._refuse_old()
                await asyncio.sleep(backoff.next())
        finally:
            self._refuse_old(0.0)

    def _flush(self) -> None:
        self._scheduled = False
        if self._lines is None or self._lines.is_closed:
            asyncio.get_running_loop().call_later(GRACE, self._refuse_old)
            return
        if self._why_leave and self._in_flight:
            return
        asked, self._waiting = list(self._waiting), deque()
        held = [one for one in asked if one.wants_position]
        if held:
            place = Asked(POSITION, 1, self._nobody)
            self._held[place] = held
            asked.append(place)
        self._in_flight.extend(asked)
        if asked:
            self._lines.send(b"".join([one.data for one in asked]))
            for one in asked:
                # It is not sent again, and may be large.
                one.data = b""

    async def _read(self, lines: Lines) -> None:
        while True:
            for line in await lines.read():
                if word_of(line) in STATUS and self._in_flight:
                    self._take(line)
            lines.is_due = bool(self._in_flight)
            if self._why_leave and not self._in_flight:
                raise ConnectionLost(self._why_leave)

    def _take(self, line: bytes) -> None:
        asked = self._in_flight[0]
        asked.replies.append(line)
        if line.startswith(b"ERR auth "):
            self._why_leave = "the users of the upstream were changed"
        if len(asked.replies) < asked.lines:
            return
        self._in_flight.popleft()
        if asked in self._held:
            position = position_of(line)
            for one in self._held.pop(asked):
                one.done(one.replies, position, True)
        elif not asked.wants_position:
            asked.done(asked.replies, None, True)

    async def _lose(self) -> None:
        lines, self._lines = self._lines, None
        if lines:
            await lines.close()
            self._begin_grace()
        in_flight, self._in_flight = self._in_flight, deque()
        held, self._held = self._held, {}
        # Those whose replies have come are not in flight any more, and wait for the position alone.
        told = dict.fromkeys(one for some in held.values() for one in some)
        for one in (*told, *(one for one in in_flight if one not in told and one not in held)):
            one.done(one.replies, None, True)

    def _begin_grace(self) -> None:
        """Those who wait for what was in flight, for that upstream was to be left, wait for another one from now on."""
        loop = asyncio.get_running_loop()
        for one in self._waiting:
            one.since = loop.time()
        # Sums of the loop's milliseconds are not exact.
        loop.call_later(GRACE, self._refuse_old, GRACE - CLOCK)

    def _refuse_old(self, grace: float = GRACE) -> None:
        """Those that have waited for a connection for too long were not sent."""
        if self._lines and grace:
            return
        oldest = asyncio.get_running_loop().time() - grace
        while self._waiting and self._waiting[0].since <= oldest:
            one = self._waiting.popleft()
            one.done([], None, False)

    def _nobody(self, replies: list[bytes], position: Position | None, sent: bool) -> None:
        """Those who wait for the position are told."""


def position_of(line: bytes) -> Position | None:
    """What an `OK position` says; None if it is none."""
    word, _, rest = line.partition(b" ")
    return words.position(rest) if word == b"OK" else None
