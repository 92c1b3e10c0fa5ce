"""The terminal of a live screen: its keys, its size, and that it can be left for a while."""

import asyncio
import os
import signal
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_KEYS = 64
"""Bytes of what was typed that are read at once."""


@contextmanager
def keys(typed: Callable[[bytes], object]) -> Iterator[None]:
    """Hand on what is typed, at once and without showing it; at the end the terminal is as it was."""
    if not os.isatty(0):
        yield
        return
    loop = asyncio.get_running_loop()
    before = termios.tcgetattr(0)

    def read() -> None:
        data = b""
        with suppress(OSError):  # the terminal is gone
            data = os.read(0, _KEYS)
        if not data:
            loop.remove_reader(0)
        elif not data.startswith(b"\x1b"):  # an arrow, or a mouse
            typed(data)

    tty.setcbreak(0, termios.TCSADRAIN)
    loop.add_reader(0, read)
    try:
        yield
    finally:
        loop.remove_reader(0)
        with suppress(termios.error):
            termios.tcsetattr(0, termios.TCSADRAIN, before)


@contextmanager
def signals(resized: Callable[[], object], suspended: Callable[[], object]) -> Iterator[None]:
    """Call when the window has another size, and when Ctrl-Z asks to stop for a while."""
    loop = asyncio.get_running_loop()
    handlers = {signal.SIGWINCH: resized, signal.SIGTSTP: suspended}
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)
