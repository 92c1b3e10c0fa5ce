"""How a file that is named in an option is opened: who waits for a writer of a FIFO does nothing else."""

import os
from pathlib import Path
from typing import BinaryIO


def open_file(path: str | Path) -> BinaryIO:
    """Open a file for reading; a FIFO that nobody has opened for writing is at its end.  Raises OSError, ValueError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)  # one that somebody has, such as the shell's <(...), is waited for
    return open(descriptor, "rb")  # noqa: PTH123  # a descriptor
