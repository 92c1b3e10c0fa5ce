"""How a file that is named in an option is opened: who waits for a writer of a FIFO does nothing else."""

import os
from pathlib import Path
from typing import BinaryIO

from kvd.errors import StartError


def open_file(path: str | Path) -> BinaryIO:
    """Open a file for reading; a FIFO that nobody has opened for writing is at its end.  Raises OSError, ValueError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)  # one that somebody has, such as the shell's <(...), is waited for
    return open(descriptor, "rb")  # noqa: PTH123  # a descriptor


def read_named(path: str | Path, where: str, most: int, expected: str) -> tuple[bytes, int]:
    """The first `most` bytes of a file, and one more if there are more; and its mode.

    where: what named it, and expected: what it is to be, for messages.  Raises StartError if it cannot be read.
    """
    try:
        with open_file(path) as opened:
            return opened.read(most + 1), os.fstat(opened.fileno()).st_mode
    except (OSError, ValueError) as error:  # ValueError: no file has such a name
        reason = getattr(error, "strerror", None) or str(error)
        raise StartError(f"{where}: cannot read {str(path)!r}: {reason}; expected {expected}") from None
