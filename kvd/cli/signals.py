"""Signals that end, or stop, a program which has changed its terminal: it is put in order first."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from kvd.cli.interrupts import ENDING


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Cancel this task at a signal that ends programs; after what the task does then, the signal ends the program."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    came: list[signal.Signals] = []

    def end(number: signal.Signals) -> None:
        came.append(number)
        if task:
            task.cancel()

    for number in ENDING:
        loop.add_signal_handler(number, end, number)
    try:
        yield
    finally:
        for number in ENDING:
            loop.remove_signal_handler(number)  # that is now as it was: it ends the program
        if came:
            os.kill(os.getpid(), came[0])


def stop() -> None:
    """Stop as Ctrl-Z does; it returns when the program goes on."""
    os.kill(os.getpid(), signal.SIGSTOP)
