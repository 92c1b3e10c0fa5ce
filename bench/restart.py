"""python -m bench.restart: the gap that clients which follow see while the daemon is started again.

Usage:
  bench.restart [options]

Options:
  --keys N      Keys in the store [default: 10000].
  --clients N   Clients that follow [default: 100].
  --restarts N  Of each kind [default: 3].

One key is written all the time.  The gap of a client is the longest time between two changes that it gets: from the
last one before SIGTERM to the first one after the start.  Three ways: a daemon with its embedded store; the same with a
socket that another process holds, as systemd does; and one of two daemons on a Redis of their own, with both addresses
given to the clients and to who writes.  Each client must get every change that was acknowledged, in order.
"""

import asyncio
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from docopt import docopt

from bench.others import servers
from kvd.client import Copy, connect
from kvd.errors import KvdError

ROOT = Path(__file__).parents[1]
BEAT = "beat"
PAUSE = 0.005
"""Seconds between two writes, and between attempts to write."""
BEFORE = 0.3
"""Seconds of changes before a restart."""
MORE = 20
"""Changes that each client is to get after it."""
PATIENCE = 60.0
"""Seconds for that."""
LAUNCHER = """\
import os, sys
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Says to a daemon, as systemd does, that its descriptor 3 listens."""


class Seen(NamedTuple):
    """gaps: seconds, of each client.  down: seconds from SIGTERM until the daemon listens again.

    missed: int, acknowledged changes that a client did not get.
    """

    gaps: list[float]
    down: float
    missed: int


class Daemon:
    """One that can be started again at its address."""

    def __init__(self, port: int, *options: str, held: socket.socket | None = None) -> None:
        """held: a socket that listens there, to be passed on."""
        self.address = f"{servers.HOST}:{port}"
        self._options, self._held = options, held
        self._process: subprocess.Popen[bytes]

    def start(self) -> None:
        """Returns when it listens."""
        command = [sys.executable, "-m", "kvd", "--listen", self.address, "--insecure", *self._options]
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}
        pass_fds: tuple[int, ...] = ()
        place: Callable[[], object] | None = None
        if held := self._held:
            command, pass_fds = [sys.executable, "-c", LAUNCHER, *command], (3,)

            def place() -> object:
                return os.dup2(held.fileno(), 3)

        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=pass_fds,
            preexec_fn=place,
        )  # fmt: skip
        assert self._process.stdout  # noqa: S101
        if b"listens" not in self._process.stdout.readline():
            raise servers.DidNotStart("kvd did not start")

    def stop(self) -> None:
        """As a service manager would."""
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate()


class Measure:
    """Clients that follow, and one that writes."""

    def __init__(self, addresses: Sequence[str], clients: int) -> None:
        self._addresses, self._clients = list(addresses), clients
        self._acknowledged: list[int] = []
        self._seen: list[list[tuple[float, int]]] = [[] for _ in range(clients)]
        self._begun = asyncio.Semaphore(0)

    async def run(self, daemon: Daemon) -> Seen:
        """Start the daemon again under them."""
        tasks = [asyncio.create_task(self._follow(number)) for number in range(self._clients)]
        for _ in tasks:
            await self._begun.acquire()
        tasks.append(asyncio.create_task(self._write()))
        while not self._acknowledged:  # noqa: ASYNC110  # it is in no hurry
            await asyncio.sleep(PAUSE)
        await asyncio.sleep(BEFORE)
        began = time.monotonic()
        await asyncio.to_thread(daemon.stop)
        await asyncio.to_thread(daemon.start)
        down = time.monotonic() - began
        written = self._acknowledged[-1] + MORE
        async with asyncio.timeout(PATIENCE):
            await self._have_come_to(written)
            tasks.pop().cancel()
            await self._have_come_to(self._acknowledged[-1])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return Seen([_gap(seen) for seen in self._seen], down, self._missed())

    async def _have_come_to(self, number: int) -> None:
        """Wait until every client has got a change that is no older.  Raises TimeoutError."""
        for seen in self._seen:
            while not seen or seen[-1][1] < number:  # noqa: ASYNC110  # what wakes one up is part of what is measured
                await asyncio.sleep(PAUSE)

    async def _follow(self, number: int) -> None:
        seen = self._seen[number]
        turned = self._addresses[number % len(self._addresses) :] + self._addresses[: number % len(self._addresses)]
        async with await connect(turned) as kv, kv.follow(BEAT) as changes:
            async for change in changes:
                if isinstance(change, Copy):
                    self._begun.release()
                else:
                    seen.append((time.monotonic(), int(change.value or b"0")))

    async def _write(self) -> None:
        number = 0
        while True:
            with suppress(KvdError):
                async with await connect(self._addresses, reconnect=0) as kv:
                    while True:
                        number += 1
                        await kv.set(BEAT, str(number))
                        self._acknowledged.append(number)
                        await asyncio.sleep(PAUSE)
            await asyncio.sleep(PAUSE)

    def _missed(self) -> int:
        missed = 0
        for seen in self._seen:
            numbers = [number for _, number in seen]
            missed += len(set(self._acknowledged).difference(numbers)) + (numbers != sorted(set(numbers)))
        return missed


def _gap(seen: list[tuple[float, int]]) -> float:
    times = [at for at, _ in seen]
    return max((after - before for before, after in pairwise(times)), default=float("inf"))


async def fill(address: str, keys: int) -> None:
    """Make the keys, some at a time."""
    async with await connect(address) as kv:
        for place in range(0, keys, 1000):
            some = range(place, min(place + 1000, keys))
            await asyncio.gather(*(kv.set(f"service/{number}", "value" * 6) for number in some))


@contextmanager
def running(daemon: Daemon) -> Iterator[tuple[Daemon, list[str]]]:
    """A daemon, from its start to its stop, and where clients connect."""
    daemon.start()
    try:
        yield daemon, [daemon.address]
    finally:
        daemon.stop()


@contextmanager
def embedded(directory: Path) -> Iterator[tuple[Daemon, list[str]]]:
    """A daemon with its embedded store, and where clients connect."""
    with running(Daemon(servers.free_port(), "--data", str(directory / "data"))) as found:
        yield found


@contextmanager
def activated(directory: Path) -> Iterator[tuple[Daemon, list[str]]]:
    """The same with a socket that stays."""
    with (
        socket.create_server((servers.HOST, 0), backlog=4096) as held,
        running(Daemon(held.getsockname()[1], "--data", str(directory / "data"), held=held)) as found,
    ):
        yield found


@contextmanager
def two(directory: Path) -> Iterator[tuple[Daemon, list[str]]]:
    """The first of two daemons on one store."""
    path = directory / "redis.sock"
    command = ["redis-server", "--port", "0", "--unixsocket", str(path), "--dir", str(directory), "--save", ""]
    store = subprocess.Popen([*command, "--appendonly", "yes", "--appendfsync", "always"], stdout=subprocess.DEVNULL)
    with ExitStack() as stack:
        stack.callback(store.wait)
        stack.callback(store.terminate)
        daemons = [Daemon(servers.free_port(), "--store", f"unix://{path}") for _ in range(2)]
        for daemon in daemons:
            daemon.start()
            stack.callback(daemon.stop)
        yield daemons[0], [daemon.address for daemon in daemons]


WAYS = {"embedded": embedded, "embedded, socket activation": activated, "two daemons on one store": two}


def measure(way: str, keys: int, clients: int, restarts: int) -> Iterator[Seen]:
    """Each restart, one after the other."""
    with tempfile.TemporaryDirectory() as directory, WAYS[way](Path(directory)) as (daemon, addresses):
        asyncio.run(fill(addresses[-1], keys))
        for _ in range(restarts):
            yield asyncio.run(Measure(addresses, clients).run(daemon))


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    options = docopt(__doc__, arguments)
    keys, clients, restarts = (int(options[name]) for name in ("--keys", "--clients", "--restarts"))
    missed = 0
    sys.stdout.write(f"{keys} keys, {clients} clients; gaps in ms, of all restarts\n")
    for way in WAYS:
        seen = list(measure(way, keys, clients, restarts))
        gaps = sorted(gap * 1000 for one in seen for gap in one.gaps)
        down = statistics.median(one.down for one in seen) * 1000
        missed += sum(one.missed for one in seen)
        sys.stdout.write(
            f"{way:28} median {statistics.median(gaps):6.0f}  longest {gaps[-1]:6.0f}  SIGTERM to listening {down:6.0f}"
            f"  missed {sum(one.missed for one in seen)}\n"
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
