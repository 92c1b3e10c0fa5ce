"""All connections of a process, looked at every few seconds: what they hold, though nothing happens there."""

import asyncio

from kvd.session.budget import Budget, Holder

INTERVAL = 5.0
"""Seconds between two rounds."""
TURN_LOOKS = 200
"""Looks before others have their turn, some 0.3 ms."""


class Rounds:
    """Keep `run` running."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        # A set would have no order, and a round could begin with the same ones again and again.
        self._all: dict[Holder, None] = {}

    def add(self, connection: Holder) -> None:
        """Look at it, until `discard`."""
        self._all[connection] = None

    def discard(self, connection: Holder) -> None:
        """It is gone."""
        self._all.pop(connection, None)
        self._budget.forget(connection)

    async def run(self) -> None:
        """Look at all of them, again and again."""
        while True:
            await asyncio.sleep(INTERVAL)
            for number, connection in enumerate(list(self._all), 1):
                if connection in self._all:
                    self._budget.note(connection)
                if number % TURN_LOOKS == 0:
                    await asyncio.sleep(0)
