"""A child process: it ends with its parent, and is started again whenever it ends by itself."""

import asyncio
import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakSet

from kvd.backoff import Backoff
from kvd.errors import StartError
from kvd.process.service import TERMINAL

logger = logging.getLogger("kvd")

LONGEST_PAUSE = 5.0
"""Seconds between restarts of a child that dies again and again, at the most."""
LONG_ENOUGH = 10.0
"""Seconds after which a child that died had been well, and its restart does not wait."""
LOOKS = 4
"""Looks in the time that a child has to end, so that a pause of the whole machine is not taken for all of it."""

_PR_SET_PDEATHSIG, _PR_GET_CHILD_SUBREAPER = 1, 37
_prctl = ctypes.CDLL(None).prctl if sys.platform.startswith("linux") else None


_children: WeakSet["Child"] = WeakSet()


class Child(ABC):
    """One child process.  Subclasses implement `launch` and `_wait`.

    name: for the log.  stop_wait: seconds that it has to end when asked to; then it is killed.
    restarted: called each time that it was started again; to be set.
    """

    name: str
    stop_wait: float

    def __init__(self) -> None:
        _children.add(self)
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self.restarted: Callable[[], None] = _nothing

    @abstractmethod
    async def launch(self) -> None:
        """Start the process and wait until it is ready.  Raises StartError."""

    @abstractmethod
    async def _wait(self) -> int:
        """Wait for the end of the process; its exit status."""

    async def supervise(self) -> None:
        """Start the process again whenever it ends, until `_terminate`."""
        backoff = Backoff(longest=LONGEST_PAUSE, jitter=True)
        while True:
            began = time.monotonic()
            code = await self._wait()
            if self._stopping:
                return
            if time.monotonic() - began > LONG_ENOUGH:
                backoff.reset()
            logger.error("%s ended (%s); starting it again", self.name, describe_exit(code))
            await asyncio.sleep(backoff.next())
            if self._stopping:
                return
            try:
                await self.launch()
                self.restarted()
            except StartError as error:
                if not self._stopping:
                    logger.error("%s", error)
            else:
                logger.info("%s was started again", self.name)

    async def _terminate(self) -> None:
        """End the process, cleanly if it can be."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        # A process that is stopped would not see it.
        process.send_signal(signal.SIGCONT)
        ended = asyncio.ensure_future(self._wait())
        try:
            for _ in range(LOOKS):
                if (await asyncio.wait([ended], timeout=self.stop_wait / LOOKS))[0]:
                    ended.result()
                    return
        finally:
            ended.cancel()
        logger.warning("%s did not end within %.0f s; killing it", self.name, self.stop_wait)
        process.kill()
        process.wait()


def _nothing() -> None:
    """Nobody wants to know."""


def die_with(parent: int, number: int) -> None:
    """Leave the end of this process to its parent, and have the kernel send it a signal when that dies (on Linux).

    To be called in the child, also before it becomes another program: a terminal's signals are held back for good.
    The signal is bound to the thread that started it, hence the parent's main thread.
    parent: int, its process id, for it may be gone already.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, TERMINAL)
    if _prctl is None:
        return
    _prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(1)


@contextmanager
def terminal_held_back() -> Iterator[None]:
    """A process that is started meanwhile never sees a terminal's signals, not even while it starts."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, TERMINAL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def process_ids() -> set[int]:
    """Of all children that were started here, dead or alive."""
    return {child._process.pid for child in _children if child._process}


def adopts() -> bool:
    """Whether the kernel makes this process the parent of those whose own parent has died (Linux)."""
    adopting = ctypes.c_int()
    if _prctl:
        _prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(adopting))
    return os.getpid() == 1 or bool(adopting.value)


def describe_exit(code: int) -> str:
    """An exit status, as `subprocess` has it, in words."""
    return f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit status {code}"
