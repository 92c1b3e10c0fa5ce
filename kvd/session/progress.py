"""PROGRESS: one timer for all connections, and none while nobody watches."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush, heapreplace

ROUND_INTERVAL = 0.01
"""Seconds between two rounds at the least: what is due meanwhile is sent together."""
ROUND_LINES = 100
"""Lines in one round, some 1 ms: all PROGRESS lines together take about a tenth of a core at the most, and hold up
nobody.  Where more are asked for, they come less often."""
SHORTEST_PROGRESS = 0.05
"""Seconds between two lines for one watcher at the least: a hundred idle watchers must cost next to nothing."""
CLOCK = 1e-6
"""Seconds by which a timer may seem to be early: sums of the loop's milliseconds are not exact."""


@dataclass(eq=False, slots=True)
class Turn:
    """One connection that is told its position: `tell` does so, every `seconds`, next `at` that time of the loop."""

    tell: Callable[[], None]
    seconds: float
    at: float
    over: bool = False

    def __lt__(self, other: "Turn") -> bool:
        return self.at < other.at


class ProgressTimer:
    """Tells many connections their positions, each at its own interval."""

    def __init__(self) -> None:
        # A heap.  Those that are over stay in it until they come up, or are half of it.
        self._turns: list[Turn] = []
        self._over = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._rest = 0.0

    def start(self, tell: Callable[[], None], seconds: float) -> Turn:
        """Call `tell` every so many seconds, less often if very many ask for it, until `stop`."""
        turn = Turn(tell, seconds, asyncio.get_running_loop().time() + seconds)
        heappush(self._turns, turn)
        self._set()
        return turn

    def stop(self, turn: Turn) -> None:
        """Once for each `start`."""
        turn.over = True
        self._over += 1
        if 2 * self._over > len(self._turns):
            self._turns = [turn for turn in self._turns if not turn.over]
            heapify(self._turns)
            self._over = 0
            self._set()

    def _set(self) -> None:
        """Set the timer for the next round, if there is one."""
        at = max(self._turns[0].at, self._rest) if self._turns else None
        if self._timer and at is not None and self._timer_at <= at:
            return
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if at is not None:
            self._timer = asyncio.get_running_loop().call_at(at, self._round)
            self._timer_at = at

    def _round(self) -> None:
        """Tell those whose time has come, the longest due first."""
        self._timer = None
        now = asyncio.get_running_loop().time()
        for _ in range(ROUND_LINES):
            if not self._turns or self._turns[0].at > now + CLOCK:
                break
            turn = self._turns[0]
            if turn.over:
                heappop(self._turns)
                self._over -= 1
                continue
            turn.tell()
            turn.at = now + turn.seconds
            heapreplace(self._turns, turn)
        self._rest = now + ROUND_INTERVAL
        self._set()


class Reminder:
    """PROGRESS of one connection: every so often, while there are an interval and a watch."""

    def __init__(self, timer: ProgressTimer) -> None:
        self._timer = timer
        self._interval = 0.0
        self._turn: Turn | None = None

    def change(self, milliseconds: int) -> None:
        """Take another interval, 0 for none; until `keep` there is nothing."""
        self._interval = max(milliseconds / 1000, SHORTEST_PROGRESS) if milliseconds else 0.0
        self._stop()

    def keep(self, tell: Callable[[], None] | None) -> None:
        """Have `tell` called if there is an interval; None: there is no watch.

        A watch that takes another's place goes on in its time.
        """
        if not (tell and self._interval):
            self._stop()
        elif not self._turn:
            self._turn = self._timer.start(tell, self._interval)

    def _stop(self) -> None:
        if self._turn:
            self._timer.stop(self._turn)
            self._turn = None
