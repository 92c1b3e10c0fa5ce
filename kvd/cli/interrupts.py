"""Ctrl-C, which ends kvctl wherever it is without a word.

Python would raise KeyboardInterrupt between any two steps, also amid an import or the end of an event loop, about whose
rest it complains on standard error then.  So Ctrl-C ends the program at once; but a command in an event loop ends in
order at the first one.  What must be done in any case, such as to give a terminal back, is done `at_end`.
"""

import asyncio
import os
import signal
import termios
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, NoReturn, TypeVar

from kvd.cli.status import INTERRUPTED

Result = TypeVar("Result")

ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""What ends programs, beside Ctrl-C."""

_calls: list[Callable[[], object]] = []


def end_at_once() -> None:
    """From now on, have Ctrl-C end the program, unless it is ignored."""
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        _terminal()
        signal.signal(signal.SIGINT, _end)


@cache
def _terminal() -> list[Any]:
    """How the terminal on standard input was at first; without one, nothing."""
    with suppress(termios.error):
        return termios.tcgetattr(0)
    return []


@contextmanager
def at_end(call: Callable[[], object]) -> Iterator[None]:
    """Call it if a signal ends the program meanwhile, which then leaves no block in order; the last one first.

    The signal may have come amid anything: it is not to write to sys.stderr, nor to wait for a lock.
    """
    taken = [number for number in ENDING if signal.getsignal(number) == signal.SIG_DFL]
    _calls.append(call)
    for number in taken:
        signal.signal(number, _end_by)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
        with suppress(ValueError):  # it was called
            _calls.remove(call)


def _call_all() -> None:
    """Call them, and leave each there meanwhile: another signal may come before it has done anything."""
    while _calls:
        call = _calls[-1]
        with suppress(OSError):  # the terminal is gone
            call()
        _calls.remove(call)


def _end_by(number: int, _: object) -> None:
    _call_all()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _end(*_: object) -> NoReturn:
    _call_all()
    with suppress(OSError, termios.error):
        # Who asks for a password, or draws a screen, may have changed it; a job in the background has not.
        if _terminal() and os.tcgetpgrp(0) == os.getpgrp():
            termios.tcsetattr(0, termios.TCSANOW, _terminal())
    os._exit(INTERRUPTED)


async def ended(task: asyncio.Task[None]) -> None:
    """Cancel a task, and wait for its end; that this one is cancelled meanwhile is not taken for it."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Do the work in an event loop.  Ctrl-C cancels it, and KeyboardInterrupt is raised after its end."""
    task: asyncio.Task[Result] | None = None
    has_come = False

    def interrupt(*_: object) -> None:
        nonlocal has_come
        has_come = True
        end_at_once()
        if task and task.done():
            _end()
        elif task:
            task.get_loop().call_soon_threadsafe(task.cancel)

    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, interrupt)
    try:
        with asyncio.Runner() as runner:
            task = runner.get_loop().create_task(work)
            if has_come:
                task.cancel()
            return runner.get_loop().run_until_complete(task)
    except BaseException:
        if has_come:
            raise KeyboardInterrupt from None
        raise
    finally:
        end_at_once()
