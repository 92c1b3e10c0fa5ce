"""All connections of a process, looked at every few seconds: what they hold, and what takes them too long.

So neither needs a timer for each of them.  A time is counted from the first round that finds that it has begun: it may
become longer by the interval between two rounds at each of its ends.
"""

import asyncio
from typing import Protocol

from kvd.session.budget import Budget, Holder
from kvd.session.limits import Limit, Limits

LONGEST_INTERVAL, SHORTEST_INTERVAL = 5.0, 0.02
"""Seconds between two rounds; an eighth of the shortest time that is limited, within these."""
TURN_LOOKS = 100
"""Looks before others have their turn, some 0.3 ms."""


class Timed(Holder, Protocol):
    """A connection."""

    def begun(self, limit: Limit) -> object | None:
        """That for which a limit of time counts now, another thing for each time that it begins; None: nothing."""

    def end_for(self, limit: Limit) -> None:
        """It has taken too long."""


class Rounds:
    """Keep `run` running."""

    def __init__(self, budget: Budget, limits: Limits) -> None:
        self._budget = budget
        self._times = limits.sizes.times
        shortest = min([seconds for _, seconds in self._times], default=LONGEST_INTERVAL)
        self._interval = max(SHORTEST_INTERVAL, min(LONGEST_INTERVAL, shortest / 8))
        # For each connection what has begun, and when.
        self._all: dict[Timed, dict[Limit, tuple[object, float]]] = {}

    def add(self, connection: Timed) -> None:
        """Look at it, until `discard`."""
        self._all[connection] = {}

    def discard(self, connection: Timed) -> None:
        """It is gone."""
        self._all.pop(connection, None)
        self._budget.forget(connection)

    async def run(self) -> None:
        """Look at all of them, again and again."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._interval)
            for number, connection in enumerate(list(self._all), 1):
                if (begun := self._all.get(connection)) is not None:
                    self._look(connection, begun, loop.time())
                if number % TURN_LOOKS == 0:
                    await asyncio.sleep(0)

    def _look(self, connection: Timed, begun: dict[Limit, tuple[object, float]], now: float) -> None:
        self._budget.note(connection)
        for limit, seconds in self._times:
            what = connection.begun(limit)
            known = begun.get(limit)
            if what is None:
                if known:
                    del begun[limit]
            elif known is None or known[0] != what:
                begun[limit] = what, now
            elif now - known[1] >= seconds:
                connection.end_for(limit)
