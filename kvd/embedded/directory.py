"""One data directory for one daemon.

Two locks see to that.  `kvd.lock` is held by the daemon alone, so a second one is refused at once; `redis.lock` is
inherited by the server, so that a daemon that follows a killed one waits for the end of its server.
"""

import asyncio
import fcntl
import json
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from kvd.errors import StartError

LONGEST_SOCKET_PATH = 100
"""Bytes; the kernel takes 107 on Linux and 103 on macOS."""
ORPHAN_WAIT = 10.0
"""Seconds for the server of a killed daemon to end; it takes less than 0.1 unless it is busy."""
POLL = 0.005
"""Seconds between looks whether a lock is free."""

_FS_IOC_GETVERSION = 0x80087601
"""Linux's ioctl for a file's generation (linux/fs.h)."""


class Life:
    """A note of how the last daemon on a directory ended.

    It holds the identity of a file beside it, the mark, which no copy of the directory, as a restored backup is, can
    have; and, when all ended well, that of the append-only file and its size.
    """

    def __init__(self, directory: Path, aof: Path) -> None:
        self._path = directory / "life"
        self._mark = directory / "mark"
        self._aof = aof

    def doubt(self, *, weak: bool) -> str:
        """Why the data may be older than what was acknowledged, "" if they are not."""
        try:
            noted = json.loads(self._path.read_text())
            mark, ended, aof = noted["mark"], noted["ended"], noted["aof"]
        except (OSError, ValueError, KeyError, TypeError):
            return "nothing tells how the last daemon on it ended"
        if mark != _identity(self._mark):
            return "it is a copy"
        if ended and aof != self._aof_now():
            return f"{self._aof.name} was replaced since its daemon ended"
        if weak and not ended:
            return "its daemon ended before the last writes were certainly written"
        return ""

    def begin(self) -> None:
        """A daemon runs."""
        self._note(ended=False)

    def end(self) -> None:
        """It has ended with everything on disk."""
        self._note(ended=True)

    def forget(self) -> None:
        """The data will be repaired by hand: whatever comes next is doubtful."""
        self._path.unlink(missing_ok=True)

    def _note(self, *, ended: bool) -> None:
        # Written in place, in always the same length: on a full disk a new file would have no room.
        with suppress(OSError):
            self._mark.touch()
            noted = {"mark": _identity(self._mark), "ended": ended, "aof": self._aof_now()}
            with os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
                file.write(f"{json.dumps(noted):200}\n")

    def _aof_now(self) -> str:
        size = self._aof.stat().st_size if self._aof.exists() else 0
        return f"{_identity(self._aof)}:{size}"


def _identity(path: Path) -> str:
    """What no other file has, nor one that is made when this one is gone; "" if there is none.

    The number of an inode is used again, with another generation; not every file system tells that one.
    """
    try:
        with path.open("rb") as file:
            generation = bytearray(8)
            with suppress(OSError):
                fcntl.ioctl(file, _FS_IOC_GETVERSION, generation)
            return f"{os.fstat(file.fileno()).st_ino}:{int.from_bytes(generation, 'little')}"
    except FileNotFoundError:
        return ""


class DataDirectory:
    """The directory: `claim` it, use its paths, `release` it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.aof = path / "appendonly.aof"
        self.socket = path
        self._life = Life(path, self.aof)
        self._locks: list[IO[str]] = []
        self._temporary: Path | None = None

    async def claim(self) -> None:
        """Make the directory if need be and lock it.  Raises StartError."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            await self._lock("kvd.lock", 0)
            await self._lock("redis.lock", ORPHAN_WAIT)
            self._refuse_other_data()
            self.socket = self._socket_path()
        except OSError as error:
            raise StartError(f"cannot use the data directory {self.path}: {error.strerror or error}") from None

    def doubt(self, *, weak: bool) -> str:
        """Why the data may be older than what was acknowledged, "" if they are not.

        weak: whether writes were acknowledged before they were on disk.  To be called when the directory is claimed;
        `release` completes what is noted here.
        """
        begun = not self.aof.exists()
        reason = self._life.doubt(weak=weak)
        self._life.begin()
        return "" if begun else reason

    def distrust(self) -> None:
        """The append-only file is damaged, and a person will repair it."""
        self._life.forget()

    @property
    def inherited(self) -> int:
        """The descriptor that the server keeps open, and the lock with it."""
        return self._locks[-1].fileno()

    def clear(self) -> None:
        """Remove what a server that was killed left behind: its socket, and files it had begun to write anew."""
        for left in (self.socket, *self.path.glob("temp-rewriteaof-*")):
            left.unlink(missing_ok=True)

    def release(self, *, clean: bool) -> None:
        """Unlock.  clean: whether the server has ended by itself, with all on disk."""
        if clean:
            self._life.end()
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)
        for lock in self._locks:
            lock.close()

    async def _lock(self, name: str, wait: float) -> None:
        lock = (self.path / name).open("a+")
        self._locks.append(lock)
        give_up = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= give_up:
                    raise StartError(self._taken(lock)) from None
                await asyncio.sleep(POLL)
            else:
                # Whose it is helps a person only; a full disk must not keep the daemon from starting.
                with suppress(OSError):
                    lock.truncate(0)
                    lock.write(f"{os.getpid()}\n")
                    lock.flush()
                return

    def _taken(self, lock: IO[str]) -> str:
        lock.seek(0)
        owner = lock.read().strip() or "unknown"
        return (
            f"the data directory {self.path} is in use by another kvd (process {owner}); "
            "stop that one, or choose another directory with --data DIR"
        )

    def _refuse_other_data(self) -> None:
        """An append-only file that is begun beside a snapshot starts empty, and hides it."""
        if (self.path / "dump.rdb").exists() and not self.aof.exists():
            raise StartError(
                f"{self.path} holds a Redis snapshot (dump.rdb) and no {self.aof.name}: this is not kvd's data; "
                "choose another directory with --data DIR"
            )

    def _socket_path(self) -> Path:
        """A path in a directory that only this user can enter, short enough for the kernel."""
        run = self.path.resolve() / "run"
        if len(os.fsencode(run / "redis.sock")) > LONGEST_SOCKET_PATH:
            self._temporary = run = Path(tempfile.mkdtemp(prefix="kvd-"))
        run.mkdir(mode=0o700, exist_ok=True)
        run.chmod(0o700)
        return run / "redis.sock"
