"""What is done to the daemon, at moments that the seed chooses."""

import asyncio
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from tests.faults.history import History, Violation
from tests.faults.workload import Worker
from tests.processes import PATIENCE, Daemon

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

KINDS = (
    "kill the daemon", "kill the store", "kill both", "kill the daemon of a stopped store", "restart the daemon",
    "stop the daemon", "stop the store", "cut connections",
)  # fmt: skip
KINDS_OF_WORKERS = ("kill a worker", "kill all workers", "stop a worker")
KINDS_WITHOUT_LOSS = ("kill the store", "stop the daemon", "stop the store", "cut connections")
FILL = "fill the disk"
VERY_LONG = "stop the store for very long"


async def until(what: str, condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Poll until a condition holds.  Raises Violation."""
    give_up = time.monotonic() + patience
    while not condition():
        if time.monotonic() > give_up:
            raise Violation(f"waited {patience:.0f} s for {what}")
        await asyncio.sleep(0.01)


@contextmanager
def small_disk(path: Path, size: int = DISK) -> Iterator[None]:
    """A file system of its own in memory.  size: MiB.  Needs root."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m,mode=700", "tmpfs", str(path)], check=True)
    try:
        yield
    finally:
        # Lazily: after a failure the store may still be about to end.
        subprocess.run(["umount", "--lazy", str(path)], check=True)


class Faults:
    """Does one after another, each kind as often as the others."""

    def __init__(
        self, history: History, daemon: Daemon, workers: Sequence[Worker], seed: str, features: Sequence[str],
        *, disk: bool,
    ) -> None:  # fmt: skip
        self.done: Counter[str] = Counter()
        self._history = history
        self._daemon = daemon
        self._workers = workers
        self._chance = random.Random(f"{seed} faults")
        # A watch that cannot be resumed must not be lost, or there is nobody who has seen everything.
        kinds = KINDS if "resume" in features else KINDS_WITHOUT_LOSS
        if daemon.worker_pids():
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
            self._history.faults.append((time.monotonic(), kind))
            await self._do(kind)
            self.done[kind] += 1
            await self._works_again(kind)

    async def _works_again(self, kind: str) -> None:
        before = self._history.acknowledged
        await until(f"acknowledged writes after: {kind}", lambda: self._history.acknowledged > before)

    async def _do(self, kind: str) -> None:
        if kind in ("kill the store", "kill both"):
            os.kill(await self._store(), signal.SIGKILL)
        if kind in ("kill the daemon", "kill both"):
            await self._begin_again(signal.SIGKILL)
        elif kind == "kill the daemon of a stopped store":
            await self._orphan(await self._store())
        elif kind == "restart the daemon":
            status = await self._begin_again(signal.SIGTERM)
            if status != 0:
                raise Violation(f"asked to stop, the daemon ended with status {status}")
        elif kind == "stop the daemon":
            await self._stop(self._daemon.pid)
        elif kind in ("stop the store", VERY_LONG):
            await self._stop(await self._store(), self._very_long if kind == VERY_LONG else 0)
        elif kind in KINDS_OF_WORKERS:
            await self._hurt_workers(kind)
        elif kind == "cut connections":
            for worker in self._chance.sample(self._workers, self._chance.randint(1, len(self._workers))):
                worker.cut()
        elif kind == FILL:
            await self._fill()

    async def _hurt_workers(self, kind: str) -> None:
        await until("a worker of the daemon", lambda: bool(self._daemon.worker_pids()))
        pids = self._daemon.worker_pids()
        if kind == "stop a worker":
            await self._stop(self._chance.choice(pids))
            return
        for pid in pids if kind == "kill all workers" else [self._chance.choice(pids)]:
            os.kill(pid, signal.SIGKILL)

    async def _store(self) -> int:
        """The process of the embedded store, as soon as there is one."""
        found: list[int] = []

        def runs() -> bool:
            try:
                found.append(self._daemon.redis_pid())
            except LookupError:
                return False
            return True

        await until("an embedded store", runs)
        return found[0]

    async def _begin_again(self, number: signal.Signals) -> int:
        self._daemon.kill(number)
        try:
            status = await asyncio.to_thread(self._daemon.wait)
            await asyncio.to_thread(self._daemon.start)
        except (subprocess.TimeoutExpired, AssertionError) as error:
            raise Violation(f"the daemon does not end, or does not start again: {error}") from None
        return status

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
        await self._begin_again(signal.SIGKILL)
        await stopped

    async def _fill(self) -> None:
        """Take all that is left of the disk, and give it back; reads go on meanwhile."""
        async with _full(self._daemon.data):
            begin = time.monotonic()
            await asyncio.sleep(self._chance.uniform(*FULL))
            await until("reads while the disk is full", lambda: self._history.read_sent > begin)
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
