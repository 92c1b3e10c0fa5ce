"""A new data directory from a backup."""

import asyncio
import logging
import shutil
from contextlib import suppress
from pathlib import Path

from kvd.backup_file import Backup, entries, look_at
from kvd.embedded.directory import not_new
from kvd.embedded.ownership import LOST_FOUND
from kvd.embedded.server import EmbeddedServer
from kvd.errors import StartError, StoreLost
from kvd.settings import Settings
from kvd.store.redis.connection import Connector
from kvd.store.redis.restoring import Restoring

logger = logging.getLogger("kvd")

STOP_WAIT = 600.0
"""Seconds for the engine to end: all is on disk by then, but its end must be in order."""
TOLD = 250_000
"""Keys after which the log says how far it has come."""


class Restore:
    """A service that is over when it has started: `start` it, and `close` it in any case.

    is_done: whether the directory is whole, after `close`.  Else nothing is left of it.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        """path: the backup.  Raises StartError if there is no such engine."""
        self._path = path
        self._data = settings.data
        self._embedded = EmbeddedServer(settings.data, "no", engine=settings.engine, restores=True)
        self._embedded.stop_wait = STOP_WAIT
        self._made: list[Path] = []
        self._backup: Backup | None = None
        self.is_done = False
        self._count = 0

    async def start(self) -> None:
        """Restore it.  Raises StartError."""
        if not self._path.is_file() and (self._path.exists() or str(self._path) == "-"):
            raise StartError(f"{self._path} is no regular file: give the file that kvctl backup has written")
        try:
            backup = look_at(self._path)
        except OSError as error:
            raise StartError(f"cannot read {self._path}: {error.strerror or error}") from None
        self._see_that_it_is_new()
        await self._embedded.start()
        try:
            await self._fill(backup)
        except (StoreLost, TimeoutError) as error:
            raise StartError(f"the store was lost while the backup was restored: {error}") from None
        except OSError as error:
            raise StartError(f"cannot read {self._path}: {error.strerror or error}") from None
        self._embedded.use()
        self._backup = backup

    async def _fill(self, backup: Backup) -> None:
        connection = await Connector(self._embedded.url, direct=True).open()
        try:
            restoring = Restoring(connection, lambda count: self._advance(count, backup.keys))
            for some in entries(backup):
                await restoring.put(some)
            await restoring.finish(backup.revision, backup.store)
        finally:
            await connection.close()

    def _advance(self, count: int, total: int) -> None:
        before, self._count = self._count, self._count + count
        if before // TOLD != self._count // TOLD:
            logger.info("%d of %d keys", self._count, total)

    def _see_that_it_is_new(self) -> None:
        """Before anything is made.  Raises StartError."""
        try:
            if any(path.name != LOST_FOUND for path in self._data.iterdir()):
                raise StartError(not_new(self._data))
        except FileNotFoundError:
            self._made = [path for path in (self._data, *self._data.absolute().parents) if not path.exists()]
        except OSError as error:
            raise StartError(f"cannot use {self._data}: {error.strerror or error}") from None

    async def run(self) -> None:
        """Nothing is left to do."""

    async def drain(self) -> None:
        """Nothing is in flight."""

    async def close(self) -> None:
        """Leave a whole directory or nothing.  Raises StartError."""
        await self._embedded.stop()
        self.is_done = self._backup is not None and self._embedded.has_ended_well
        if backup := self._backup if self.is_done else None:
            what = f"{backup.keys} keys as of {backup.revision}@{backup.store}"
            logger.info("%s are in %s", what, self._embedded.shown)
            return
        # What tries the disk may not be over.
        await asyncio.get_running_loop().shutdown_default_executor()
        if self._embedded.has_begun_restoring:  # else it is somebody else's
            self._remove()
        if self._backup:
            raise StartError("the engine did not end in order; nothing was restored")

    def _remove(self) -> None:
        for path in list(self._data.iterdir()):
            if path.name == LOST_FOUND:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        for path in self._made:
            with suppress(OSError):
                path.rmdir()
