"""One data directory for one daemon.

Two locks see to that.  `kvd.lock` is held by the daemon alone, so a second one is refused at once; `redis.lock` is
inherited by the server, so that a daemon that follows a killed one waits for the end of its server.  Nobody else can
enter the directory (`securing`).
"""

import errno
import logging
import os
import socket
from contextlib import suppress
from pathlib import Path

from kvd.embedded import locks, ownership, securing
from kvd.embedded.aof import ANEW, AppendOnlyFile
from kvd.embedded.disk import PROBE
from kvd.embedded.engines import Engine, number_of, why_not_read
from kvd.embedded.repair import RESTORE, unreadable
from kvd.embedded.seal import Seal
from kvd.embedded.shutdown_record import ShutdownRecord
from kvd.errors import StartError

LONGEST_SOCKET_PATH = 100
"""Bytes; the kernel takes 107 on Linux and 103 on macOS."""
ORPHAN_WAIT = 10.0
"""Seconds for the server of a killed daemon to end; it takes less than 0.1 unless it is busy."""
SOCKET = "redis.sock"
RESTORING = "restoring"
"""Name of a file that is there while a backup is restored: what else there is then is not whole."""

logger = logging.getLogger("kvd.embedded")


class DataDirectory:
    """The directory: `claim` it, use its paths, `release` it.

    path: as it was given; when it is claimed, that of the directory which holds the data, without links.  shown: the
    same for people, as it was given.
    has_begun_restoring: whether it was new, and is being filled.
    """

    def __init__(self, path: Path, *, restores: bool = False) -> None:
        """restores: a backup is to be restored into it, so that it must be new."""
        self.path = self.shown = path
        self._restores = restores
        self.aof = AppendOnlyFile(path)
        self.socket = path
        self._secured: securing.Secured | None = None
        self._record: ShutdownRecord
        self.seal: Seal
        self._locks: list[int] = []
        self._had_owner = False
        self._temporary: Path | None = None
        self.has_begun_restoring = self._is_restored = False

    async def claim(self, engine: Engine) -> None:
        """Make the directory if need be, lock it, and see that the engine may have it.  Raises StartError."""
        with ownership.explained(self.path):
            secured = self._secured = securing.secure(self.path)
        self.path, self.shown = secured.path, secured.shown
        self.aof = AppendOnlyFile(self.path)
        self._record = ShutdownRecord(self.path, secured.descriptor, self.aof)
        self.seal = Seal(self.path, self.aof, secured.descriptor)
        with ownership.explained(self.path):
            self._had_owner = await self._lock("kvd.lock", 0)
            await self._lock("redis.lock", ORPHAN_WAIT)
            self._look_whether_restored()
            self._refuse_other_data()
            self._refuse_other_form(engine)
            self.refuse_lost_data()
            self.socket = self._socket_path()

    @property
    def descriptor(self) -> int:
        """Of the directory itself, whatever its path leads to later."""
        assert self._secured  # noqa: S101
        return self._secured.descriptor

    def check(self) -> None:
        """See that the path still leads to the directory that is locked.  Raises StartError."""
        with ownership.explained(self.path):
            if not os.path.samestat(self.path.stat(), os.fstat(self.descriptor)):
                raise StartError(f"{self.path} was replaced by another directory; put back the one that was there")

    def why_suspect(self, engine: Engine, *, weak: bool) -> str:
        """Why the data may be older than what was acknowledged, "" if they are not.

        weak: whether writes were acknowledged before they were on disk.  To be called when the directory is claimed;
        `release` completes what is recorded here.  A suspicion stays until `use`, however often a start fails.
        """
        with ownership.explained(self.path):
            held = self._record.held_store()
            if self.aof.is_empty():
                # The locks alone tell that a daemon was here, not what it had.
                reason = "nothing tells whether it held a store" if held is None and self._had_owner else ""
            else:
                reason = self._record.why_suspect(weak=weak)
            self._record.begin(str(engine), weak=weak, suspect=reason)
            return reason

    def why_damaged(self) -> str:
        """What of the append-only file is not as it was written, "" if nothing is known of that.  Reads all of it."""
        with ownership.explained(self.path):
            if not self._record.vouches_for(self.seal):
                self.seal.forget()
            return self._record.why_damaged(self.seal)

    def is_older_copy(self) -> bool:
        """Whether the append-only file, if it is whole, is one as it was earlier; that makes it another history."""
        with ownership.explained(self.path):
            return self._record.is_older_copy(self.seal)

    def loss(self) -> str:
        """What to say if there is no store, "" if there was none before."""
        if not self._record.held_store():
            return ""
        if not self.aof.is_empty():
            return (
                f"{self.path} held a store, and {self.aof.tail()} holds none of kvd's: it is damaged; {RESTORE}; {ANEW}"
            )
        what = "empty" if self.aof.exists() else "missing"
        return (
            f"{self.path} held a store, and its append-only file is {what} ({self.aof.place()}); "
            f"restore a copy of it; {ANEW}"
        )

    def use(self) -> None:
        """The directory holds a store from now on.  Raises StartError if that cannot be recorded."""
        with ownership.explained(self.path):
            self._record.use()
        self._is_restored = self._restores

    def mark_suspect(self, reason: str) -> None:
        """The data are suspect until `use`, even if that does not come before the next start."""
        self._record.mark_suspect(reason)

    def forget_seal(self) -> None:
        """The end of the append-only file is about to be cut off."""
        self.seal.forget()

    def discard_record(self) -> None:
        """The append-only file is damaged, and a person will repair it: the data are suspect until then."""
        self._record.discard()

    @property
    def inherited(self) -> int:
        """The descriptor that the server keeps open, and the lock with it."""
        return self._locks[-1]

    def clear(self) -> None:
        """Remove what a server that was killed left behind: its socket, and files it had begun to write anew."""
        for left in (self.socket, self.path / PROBE, *self.path.glob("temp-rewriteaof-*"), *self.aof.temporary()):
            left.unlink(missing_ok=True)

    def release(self, *, clean: bool) -> None:
        """Unlock.  clean: whether the server has ended by itself, with all on disk, which is then noted."""
        if clean:
            self._record_end()
        if clean and self._is_restored:
            self._end_restoring()
        if self._temporary:
            import shutil

            shutil.rmtree(self._temporary, ignore_errors=True)
        for lock in self._locks:
            os.close(lock)
        self._locks.clear()
        if self._secured:
            os.close(self._secured.descriptor)
            self._secured = None

    def _record_end(self) -> None:
        """Without that the next start looks what the last writes were."""
        try:
            self.check()
            with ownership.explained(self.path):
                self._record.end()
        except StartError as error:
            logger.warning("%s", error)

    async def _lock(self, name: str, wait: float) -> bool:
        """Take a lock; returns whether somebody had it before.  Raises StartError if somebody has it."""
        assert self._secured  # noqa: S101
        try:
            lock, had_owner = await locks.take(self._secured, name, wait)
        except locks.LockTaken as taken:
            raise StartError(
                f"the data directory {self.path} is in use by another kvd (process {taken.owner}); "
                "stop that one, or choose another directory with --data DIR"
            ) from None
        self._locks.append(lock)
        return had_owner

    def _look_whether_restored(self) -> None:
        """Refuse what a restore that was ended has left; or begin one.  Raises StartError, OSError."""
        if self._restores:
            if self.aof.exists():
                raise StartError(not_new(self.path))
            os.close(ownership.open_file(self.descriptor, RESTORING, os.O_RDWR | os.O_CREAT | os.O_EXCL))
            self.has_begun_restoring = True
        elif (self.path / RESTORING).exists():
            raise StartError(not_whole(self.path))

    def _end_restoring(self) -> None:
        """All is on disk.  Raises StartError."""
        with ownership.explained(self.path):
            os.fsync(self.descriptor)
            os.unlink(RESTORING, dir_fd=self.descriptor)
            os.fsync(self.descriptor)

    def _refuse_other_data(self) -> None:
        """An append-only file that is begun beside a snapshot starts empty, and hides it."""
        if self.aof.single.exists() and not self.aof.single.is_file():
            raise StartError(
                f"Can't open the append-only file {self.aof.single}: it is not a file; "
                "move it away, or choose another directory with --data DIR"
            )
        if (self.path / "dump.rdb").exists() and not self.aof.exists():
            raise StartError(
                f"{self.path} holds a Redis snapshot (dump.rdb) and no append-only file: this is not kvd's data; "
                "choose another directory with --data DIR"
            )

    def _refuse_other_form(self, engine: Engine) -> None:
        """An engine that does not know the append-only file's form begins an empty one beside it."""
        if self.aof.in_parts() and not engine.keeps_parts:
            raise StartError(why_not_read(self.path, self.writer, engine))

    def refuse_lost_data(self) -> None:
        """An append-only file that is gone begins anew, with revisions that were used before.

        Raises StartError, OSError.
        """
        if self._record.held_store() is not False:
            self.aof.check()
        if self.aof.is_empty() and (loss := self.loss()):
            raise StartError(loss)

    @property
    def writer(self) -> str:
        """The engine that wrote the append-only file, such as "Valkey 9.1.2", as far as that is known."""
        return self._record.engine or " ".join(self.aof.writer()).strip()

    def _socket_path(self) -> Path:
        """A path in a directory that only this user can enter, short enough for the kernel, on a disk that takes it."""
        path = self.path / ownership.RUN / SOCKET
        if len(os.fsencode(path)) > LONGEST_SOCKET_PATH or not self._takes_socket(path):
            import tempfile

            self._temporary = Path(tempfile.mkdtemp(prefix="kvd-"))
            return self._temporary / SOCKET
        return path

    def _takes_socket(self, path: Path) -> bool:
        """Make a socket and its directory; False if the disk has no space for one more file.  Raises OSError."""
        try:
            with suppress(FileExistsError):
                os.mkdir(ownership.RUN, 0o700, dir_fd=self.descriptor)
            path.unlink(missing_ok=True)
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(str(path))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                return False
            raise
        return True

    @property
    def relative_socket(self) -> str:
        """The path of the socket for a process that runs in the directory, where the kernel's limit is no matter."""
        return str(self.socket) if self._temporary else f"{ownership.RUN}/{SOCKET}"


def not_whole(path: Path) -> str:
    """What a restore that was ended has left."""
    return f"{path} is not whole: a backup was being restored into it; remove it and restore the backup again"


def not_new(path: Path) -> str:
    """Why no backup is restored into a directory."""
    if any((where / RESTORING).exists() for where in (path, path / ownership.INNER)):
        return not_whole(path)
    return f"{path} is not empty: a backup is restored into a new directory only; choose another with --data DIR"


def explain_snapshot(directory: Path, aof: AppendOnlyFile, engine: Engine) -> str:
    """Why an engine does not read the snapshot at the beginning of the append-only file, in one line."""
    name, version = aof.writer()
    if name and (name != engine.name or number_of(version) > number_of(engine.version)):
        return why_not_read(directory, f"{name} {version}", engine)
    return unreadable(aof.files()[0])
