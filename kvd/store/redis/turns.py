"""Turns of what the store does by itself: it goes step by step, and others are served between two steps.

Each step that writes keeps Redis busy, and then syncs to disk; a reply that is due meanwhile waits for both.  If two
kinds of steps filled each other's pauses, it would wait for one of each.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from math import ceil
from typing import TypeVar

TURN_PAUSE = 0.0003
"""Seconds between two steps at the least when others asked for something meanwhile: Redis then answers them without a
second step, and its sync, before their replies; and
TURN_SHARE: of the time that the step took, when that is more: on a slow disk the sync takes most of it."""
TURN_SHARE = 0.5
MILLISECOND = 0.001
"""Seconds."""

T = TypeVar("T")


class Turns:
    """Those of one store."""

    def __init__(self, asked: Callable[[], int]) -> None:
        """asked: how often others asked for something."""
        self._asked = asked
        self._lock = asyncio.Lock()
        self._until = 0.0

    async def take(self, step: Callable[[], Awaitable[T]]) -> T:
        """Do a step when it is its turn, and give what it gives."""
        async with self._lock:
            await pause(self._until - time.monotonic())
            asked, began = self._asked(), time.monotonic()
            result = await step()
            ended = time.monotonic()
            is_shared = self._asked() != asked
            self._until = ended + max(TURN_PAUSE, TURN_SHARE * (ended - began)) if is_shared else 0
            return result


async def pause(seconds: float) -> None:
    """Sleep for at least so long, and less than a millisecond longer; not at all for 0 or less.

    uvloop counts whole milliseconds from when its present turn began: of a sleep of one nothing may be left.
    """
    if seconds > 0:
        left = time.monotonic() + seconds - asyncio.get_running_loop().time()
        await asyncio.sleep(ceil(left / MILLISECOND) * MILLISECOND)
