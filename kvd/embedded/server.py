"""The server process: started, watched, restarted, stopped."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import quote

from kvd.embedded import asking, engines, ownership
from kvd.embedded.aof import AppendOnlyFile
from kvd.embedded.configuration import command_line
from kvd.embedded.directory import DataDirectory
from kvd.embedded.disk import Disk
from kvd.embedded.engine_log import EngineLog
from kvd.embedded.soundness import Soundness
from kvd.embedded.syncs import Syncs
from kvd.errors import StartError, StoreLost, one_line
from kvd.memory import NOT_PLANNED, MemoryPlan, readable
from kvd.process.child import Child, die_with

logger = logging.getLogger("kvd.embedded")

SEAL_PAUSE = 5.0
"""Seconds between looks whether the append-only file has grown: what came after them is left to the change log's
digests."""
STOP_WAIT = 2.0
"""Seconds for the server to end when asked to; then it is killed, which its append-only file survives."""


class EmbeddedServer(Child):
    """One Redis server on one data directory.

    `start` it in the main thread, keep `supervise` running, `stop` it.  `url` is what to connect to.
    meanwhile: called each time while the server starts, for what must be done anyway; to be set.
    """

    stop_wait = STOP_WAIT

    def __init__(
        self, data: Path, fsync: str = "always", max_value: int = 1024 * 1024, *, engine: str = "", processes: int = 1,
        memory: MemoryPlan = NOT_PLANNED, restores: bool = False, accepts: bool = False,
    ) -> None:  # fmt: skip
        """data: directory, made if need be.  fsync: "always", "everysec" or "no", as Redis's appendfsync.

        max_value: int, bytes of the longest value.  engine: as `engines.choose` takes it.  processes: int, how many
        will connect.  memory: what it may take.  restores: into a new directory, from a backup.
        accepts: whether what is damaged is taken as it is, for another history.
        Raises StartError if there is no such engine.
        """
        super().__init__()
        self.engine = engines.choose(engine)
        self.name = f"the embedded {self.engine.name} server"
        self._directory = DataDirectory(data, restores=restores)
        self._fsync = fsync
        self._accepts = accepts
        self._processes = processes
        self._memory = memory
        self._max_memory = memory.store
        self._guard: subprocess.Popen[bytes] | None = None
        self._soundness = Soundness(self._directory, self.engine, max_value, accepts=accepts)
        self._disk = Disk(lambda: self._directory.path)
        self._engine_log = EngineLog(self._disk.refuse)
        self.syncs = Syncs(fsync)
        self.meanwhile: Callable[[], None] = _nothing

    @property
    def why_suspect(self) -> str:
        """Why its data may be older than what was acknowledged, "" if they are not."""
        return self._soundness.why_suspect

    @property
    def loss(self) -> str:
        """What to say if there is no store, "" if there was none before."""
        return self._soundness.loss

    @property
    def refusal(self) -> int:
        """A pipe that says whether the disk takes no writes, as `Disk` has it."""
        return self._disk.refusal

    @property
    def url(self) -> str:
        """The URL of its socket."""
        return f"unix://{quote(os.fsencode(self._directory.socket))}"

    @property
    def path(self) -> Path:
        """The directory that holds the data, once it is started, without links."""
        return self._directory.path

    @property
    def aof(self) -> AppendOnlyFile:
        """Its append-only file, once it is started."""
        return self._directory.aof

    @property
    def shown(self) -> str:
        """The same as it was given, or one in that, for people."""
        return one_line(str(self._directory.shown))

    @property
    def lock(self) -> int:
        """The descriptor of a lock; the next daemon on the directory waits until all who have it open are gone."""
        return self._directory.inherited

    async def start(self) -> None:
        """Lock the directory and start the server; returns when it answers.  Raises StartError."""
        await self._directory.claim(self.engine)
        await self._soundness.look()
        self._soundness.begin(weak=self._fsync != "always")
        # A sync to disk may take as long as all else.
        looking = asyncio.create_task(self._disk.look())
        try:
            await self.launch()
        finally:
            await looking
        await self._fit_memory()

    async def _fit_memory(self) -> None:
        """Let a store that is above its share already grow somewhat: full, it could not be written to at all.

        That is found out once: it keeps this limit when it is started again.
        """
        try:
            used = await asking.used_memory(self._directory.socket)
            limit = self._memory.limit(used)
            if limit == self._max_memory:
                return
            await asking.limit_memory(self._directory.socket, limit)
        except StoreLost as error:
            logger.warning("%s does not say what memory it takes: %s", self.name, error)
            return
        logger.warning(
            "the store takes %s of memory already, more than its share of %s (--max-memory); it may grow to %s: delete "
            "keys, or give it more", readable(used), readable(self._max_memory), readable(limit),
        )  # fmt: skip
        self._max_memory = limit

    def use(self) -> None:
        """The store is begun, and is suspect no longer: an append-only file that is gone is a loss."""
        self._directory.use()
        self._soundness.is_in_use = True

    async def keep_sealed(self) -> None:
        """Note a checksum of the append-only file as it grows, and how long that takes, until cancelled."""
        looked: subprocess.Popen[bytes] | None = None
        while True:
            await asyncio.sleep(SEAL_PAUSE)
            with suppress(OSError, StartError, StoreLost):
                # To sync to disk is what it was not to do.
                if self._fsync == "no" or not self._directory.seal.has_grown():
                    continue
                process = self._process
                if process is not looked or (process and process.poll() is not None):
                    # Of what an engine that has ended left at the end, some may be cut off.
                    self._directory.seal.begin_looks()
                await asyncio.to_thread(self._directory.seal.extend)
                looked = process
                # At least once more after it has grown, by when every second is over.
                await self.syncs.look(self._directory.socket, self._directory.seal.sync_time)

    @property
    def unsealed(self) -> int:
        """Bytes of commands of which there is no checksum.  Raises StartError if the manifest is damaged."""
        return self._directory.seal.unsealed()

    async def stop(self) -> None:
        """End the server, cleanly if it can be, and release the directory."""
        self._stopping = True
        await self._terminate()
        await self._disk.close()
        # One that was never in use may have been refused for damage.
        if self.has_ended_well and (self._soundness.is_in_use or self._accepts):
            await asyncio.to_thread(self._directory.seal.extend, is_last=True)
        self._directory.release(clean=self.has_ended_well)

    @property
    def has_begun_restoring(self) -> bool:
        """Whether the directory was new, and is being filled."""
        return self._directory.has_begun_restoring

    @property
    def has_ended_well(self) -> bool:
        """Whether the server has ended by itself, with all on disk."""
        return self._process is not None and self._process.returncode == 0

    # ---- the start

    async def launch(self) -> None:
        """Start the server in the directory that `start` locked.  Raises StartError."""
        with ownership.explained(self._directory.path):
            await self._launch()

    async def _launch(self) -> None:
        self._directory.check()
        if self._process:  # else that was looked at before the record was begun
            self._directory.refuse_lost_data()
            await self._soundness.look()
        self._soundness.mark_cut()
        # A file that will be moved is looked at before the server asks whether it is whole.
        moves = self.engine.keeps_parts and self._directory.aof.single.is_file()
        if moves:
            self._soundness.repair(says_bad_snapshot=self._engine_log.says_bad_snapshot)
        if not await self._spawn():
            await self._wait()
            if not (self._engine_log.says_bad_file or self._engine_log.says_it_crashed):
                raise StartError(self._why_not_started())
            self._soundness.repair(says_bad_snapshot=self._engine_log.says_bad_snapshot)
            if not await self._spawn():
                self._soundness.refuse(self._engine_log)
                raise StartError(self._why_not_started())
        if skipped := self._engine_log.skipped:
            await self._terminate()
            self._directory.discard_record()
            raise StartError(
                f"{self._directory.aof.tail()} is damaged; restore a copy of it; its server says: {skipped}"
            )

    def _why_not_started(self) -> str:
        return f"{self.name} does not start: {self._engine_log.last_error}"

    # ---- the process

    async def _spawn(self) -> bool:
        """Start the process; True when it answers, False when it ends."""
        await self._release()
        self._directory.clear()
        self._process = process = subprocess.Popen(  # noqa: ASYNC220, S603  # a fork of a few ms, from the main thread
            command_line(
                self.engine, self._directory.relative_socket, self._fsync, self._max_memory, self._processes
            ),
            executable=self.engine.binary, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            # SIGXFSZ stays ignored: a limit on the size of files is then an error like any other.
            stderr=subprocess.STDOUT, umask=0o077, restore_signals=False,
            pass_fds=[self.lock], process_group=0, preexec_fn=partial(_begin, self._directory.descriptor, os.getpid()),
        )  # fmt: skip
        self._guard = _guard(process.pid)
        self._engine_log.follow(process)
        self.meanwhile()
        return await self._engine_log.wait_until_ready()

    async def _wait(self) -> int:
        assert self._process  # noqa: S101
        status = await asyncio.to_thread(self._process.wait)
        await self._engine_log.wait_for_last_lines()
        return status

    async def _terminate(self) -> None:
        if self._process and self._process.poll() is None:
            asking.end(self._directory.socket)
        await super()._terminate()
        await self._release()

    async def _release(self) -> None:
        """Let go of a server that has ended."""
        if self._guard:
            self._guard.kill()
            self._guard.wait()
            self._guard = None
        await self._engine_log.close()


def _nothing() -> None:
    """There is nothing to do."""


def _begin(directory: int, parent: int) -> None:
    """In the child: enter the data directory itself, whatever its path leads to or holds, and end with the parent."""
    os.fchdir(directory)
    die_with(parent, signal.SIGTERM)


def _guard(pid: int) -> subprocess.Popen[bytes] | None:
    """Where there is no such signal: a shell that waits for its input to end, as it does when kvd dies."""
    if sys.platform.startswith("linux"):
        return None
    return subprocess.Popen(  # noqa: S603
        ["/bin/sh", "-c", 'read _; kill -TERM "$1"', "sh", str(pid)], stdin=subprocess.PIPE, process_group=0
    )
