"""Process 1, or a subreaper, is given the children of processes that die: those of them that have ended are let go of.

In a container kvd is process 1, and what `docker exec` leaves behind becomes its child.  The code that started a child
waits for its status, and must be the one to get it.  So only those are taken that nobody here started; and, should one
be started in another way than as a Child, only those that nobody has waited for in a whole interval.
"""

import asyncio
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from kvd.process.child import adopts, process_ids

INTERVAL = 1.0
"""Seconds between looks.  The event loop has the signal that would tell, SIGCHLD, for itself."""

_TASKS = Path("/proc/self/task")


async def reap_adopted() -> None:
    """Let go of adopted children that have ended, until cancelled; returns at once if this process adopts none."""
    ended: set[int] = set()
    while adopts():
        await asyncio.sleep(INTERVAL)
        before, ended = ended, {pid for pid in _children() if _has_ended(pid)} - process_ids()
        _reap(ended & before)


def _reap(ended: Iterable[int]) -> None:
    for pid in ended:
        # Somebody may have waited for it after all.
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def _children() -> Iterable[int]:
    """All children, of whichever thread; none where the kernel does not list them."""
    for task in _TASKS.glob("*/children"):
        with suppress(OSError):
            yield from map(int, task.read_text().split())


def _has_ended(pid: int) -> bool:
    with suppress(ChildProcessError):
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return False
