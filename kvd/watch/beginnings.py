"""Those who are about to begin to watch: a crowd that comes at once is let in by portions, in its order.

Between two portions the loop reads all sockets, so that a request of somebody else waits for a portion, not for the
crowd.
"""

import asyncio
import time
from collections import deque

PORTION = 0.001
"""Seconds between two looks at the sockets, in which as many are let in as fit; and
LEAST, MOST: how many at the least and at the most."""
LEAST, MOST = 4, 256
STEP = 2.0
"""How much larger than the last portion the next one is at the most, and how much smaller."""


class Beginnings:
    """Of one process."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._size: float = LEAST
        # Those let in since the last look at the sockets, and when it was.
        self._count = 0
        self._began = 0.0
        self._called = False

    async def enter(self) -> None:
        """Wait for one's turn; nobody waits who is not in a crowd."""
        if not self._waiting and self._count < self._size:
            self._count += 1
            self._call()
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    def _call(self) -> None:
        """Have the next portion let in after this one."""
        if not self._called:
            self._called = True
            self._began = time.monotonic()
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        if self._count >= self._size:
            fitting = PORTION / max(time.monotonic() - self._began, PORTION / MOST)
            self._size = min(max(self._size * min(max(fitting, 1 / STEP), STEP), LEAST), MOST)
        self._count, self._called = 0, False
        while self._waiting and self._count < self._size:
            turn = self._waiting.popleft()
            # Who has gone meanwhile was cancelled.
            if not turn.done():
                turn.set_result(None)
                self._count += 1
        if self._count:
            # Those who were let in come first.
            self._call()
