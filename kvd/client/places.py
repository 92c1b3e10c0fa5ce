"""Where a position is kept, so that a program that is started again goes on where it was."""

import os
import typing
from pathlib import Path

from kvd.client import arguments


class Place(typing.Protocol):
    """Keeps one position.  Both calls are made in the thread, or the event loop, that takes the changes."""

    def load(self) -> str | None:
        """The position that was saved last, None: none was."""

    def save(self, position: str) -> None:
        """Keep a position in place of the last one."""


class FilePosition:
    """Keeps a position in a file, which is replaced as a whole: readers find the old one or the new one.

    A power failure may bring back an older one, whose changes then come again, unless `fsync` is true, which takes
    milliseconds for each.
    """

    def __init__(self, path: str | os.PathLike[str], *, fsync: bool = False) -> None:
        self._path, self._fsync = Path(path), fsync
        self._new = self._path.with_name(f"{self._path.name}.new")

    def load(self) -> str | None:
        """Read the position; None if there is no such file.  Raises OSError, Usage: the file holds something else."""
        try:
            position = self._path.read_text(encoding="utf-8", errors="replace").removesuffix("\n")
        except FileNotFoundError:
            return None
        arguments.position(position, f"position in {self._path}")
        return position

    def save(self, position: str) -> None:
        """Write the position.  Raises OSError."""
        with self._new.open("w", encoding="utf-8") as file:
            file.write(f"{position}\n")
            if self._fsync:
                file.flush()
                os.fsync(file.fileno())
        self._new.replace(self._path)
