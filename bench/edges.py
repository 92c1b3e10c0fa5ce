"""python -m bench.edges: how many changes an edge hands on beside its root, and how long a change takes down a tree.

Usage:
  bench.edges [--rounds N] [--seconds S] [--watchers N] [--levels N]

Options:
  --rounds N    Rounds, in each of which root and edge are measured in turn [default: 5].
  --seconds S   Seconds of each measurement [default: 2].
  --watchers N  Watchers of every change, at one daemon at a time [default: 1000].
  --levels N    Edges, each of the one before [default: 3].

One writer has 16 SETs in flight at the root.  Deliveries are lines that watchers read; what counts is the median of the
ratios of each round, at least 0.8.  Then it writes one SET at a time, and a watcher at each level notes when the change
came: a level is to take at most 150 microseconds more than the one above it.
"""

import asyncio
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
import uvloop
from docopt import docopt

from bench.others import servers
from bench.starting import ROOT

LEAST_RATIO, MOST_MICROSECONDS = 0.8, 150
IN_FLIGHT = 16
PAUSE = 0.002
"""Seconds between SETs whose way is timed."""
TIMED = 500
"""SETs whose way is timed."""
TIMED_KEY = "timed"
"""Theirs alone: of the key before, changes may still come down the tree."""


class Daemons(NamedTuple):
    """A root, and edges below it: their processes and ports."""

    pids: Sequence[int]
    ports: Sequence[int]


class Counted(NamedTuple):
    """Lines a second, and microseconds of the daemon's processor for each."""

    rate: float
    cost: float


class Watching(asyncio.Protocol):
    """A watcher.  begun: set when its WATCH is answered, before which it may have no change."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    def data_received(self, data: bytes) -> None:  # noqa: ARG002
        """Called by the transport."""
        self.begun.set()


class Counting(Watching):
    """A watcher that counts."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = 0

    def data_received(self, data: bytes) -> None:
        """Called by the transport."""
        super().data_received(data)
        self.lines += data.count(b"\n")


class Timing(Watching):
    """A watcher that notes when each piece comes."""

    def __init__(self, seen: list[float]) -> None:
        super().__init__()
        self._seen = seen

    def data_received(self, data: bytes) -> None:
        """Called by the transport."""
        super().data_received(data)
        if data.startswith(b"CHANGE "):
            self._seen.append(time.perf_counter())


@contextmanager
def started(*options: str) -> Iterator[tuple[int, int]]:
    """The process and the port of a daemon."""
    command = [sys.executable, "-m", "kvd", "--listen", "127.0.0.1:0", *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout  # noqa: S101
        said = process.stdout.readline().decode()
        found = re.search(r":(\d+)$", said)
        if found is None:
            raise servers.DidNotStart(f"kvd said {said!r}")
        yield process.pid, int(found[1])
    finally:
        process.terminate()
        process.communicate()


async def write(port: int, seconds: float) -> None:
    """Have SETs in flight for some time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    line = b"SET bench/key %b\n" % (b"x" * 32)
    writer.write(line * IN_FLIGHT)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        writer.write(line * (await reader.read(1 << 16)).count(b"\n"))
    writer.close()


async def watch(port: int, watchers: Sequence[Watching], pattern: str = "bench/*") -> list[asyncio.Transport]:
    """Have them watch."""
    loop = asyncio.get_running_loop()
    found: list[asyncio.Transport] = []
    for watcher in watchers:
        transport, _ = await loop.create_connection(lambda watcher=watcher: watcher, "127.0.0.1", port)  # type: ignore[misc]
        transport.write(f"WATCH {pattern}\n".encode())
        found.append(transport)
    for watcher in watchers:
        await watcher.begun.wait()
    return found


async def deliveries(daemons: Daemons, level: int, count: int, seconds: float) -> Counted:
    """Lines a second that watchers of one daemon read."""
    watchers = [Counting() for _ in range(count)]
    transports = await watch(daemons.ports[level], watchers)
    process = psutil.Process(daemons.pids[level])
    before, began, used = sum(one.lines for one in watchers), time.monotonic(), sum(process.cpu_times()[:2])
    await write(daemons.ports[0], seconds)
    # In a short time, and a pause of the machine or a slow sync, none may have come yet.
    while not (lines := sum(one.lines for one in watchers) - before):  # noqa: ASYNC110  # it is in no hurry
        await asyncio.sleep(PAUSE)
    counted = Counted(lines / (time.monotonic() - began), (sum(process.cpu_times()[:2]) - used) / lines * 1e6)
    for transport in transports:
        transport.abort()
    await asyncio.sleep(0.5)
    return counted


async def ways(daemons: Daemons) -> list[float]:
    """Microseconds that a change takes to each level, the median."""
    seen: list[list[float]] = [[] for _ in daemons.ports]
    transports: list[asyncio.Transport] = []
    for port, times in zip(daemons.ports, seen, strict=True):
        transports += await watch(port, [Timing(times)], TIMED_KEY)
    reader, writer = await asyncio.open_connection("127.0.0.1", daemons.ports[0])
    sent = []
    for number in range(TIMED):
        sent.append(time.perf_counter())
        writer.write(f"SET {TIMED_KEY} {number}\n".encode())
        await reader.readline()
        while min(map(len, seen)) <= number:  # noqa: ASYNC110  # it is in no hurry
            await asyncio.sleep(PAUSE)
    writer.close()
    for transport in transports:
        transport.abort()
    await asyncio.sleep(PAUSE)  # until they are closed: uvloop waits for them when it is itself closed
    return [statistics.median(came - at for came, at in zip(times, sent, strict=True)) * 1e6 for times in seen]


def rounds(daemons: Daemons, count: int, watchers: int, seconds: float) -> float:
    """The median of the ratios."""
    ratios = []
    for _ in range(count):
        root, edge = (uvloop.run(deliveries(daemons, level, watchers, seconds)) for level in (0, 1))
        ratios.append(edge.rate / root.rate)
        sys.stdout.write(
            f"root {root.rate / 1e3:.0f} k/s, {root.cost:.2f} us each; "
            f"edge {edge.rate / 1e3:.0f} k/s, {edge.cost:.2f} us each; ratio {ratios[-1]:.2f}\n"
        )
    return statistics.median(ratios)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    options = docopt(__doc__, arguments)
    with tempfile.TemporaryDirectory(prefix="bench-edges-") as directory, ExitStack() as stack:
        found = [stack.enter_context(started("--data", str(Path(directory) / "data")))]
        for _ in range(int(options["--levels"])):
            found.append(stack.enter_context(started("--follow", f"127.0.0.1:{found[-1][1]}")))
        daemons = Daemons([pid for pid, _ in found], [port for _, port in found])
        sys.stdout.write(f"load {os.getloadavg()[0]:.1f}\n")
        ratio = rounds(daemons, int(options["--rounds"]), int(options["--watchers"]), float(options["--seconds"]))
        times = uvloop.run(ways(daemons))
    a_level = (times[-1] - times[0]) / max(1, len(times) - 1)
    sys.stdout.write(
        f"deliveries of an edge: {ratio:.2f} of its root's, at least {LEAST_RATIO}\n"
        f"a change takes {', '.join(f'{one:.0f}' for one in times)} us to the levels, {a_level:.0f} us a level, "
        f"at most {MOST_MICROSECONDS}; load {os.getloadavg()[0]:.1f}\n"
    )
    return 0 if ratio >= LEAST_RATIO and a_level <= MOST_MICROSECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
