"""Memory that was freed, given back to the system.

glibc keeps what lies under anything that is still in use: after a thousand connections that held much, hundreds of MiB.
Its thresholds for large pieces do not help with small ones, and cost large values 30 to 120 % more processor time: each
of them would be new pages.  To ask for all of it at once from time to time was measured to cost nothing else.

The interpreter keeps small objects in pieces of 1 MiB, each of which one object is enough to keep.  Many of these are
objects that nobody uses, which wait in free lists to be used again.  A whole collection lets go of those, but takes the
longer the more objects there are: so there is one when most of those are gone that came.
"""

import ctypes
import gc
import sys
import time

from kvd.process.activity import Activity
from kvd.process.machine import resident

INTERVAL = 2.0
"""Seconds between looks."""
SPARE_BYTES = 16 * 1024 * 1024
"""Bytes above the least that this process ever had, up to which there is nothing worth giving back."""
MOST_OF_TIME = 0.01
"""The part of the time that may go into giving back: a tenth of a millisecond for each MiB that is given, but also
0.3 ms where all that there is is in use."""

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform.startswith("linux") else None


def give_back_now() -> None:
    """Give freed memory back at once, where that can be done."""
    if _trim:
        _trim(0)


async def give_back(activity: Activity) -> None:
    """Give freed memory back now and then, for ever; returns where the C library or the system has no way to."""
    if _trim is None or not resident():
        return
    least = resident()
    objects = _Objects()
    pause = INTERVAL
    while True:
        await activity.pause(pause)
        pause = INTERVAL
        objects.look()
        if resident() > least + SPARE_BYTES:
            # Of the processor: a pause of the machine amid would put the next one off by a hundred times as much.
            began = time.thread_time()
            if objects.most_are_gone():
                gc.collect()
            give_back_now()
            pause = max(INTERVAL, (time.thread_time() - began) / MOST_OF_TIME)
            least = min(least, resident())


class _Objects:
    """How many small pieces of memory the interpreter has given to objects: at the least, at the most since most of
    what came on top were gone, and now."""

    def __init__(self) -> None:
        self._least = self._most = self._now = sys.getallocatedblocks()

    def look(self) -> None:
        """Count them anew."""
        self._now = sys.getallocatedblocks()
        self._least, self._most = min(self._least, self._now), max(self._most, self._now)

    def most_are_gone(self) -> bool:
        """Whether at the last look most of them were; they are asked for once."""
        if self._now - self._least >= (self._most - self._least) / 2:
            return False
        self._most = self._now
        return True
