"""How the last daemon on a data directory ended: a note in it, which tells whether its data may be too old."""

import errno
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from kvd.embedded.aof import AppendOnlyFile, identity
from kvd.embedded.ownership import open_file

NOTE_BYTES = 400
"""Length of the note: it is written in place, for on a full disk a longer one would have no room."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A disk that is full, or a limit; any other reason why nothing can be noted is for a person."""


class Life:
    """The note.

    It holds the identity of a file beside it, the mark, which no copy of the directory, as a restored backup is, can
    have; whether there was a store; which engine wrote it; and, when all ended well, what the append-only file was.
    """

    def __init__(self, directory: Path, descriptor: int, aof: AppendOnlyFile) -> None:
        """descriptor: of the directory."""
        self._descriptor = descriptor
        self._path = directory / "life"
        self._mark = directory / "mark"
        self._aof = aof

    def held_store(self) -> bool | None:
        """Whether there was a store; None if nothing tells."""
        noted = self._read()
        if noted is None:
            return True if self._path.exists() or self._mark.exists() else None
        # Older notes do not say; they were written when there was one, or in the moment before it.
        return bool(noted.get("used", True))

    @property
    def engine(self) -> str:
        """The engine that wrote last, such as "Valkey 9.1.2"; "" if nothing tells."""
        return str((self._read() or {}).get("engine", ""))

    def doubt(self, *, weak: bool) -> str:
        """Why the data may be older than what was acknowledged, "" if they are not.

        weak: whether writes were acknowledged before they were on disk, where the note does not tell.
        """
        noted = self._read()
        if noted is None:
            return "nothing tells how the last daemon on it ended"
        if noted["mark"] != identity(self._mark):
            return "it is a copy"
        if noted.get("suspect"):
            return str(noted["suspect"])
        if noted["ended"] and noted["aof"] != self._aof.fingerprint():
            return "its append-only file was replaced since its daemon ended"
        if noted.get("weak", weak) and not noted["ended"]:
            return "its daemon ended before the last writes were certainly written"
        return ""

    def begin(self, engine: str, *, weak: bool, suspect: str) -> None:
        """A daemon runs; it has no store yet, unless there was one.  Raises OSError, but for a full disk.

        weak: as `doubt` takes it.  suspect: what it gave, which stays until `use`, however often a start fails.
        """
        held = self.held_store()
        used = not self._aof.is_empty() if held is None else held
        self._note({"ended": False, "used": used, "engine": engine, "weak": weak, "suspect": suspect})

    def use(self) -> None:
        """There is a store now, with a history of its own."""
        self._note({"used": True, "suspect": ""})

    def suspect(self, reason: str) -> None:
        """Whatever comes next is doubtful, until `use`."""
        if not self._note({"suspect": reason}):
            self.forget()

    def end(self) -> None:
        """The daemon has ended with everything on disk."""
        if self._path.exists():  # not forgotten
            self._note({"ended": True})

    def forget(self) -> None:
        """The data will be repaired by hand: whatever comes next is doubtful."""
        with suppress(FileNotFoundError):
            os.unlink(self._path.name, dir_fd=self._descriptor)

    def _note(self, changed: dict[str, Any]) -> bool:
        """Change the note; False if a full disk does not let that be done.  Raises OSError for other reasons."""
        try:
            os.close(open_file(self._descriptor, self._mark.name, os.O_RDWR | os.O_CREAT))
            files = {"mark": identity(self._mark), "aof": self._aof.fingerprint()}
            noted = json.dumps((self._read() or {"ended": False}) | changed | files)
            with os.fdopen(open_file(self._descriptor, self._path.name, os.O_RDWR | os.O_CREAT), "r+") as file:
                file.write(f"{noted:{NOTE_BYTES}}\n")
            return True
        except OSError as error:
            if error.errno not in _FULL:
                raise
            return False

    def _read(self) -> dict[str, Any] | None:
        """What is noted, None if that is nothing that can be understood."""
        try:
            with os.fdopen(open_file(self._descriptor, self._path.name, os.O_RDONLY)) as file:
                noted = json.loads(file.read())
        except (FileNotFoundError, ValueError):
            return None
        return noted if isinstance(noted, dict) and {"mark", "ended", "aof"} <= noted.keys() else None
