"""How the last daemon on a data directory ended: a record in it, which tells whether its data may be too old."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from kvd.embedded.aof import AppendOnlyFile, identity
from kvd.embedded.disk import NO_SPACE
from kvd.embedded.ownership import open_file
from kvd.embedded.seal import Seal

RECORD, SENTINEL = "life", "mark"
"""Names of the two files: the record, and a file beside it that no copy of the directory, as a restored backup is, can
have."""
RECORD_BYTES = 400
"""Length of the record: it is written in place, for on a full disk a longer one could not be written."""


class ShutdownRecord:
    """The record.

    It holds the identity of the sentinel file; whether there was a store; which engine wrote it; and, when all ended
    well, what the append-only file was.
    """

    def __init__(self, directory: Path, descriptor: int, aof: AppendOnlyFile) -> None:
        """descriptor: of the directory."""
        self._descriptor = descriptor
        self._path = directory / RECORD
        self._sentinel = directory / SENTINEL
        self._aof = aof

    def held_store(self) -> bool | None:
        """Whether there was a store; None if nothing tells."""
        recorded = self._read()
        if recorded is None:
            return True if self._path.exists() or self._sentinel.exists() else None
        # Older records do not say; they were written when there was one, or in the moment before it.
        return bool(recorded.get("used", True))

    @property
    def engine(self) -> str:
        """The engine that wrote last, such as "Valkey 9.1.2"; "" if nothing tells."""
        return str((self._read() or {}).get("engine", ""))

    def why_suspect(self, *, weak: bool) -> str:
        """Why the data may be older than what was acknowledged, "" if they are not.

        weak: whether writes were acknowledged before they were on disk, where the record does not tell.
        """
        recorded = self._read()
        if recorded is None:
            return "nothing tells how the last daemon on it ended"
        if recorded["mark"] != identity(self._sentinel):
            return "it is a copy"
        if recorded.get("suspect"):
            return str(recorded["suspect"])
        if recorded["ended"] and recorded["aof"] != self._aof.fingerprint():
            return "its append-only file was replaced since its daemon ended"
        if recorded.get("weak", weak) and not recorded["ended"]:
            return "its daemon ended before the last writes were certainly written"
        return ""

    def vouches_for(self, seal: Seal) -> bool:
        """Whether what is noted of the append-only file is of the one that the last daemon left.

        Not where a person has removed the record, nor in a copy that was made while a daemon ran, nor if the last one
        that ended in order made no notes, for it was of an older version.
        """
        recorded = self._read()
        if recorded is None:
            return False
        if recorded["ended"]:
            return bool(recorded["aof"] == seal.end)
        return bool(recorded["mark"] == identity(self._sentinel))

    def why_damaged(self, seal: Seal) -> str:
        """What of the append-only file is not as it was written, "" if nothing is known of that."""
        if not self.vouches_for(seal):
            return ""
        # While a daemon runs, the engine may write the file anew after the last note.
        return seal.why_wrong(any_file=bool((self._read() or {}).get("ended")))

    def is_older_copy(self, seal: Seal) -> bool:
        """Whether the append-only file lacks its end since an end in order, as one does that was put back."""
        return bool((self._read() or {}).get("ended")) and self.vouches_for(seal) and seal.is_shorter()

    def begin(self, engine: str, *, weak: bool, suspect: str) -> None:
        """A daemon runs; it has no store yet, unless there was one.  Raises OSError, but for a full disk.

        weak: as `why_suspect` takes it.  suspect: what it gave, which stays until `use`, however often a start fails.
        """
        held = self.held_store()
        used = not self._aof.is_empty() if held is None else held
        self._update({"ended": False, "used": used, "engine": engine, "weak": weak, "suspect": suspect})

    def use(self) -> None:
        """There is a store now, with a history of its own."""
        self._update({"used": True, "suspect": ""})

    def mark_suspect(self, reason: str) -> None:
        """The data are suspect until `use`, for this reason."""
        if not self._update({"suspect": reason}):
            self.discard()

    def end(self) -> None:
        """The daemon has ended with everything on disk."""
        if self._path.exists():  # not discarded
            self._update({"ended": True})

    def discard(self) -> None:
        """Remove the record: the data will be repaired by hand, and are suspect until then."""
        with suppress(FileNotFoundError):
            os.unlink(self._path.name, dir_fd=self._descriptor)

    def _update(self, changed: dict[str, Any]) -> bool:
        """Change the record; False if a full disk does not let that be done.  Raises OSError for other reasons."""
        try:
            os.close(open_file(self._descriptor, self._sentinel.name, os.O_RDWR | os.O_CREAT))
            files = {"mark": identity(self._sentinel), "aof": self._aof.fingerprint()}
            text = json.dumps((self._read() or {"ended": False}) | changed | files)
            with os.fdopen(open_file(self._descriptor, self._path.name, os.O_RDWR | os.O_CREAT), "r+") as file:
                file.write(f"{text:{RECORD_BYTES}}\n")
            return True
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            return False

    def _read(self) -> dict[str, Any] | None:
        """What is recorded, None if that is nothing that can be understood."""
        try:
            with os.fdopen(open_file(self._descriptor, self._path.name, os.O_RDONLY)) as file:
                recorded = json.loads(file.read())
        except (FileNotFoundError, ValueError, RecursionError):
            return None
        return recorded if isinstance(recorded, dict) and {"mark", "ended", "aof"} <= recorded.keys() else None
