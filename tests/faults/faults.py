"""What is done to the daemon, at moments that the seed chooses."""

import asyncio
import os
import random
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from tests.faults import processes
from tests.faults.history import Fault, History, Violation
from tests.faults.workload import Worker
from tests.support.processes import Daemon

BETWEEN = (0.1, 0.8)
"""Seconds from the moment when all works again to the next fault."""
STOPS = ((0.05, 0.5), (0.5, 2.0))
"""Seconds that a process is stopped, short and long: requests wait for the store for about one."""
VERY_LONG_STOPS = (12.0, 25.0)
"""Seconds after which the daemon has given a connection to the store up, and after which it has answered `uncertain`;
one of them once, in a run that is at least five times as long."""
FULL = (0.2, 2.0)
"""Seconds that the disk is full."""
DISK = 256
"""MiB on the small disk."""
INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
"""Signals that wait while the small disk is mounted or unmounted, so that none leaves it after."""

KINDS = (
    "kill the daemon", "kill the store", "kill both", "kill the daemon of a stopped store", "restart the daemon",
    "stop the daemon", "stop the store", "cut connections",
)  # fmt: skip
KINDS_OF_WORKERS = ("kill a worker", "kill all workers", "stop a worker")
KINDS_WITHOUT_LOSS = ("kill the store", "stop the daemon", "stop the store", "cut connections")
FILL = "fill the disk"
VERY_LONG = "stop the store for very long"


@contextmanager
def small_disk(path: Path, size: int = DISK) -> Iterator[None]:
    """A file system of its own in memory.  size: MiB.  Needs root."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    try:
        path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m,mode=700", "tmpfs", str(path)], check=True)
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
            # Lazily: after a failure the store may still be about to end.
            subprocess.run(["umount", "--lazy", str(path)], check=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class Faults:
    """Does one after another, each kind as often as the others."""

    def __init__(
        self, history: History, daemon: Daemon, workers: Sequence[Worker], seed: str, features: Sequence[str],
        *, disk: bool,
    ) -> None:  # fmt: skip
        self._history = history
        self._daemon = daemon
        self._workers = workers
        self._chance = random.Random(f"{seed} faults")
        # A watch that cannot be resumed must not be lost, or there is nobody who has seen everything.
        kinds = KINDS if "resume" in features else KINDS_WITHOUT_LOSS
        self._processes = len(daemon.worker_pids())
        if self._processes:
            kinds = (*kinds, *KINDS_OF_WORKERS)
        self._kinds = (*kinds, FILL) if disk else kinds
        self._very_long = 0.0

    async def run(self, seconds: float) -> None:
        """Go on for that long; after each fault, until writes are acknowledged again."""
        end = time.monotonic() + seconds
        self._very_long = max((stop for stop in VERY_LONG_STOPS if 5 * stop <= seconds), default=0.0)
        kinds = [VERY_LONG] if self._very_long else []
        while True:
            if not kinds:
                kinds = list(self._kinds)
                self._chance.shuffle(kinds)
            await asyncio.sleep(self._chance.uniform(*BETWEEN))
            if time.monotonic() > end:
                return
            kind = kinds.pop()
            await self._record(kind)
            await self._works_again(kind)

    async def _record(self, kind: str) -> None:
        """Do one, and write it down."""
        fault = Fault(kind, time.monotonic())
        self._history.faults.append(fault)
        try:
            await self._do(kind)
        except ProcessLookupError:
            raise Violation(f"to {kind}: it had ended by itself") from None
        self._history.faults[-1] = fault._replace(end=time.monotonic())

    async def _works_again(self, kind: str) -> None:
        before = self._history.acknowledged
        await processes.until(f"acknowledged writes after: {kind}", lambda: self._history.acknowledged > before)

    async def _do(self, kind: str) -> None:
        if kind == "kill the store":
            await processes.store(self._daemon, await self._kill_store())
        elif kind == "kill both":
            await self._kill_store()
            await processes.begin_again(self._daemon, signal.SIGKILL)
        elif kind == "kill the daemon":
            await processes.begin_again(self._daemon, signal.SIGKILL)
        elif kind == "kill the daemon of a stopped store":
            await self._orphan(await processes.store(self._daemon))
        elif kind == "restart the daemon":
            await processes.begin_again(self._daemon, signal.SIGTERM)
        elif kind == "stop the daemon":
            await self._stop(self._daemon.pid)
        elif kind in ("stop the store", VERY_LONG):
            await self._stop(await processes.store(self._daemon), self._very_long if kind == VERY_LONG else 0)
        elif kind in KINDS_OF_WORKERS:
            await self._hurt_workers(kind)
        elif kind == "cut connections":
            for worker in self._chance.sample(self._workers, self._chance.randint(1, len(self._workers))):
                worker.cut()
        elif kind == FILL:
            await self._fill()

    async def _kill_store(self) -> int:
        pid = await processes.store(self._daemon)
        os.kill(pid, signal.SIGKILL)
        return pid

    async def _hurt_workers(self, kind: str) -> None:
        pids = await processes.workers(self._daemon, self._processes)
        if kind == "stop a worker":
            await self._stop(self._chance.choice(pids))
            return
        killed = pids if kind == "kill all workers" else [self._chance.choice(pids)]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        await processes.workers(self._daemon, self._processes, frozenset(killed))

    async def _stop(self, pid: int, seconds: float = 0) -> None:
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds or self._chance.uniform(*self._chance.choice(STOPS)))
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    async def _orphan(self, store: int) -> None:
        """The daemon dies, and its store cannot see that yet: the next daemon has to wait for its end."""
        stopped = asyncio.create_task(self._stop(store))
        await asyncio.sleep(0)
        await processes.begin_again(self._daemon, signal.SIGKILL)
        await stopped

    async def _fill(self) -> None:
        """Take all that is left of the disk, and give it back; reads go on meanwhile."""
        async with _full(self._daemon.data):
            begin = time.monotonic()
            await asyncio.sleep(self._chance.uniform(*FULL))
            await processes.until("reads while the disk is full", lambda: self._history.read_sent > begin)
            self._history.full.append((begin, time.monotonic()))


@asynccontextmanager
async def _full(directory: Path) -> AsyncIterator[None]:
    filler = directory / "filler"
    try:
        with filler.open("wb", buffering=0) as out:
            try:
                while True:
                    await asyncio.to_thread(out.write, bytes(1024 * 1024))
            except OSError:
                yield
    finally:
        filler.unlink()
