"""A value that comes from standard input, or from a file."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from kvd.cli import interrupts
from kvd.cli.command import Arguments, how
from kvd.cli.output import say
from kvd.cli.status import USAGE, Failure
from kvd.client import LARGEST_VALUE, connect

PIECE = 1 << 16
"""Bytes to read at once, as many as a pipe holds."""


def value_on_stdin(args: Arguments) -> bytes:
    """Read all of it, unless it is longer than the daemon takes.  Raises Failure.

    It is read outside of an event loop, where Ctrl-C would not end the reading.
    """
    with _reading():
        os.fstat(0)  # before the event loop may have another file of this number
    most = interrupts.run(_longest_value(args))
    tell_who_types("the value")
    with _reading():
        value = _read(most + 1)
    if len(value) > most:
        raise Failure(USAGE, f"the value on standard input is too long: this daemon takes at most {most} bytes")
    return value


def tell_who_types(what: str) -> None:
    """Say on a terminal what is waited for, for nothing else shows that anything is."""
    if os.isatty(0):
        say(f"reading {what} from this terminal, up to Ctrl-D at the beginning of a line")


def value_in_file(args: Arguments) -> bytes:
    """Read the file of --file, in the same way."""
    path = args["--file"]
    with _reading(path):
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        most = interrupts.run(_longest_value(args))
        with _reading(path):
            value = _read(most + 1, file)
    finally:
        os.close(file)
    if len(value) > most:
        raise Failure(USAGE, f"the value in {path} is too long: this daemon takes at most {most} bytes")
    return value


@contextmanager
def _reading(what: str = "standard input") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Failure(USAGE, f"cannot read {what} ({error.strerror})") from None


async def _longest_value(args: Arguments) -> int:
    """Ask the daemon how many bytes a value may have."""
    async with await connect(args["--addr"], reconnect=0, **how(args)) as kv:
        said = (await kv.info()).get("max-value", "")
    return min(int(said), LARGEST_VALUE) if re.fullmatch("[0-9]{1,15}", said) else LARGEST_VALUE


def _read(most: int, file: int = 0) -> bytes:
    pieces = []
    while most > 0 and (piece := os.read(file, min(most, PIECE))):
        pieces.append(piece)
        most -= len(piece)
    return b"".join(pieces)
