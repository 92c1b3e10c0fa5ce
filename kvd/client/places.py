"""Where a position is kept, so that a program that is started again goes on where it was."""

import errno
import os
import stat
import typing
from pathlib import Path

from kvd.client import arguments

LARGEST = 4096
"""Bytes that are read; a position is far shorter."""
KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class Place(typing.Protocol):
    """Keeps one position.  Both calls are made in the thread, or the event loop, that takes the changes."""

    def load(self) -> str | None:
        """The position that was saved last, None: none was."""

    def save(self, position: str) -> None:
        """Keep a position in place of the last one."""


class FilePosition:
    """Keeps a position in a file, which is replaced as a whole: readers find the old one or the new one.

    A symbolic link stays, and what it leads to is replaced.  A power failure may bring back an older position, whose
    changes then come again, unless `fsync` is true, which takes milliseconds for each.
    """

    def __init__(self, path: str | os.PathLike[str], *, fsync: bool = False) -> None:
        self._path, self._fsync = Path(os.path.realpath(path)), fsync
        self._new = self._path.with_name(f"{self._path.name}.new")

    def load(self) -> str | None:
        """Read the position; None if there is no such file.

        Raises OSError, also for what is no file, such as a FIFO or /dev/null; Usage: the file holds something else.
        """
        self._see_that_it_is_a_file()  # a FIFO would have it wait for a writer
        try:
            with self._path.open("rb") as file:
                position = file.read(LARGEST).decode(errors="replace").removesuffix("\n")
        except FileNotFoundError:
            return None
        arguments.position(position, f"position in {self._path}")
        return position

    def save(self, position: str) -> None:
        """Write the position.  Raises OSError, also where something else than a file is."""
        self._see_that_it_is_a_file()
        # What another program has left in the place of the new file may be a FIFO, or a link that leads elsewhere.
        self._new.unlink(missing_ok=True)
        with self._new.open("x", encoding="utf-8") as file:
            file.write(f"{position}\n")
            if self._fsync:
                file.flush()
                os.fsync(file.fileno())
        self._new.replace(self._path)

    def _see_that_it_is_a_file(self) -> None:
        try:
            mode = self._path.stat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISREG(mode):
            kind = next((kind for is_it, kind in KINDS if is_it(mode)), "something else")
            raise OSError(errno.EINVAL, f"it is {kind}; expected a file, or a path where one can be made", self._path)
