"""Whether the append-only file is what it was: compared with its checksum, and mended where a crash tore it."""

import asyncio
import logging
from pathlib import Path

from kvd.embedded import repair
from kvd.embedded.directory import DataDirectory, explain_snapshot
from kvd.embedded.engine_log import EngineLog
from kvd.embedded.engines import Engine
from kvd.errors import StartError, one_line

logger = logging.getLogger("kvd.embedded")


class Soundness:
    """Of the data in one directory, which is claimed.

    why_suspect: why they may be older than what was acknowledged, "" if they are not.
    loss: what to say if there is no store, "" if there was none before.
    is_in_use: whether the store is begun, and suspect no longer; to be set.
    """

    def __init__(self, directory: DataDirectory, engine: Engine, max_value: int, *, accepts: bool) -> None:
        """max_value: int, bytes of the longest value.  accepts: whether what is damaged is taken as it is."""
        self._directory = directory
        self._engine = engine
        self._max_value = max_value
        self._accepts = accepts
        self.why_suspect = self.loss = ""
        self.is_in_use = False
        # Whether an end was cut off, and the file does not say so.
        self._is_unmarked = False

    def begin(self, *, weak: bool) -> None:
        """Note what the directory tells of the last daemon on it.  weak: as `DataDirectory.why_suspect` takes it."""
        self.loss = self._directory.loss()
        self.why_suspect = self._directory.why_suspect(self._engine, weak=weak)

    async def look(self) -> None:
        """Compare the append-only file with its checksum.  Raises StartError."""
        why = await asyncio.to_thread(self._directory.why_damaged)
        if not why:
            return
        if not self._accepts:
            # Whole transactions that are gone leave what an older copy is that somebody has put back.
            if self._torn_bytes() or not self._directory.is_older_copy():
                raise StartError(f"{why}; {self._remedies()}")
            logger.warning("%s, or an older copy of it was put back", why)
            self._directory.forget_seal()
            return
        logger.warning("%s; it is taken as it is", why)
        self._directory.forget_seal()
        self._directory.discard_record()

    def _remedies(self) -> str:
        """What to do about damage: only a store that is there can be mended.  Raises StartError, OSError."""
        return remedies(self._directory.path) if self._directory.aof.holds_store() else repair.RESTORE

    def _torn_bytes(self) -> int:
        """How much a crash has left incomplete; of other damage there is more to say.  Raises StartError."""
        try:
            return repair.torn_bytes(self._engine.binary, self._directory.aof, self._max_value)
        except StartError:
            self._directory.discard_record()
            raise

    def repair(self, *, says_bad_snapshot: bool) -> None:
        """Cut off an incomplete end of the append-only file, if it has one.

        says_bad_snapshot: whether the server says that the snapshot before it is damaged.
        Raises StartError if it is damaged otherwise.
        """
        try:
            if says_bad_snapshot:
                raise StartError(explain_snapshot(self._directory.path, self._directory.aof, self._engine))
            cut = repair.cut_tail(
                self._engine.binary, self._directory.aof, self._max_value, self._mark_suspect,
                held_store=self._accepts or bool(self.loss),
            )  # fmt: skip
        except StartError:
            self._directory.discard_record()
            raise
        self._is_unmarked = self.is_in_use and cut > 0
        self.mark_cut()

    def mark_cut(self) -> None:
        """Before the engine starts: note in its file that the end was cut off, unless that is noted.

        Raises StartError if it cannot be noted.
        """
        if self._is_unmarked and self._directory.aof.holds_store():
            repair.mark_suspect(self._directory.aof)
        self._is_unmarked = False

    def refuse(self, said: EngineLog) -> None:
        """Raises StartError if the engine does not read an append-only file that its checker takes for whole."""
        if command := said.foreign_command:
            raise StartError(
                f"the append-only file in {self._directory.path} holds the command {command}, which kvd never writes: "
                "it is damaged, or was written by another; the command was not run; restore a copy of the directory"
            )
        if said.says_bad_file:
            self._directory.discard_record()
            raise StartError(repair.damaged(self._directory.aof.end()))

    def _mark_suspect(self) -> None:
        """The end of the append-only file is about to be cut off."""
        self.why_suspect = "the end of its append-only file was cut off"
        self._directory.forget_seal()
        if not self.is_in_use:
            # Also if this daemon ends before its history is another one.
            self._directory.mark_suspect(self.why_suspect)


def remedies(path: Path) -> str:
    """What to do about damage, in words."""
    return (
        f"restore a backup (kvd restore) or a copy of the directory; or, to go on with what {one_line(str(path))} "
        "holds and a new history: kvd check --repair"
    )
