"""The daemon's processes: how they are ended and come back.  One that does not is a violation, no error of the test."""

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable

import psutil

from tests.faults.history import Violation
from tests.support.processes import PATIENCE, Daemon


async def until(what: str, condition: Callable[[], bool]) -> None:
    """Poll until a condition holds.  Raises Violation."""
    give_up = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > give_up:
            raise Violation(f"waited {PATIENCE:.0f} s for {what}")
        await asyncio.sleep(0.01)


async def begin_again(daemon: Daemon, number: signal.Signals) -> None:
    """End the daemon by a signal, and start it again.  Raises Violation."""
    await end(daemon, number)
    await start(daemon)


async def start(daemon: Daemon) -> None:
    """Start the daemon.  Raises Violation."""
    # Not in this thread: interrupted there, it might leave a process behind that nobody knows of.
    starting = asyncio.create_task(asyncio.to_thread(daemon.start))
    try:
        await asyncio.wait_for(asyncio.shield(starting), PATIENCE)
    except TimeoutError:
        # The thread waits for the daemon's first line, and so for its end.
        daemon.kill()
        await asyncio.wait([starting])
        starting.exception()
        raise Violation(f"{PATIENCE:.0f} s after its start the daemon does not listen") from None
    except AssertionError as error:
        raise Violation(f"the daemon does not start: {error}") from None


async def end(daemon: Daemon, number: signal.Signals) -> None:
    """End the daemon, which must not have done so by itself before.  Raises Violation."""
    daemon.kill(number)
    try:
        status = await asyncio.to_thread(daemon.wait)
    except subprocess.TimeoutExpired:
        raise Violation(f"{PATIENCE:.0f} s after {number.name} the daemon still runs") from None
    wanted = 0 if number == signal.SIGTERM else -number
    if status != wanted:
        raise Violation(f"ended by {number.name}, the daemon has status {status} and not {wanted}")


async def store(daemon: Daemon, former: int = 0) -> int:
    """The process of the embedded store, as soon as there is one.  former: one that was killed.  Raises Violation."""
    found = [former]

    def runs() -> bool:
        try:
            found.append(daemon.redis_pid())
        except (LookupError, psutil.Error):
            return False
        return found[-1] != former

    await until("the store to come back" if former else "an embedded store", runs)
    return found[-1]


async def workers(daemon: Daemon, number: int, former: frozenset[int] = frozenset()) -> list[int]:
    """The workers' processes, as soon as there are so many.  former: those that were killed.  Raises Violation."""
    found: list[int] = []

    def run() -> bool:
        found[:] = set(daemon.worker_pids()) - former
        return len(found) == number

    await until(f"{number} workers", run)
    return sorted(found)
