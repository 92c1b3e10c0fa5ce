"""An engine that reads the data of a directory and writes nothing there.

It runs in a directory of its own, in which links lead to the parts of the append-only file, and is killed in the end:
so neither its start, which may begin a new part and write a manifest, nor its end changes anything.
"""

import asyncio
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import quote

from kvd.embedded import locks, repair
from kvd.embedded.aof import PARTS, AppendOnlyFile
from kvd.embedded.configuration import command_line
from kvd.embedded.directory import ORPHAN_WAIT, SOCKET, explain_snapshot
from kvd.embedded.engine_log import EngineLog
from kvd.embedded.engines import Engine, why_not_read
from kvd.embedded.ownership import INNER, RUN
from kvd.embedded.seal import Seal
from kvd.embedded.shutdown_record import ShutdownRecord
from kvd.errors import StartError
from kvd.process.child import die_with


def data_of(directory: Path) -> Path:
    """Where the data are: in the directory, or in that inside of it which kvd uses if others may enter it."""
    inner = directory / INNER
    return inner if (inner / "life").exists() and not (directory / "life").exists() else directory


def running_on(directory: Path) -> str:
    """The URL of the engine of a daemon that runs on a directory, "" if none does.  Raises StartError."""
    if not _is_locked(directory / "kvd.lock"):
        return ""
    socket = directory / RUN / SOCKET
    if not socket.exists():
        raise StartError(f"a daemon runs on {directory}, and the socket of its engine is elsewhere; stop it first")
    return f"unix://{quote(os.fsencode(socket.absolute()))}"


def _is_locked(path: Path) -> bool:
    with suppress(FileNotFoundError):
        lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
    return False


def why_damaged(directory: Path) -> str:
    """What of the append-only file is not as it was written, "" if nothing is known of that.  Raises StartError."""
    aof = AppendOnlyFile(directory)
    with _record_of(directory, aof) as record:
        return record.why_damaged(Seal(directory, aof))


@contextmanager
def _record_of(directory: Path, aof: AppendOnlyFile) -> Iterator[ShutdownRecord]:
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield ShutdownRecord(directory, opened, aof)
    finally:
        os.close(opened)


def see_that_it_holds_store(aof: AppendOnlyFile) -> None:
    """Raises StartError if an append-only file is not there, or no store of kvd's is in it."""
    aof.check()
    if aof.is_empty():
        raise StartError(f"there is no store in {aof.single.parent}: its append-only file is missing or empty")
    if not aof.holds_store():
        first = aof.files()[0]
        raise StartError(f"there is no store of kvd's in {first}: it is damaged, or another's; {repair.RESTORE}")


def _bring(file: Path, where: Path) -> None:
    """Link a file, or copy one that cannot be written: the engine opens it for that, too."""
    if os.access(file, os.W_OK):
        (where / file.name).symlink_to(file.absolute())
    else:
        shutil.copyfile(file, where / file.name)


class Reading:
    """`start` it in the main thread, use its `url`, `stop` it."""

    def __init__(self, directory: Path, engine: Engine, max_value: int) -> None:
        """max_value: bytes of the longest value."""
        self._directory = directory
        self._aof = AppendOnlyFile(directory)
        self._engine = engine
        self._max_value = max_value
        self._locks: list[int] = []
        self._own: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log = EngineLog(lambda _: None)

    @property
    def url(self) -> str:
        """The URL of its socket."""
        assert self._own  # noqa: S101
        return f"unix://{quote(str(self._own / SOCKET))}"

    async def start(self) -> None:
        """Read the data.  Raises StartError that says what is wrong with them."""
        await self._lock()
        see_that_it_holds_store(self._aof)
        if self._aof.in_parts() and not self._engine.keeps_parts:
            with _record_of(self._directory, self._aof) as record:
                raise StartError(why_not_read(self._directory, record.engine, self._engine))
        if torn := await asyncio.to_thread(repair.torn_bytes, self._engine.binary, self._aof, self._max_value):
            if not self._aof.holds_store(less=torn):
                raise StartError(repair.no_store_before(self._aof, torn))
            # A start refuses an end that was whole when its daemon ended.
            who = "--repair cuts" if why_damaged(self._directory) else "the next start of kvd (or --repair) cuts"
            raise StartError(
                f"the last {torn} bytes of {self._aof.end()} are no whole transaction, as a crash leaves them: {who} "
                "them off and begins a new history; check it after that"
            )
        self._own = Path(tempfile.mkdtemp(prefix="kvd-check-"))
        self._link(self._own)
        self._spawn(self._own)
        if not await self._log.wait_until_ready() or self._log.skipped:
            raise StartError(self._why_not())

    def _why_not(self) -> str:
        if command := self._log.foreign_command:
            return f"the append-only file holds the command {command}, which kvd never writes: it is damaged"
        if self._log.says_bad_snapshot:
            return explain_snapshot(self._directory, self._aof, self._engine)
        return f"{self._aof.tail()} is damaged: {self._log.skipped or self._log.last_error}"

    async def _lock(self) -> None:
        """Let no daemon begin meanwhile.  The engine of one that was killed ends a moment later."""
        for name, wait in (("kvd.lock", 0.0), ("redis.lock", ORPHAN_WAIT)):
            with suppress(FileNotFoundError):
                self._locks.append(os.open(self._directory / name, os.O_RDONLY | os.O_NOFOLLOW))
                if not await locks.take_opened(self._locks[-1], wait):
                    raise StartError(f"{self._directory} is in use; try again")

    def _link(self, own: Path) -> None:
        if not self._aof.in_parts():
            _bring(self._aof.single, own)
            return
        (own / PARTS).mkdir()
        shutil.copyfile(self._aof.manifest, own / PARTS / self._aof.manifest.name)
        for file in self._aof.files():
            # One that has not been moved there yet is where the engine will look for it.
            where = own if file == self._aof.single else own / PARTS
            _bring(file, where)

    def _spawn(self, own: Path) -> None:
        words = command_line(self._engine, SOCKET, "no", 0, 1)
        self._process = subprocess.Popen(  # noqa: S603
            [*words, "--auto-aof-rewrite-percentage", "0"], executable=self._engine.binary, cwd=own,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            process_group=0, preexec_fn=partial(die_with, os.getpid(), signal.SIGKILL),
        )  # fmt: skip
        self._log.follow(self._process)

    async def stop(self) -> None:
        """End it, and remove what it has made."""
        if self._process:
            self._process.kill()
            self._process.wait()
        await self._log.close()
        if self._own:
            shutil.rmtree(self._own, ignore_errors=True)
        for lock in self._locks:
            os.close(lock)
        self._locks.clear()
