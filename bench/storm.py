"""python -m bench.storm: a crowd with all that is bad about crowds, and whether those who behave well notice.

Usage:
  bench.storm [options]

Options:
  --seconds N      How long the storm lasts [default: 600].
  --connections N  Connections that stay: workers, watchers, slow readers [default: 5000].
  --coming N       Others that come and go, a second [default: 500].
  --work N         Requests of those that stay, a second [default: 1000].
  --kvd-args ARGS  More of kvd's options.

First it finds the load of 50 well-behaved clients that saturates the daemon, and the p99 of half of it alone; then the
same clients ask beside the crowd, all together for half of that load.  It exits with 1 if a limit was not kept.  In
earnest it takes ten minutes, and a machine with cores to spare: the crowd takes one, the clients a second.
"""

import json
import os
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from docopt import docopt

from bench import servers
from bench.curves import Check
from bench.growth.crowd_client import allow
from bench.load import Generator, LoadFailed
from bench.others.servers import HOST
from bench.servers import System

MIX = {"connections": 50, "reads": 90, "keys": 10_000, "value": 100}
"""What the well-behaved clients do."""
FEW_SECONDS = 5.0
"""For which the saturated daemon, and half its load alone, are measured, at the most."""
PART = 6
"""The first part of the storm, of so many, in which memory may grow; a minute at the most."""
MOST_P99 = 2.0
"""p99 beside the crowd, as a multiple of that alone."""
MOST_GROWTH = 1.1
"""Memory at the end, as a multiple of that after the first part, and
SLACK: bytes that it may be more, too."""
SLACK = 8 * 1024 * 1024
COMING = 5
"""Requests that take the daemon as long as one who comes and goes does, roughly."""
LOOK = 0.5
"""Seconds between two looks at the daemon's processes."""
END_WAIT = 30.0
"""Seconds in which the daemon has to have forgotten the crowd."""
LIMITS = {"ERR limit", "END limit", "END compacted"}
"""What may be said: a limit was reached; of a watch also that it lags behind what is kept for it."""


@dataclass(frozen=True)
class Size:
    """Of a storm."""

    seconds: float = 600.0
    connections: int = 5000
    coming: int = 500
    work: int = 1000


@dataclass
class Looks:
    """What was seen of the daemon's processes: when, and bytes of memory."""

    memory: list[tuple[float, int]] = field(default_factory=list)

    def between(self, begin: float, end: float) -> float:
        """The median of a time, in bytes."""
        return statistics.median([size for at, size in self.memory if begin <= at <= end])


@dataclass(frozen=True)
class Seen:
    """p99_alone, p99: of the well-behaved clients, in microseconds.  saturated, rate: requests a second.

    early, late: bytes of memory after the first part, and at the end.  descriptors: open ones after it, less those
    before.  crowd: what the crowd saw.  limited: what the daemon says that it has ended or refused for a limit.
    """

    saturated: float
    rate: float
    p99_alone: float
    p99: float
    early: float
    late: float
    descriptors: int
    crowd: dict[str, Any]
    limited: int

    def checks(self) -> list[Check]:
        """What is held to, and whether."""
        errors = {name: count for name, count in self.crowd["errors"].items() if name not in LIMITS}
        lost = sum(self.crowd["lost"].values())
        growth = MOST_GROWTH + SLACK / self.early
        return [
            Check(f"errors that are no limits {errors or ''}".strip(), sum(errors.values()), limit=0),
            Check("connections lost, for which no limit is counted", max(0, lost - self.limited), limit=0),
            Check("descriptors leaked", self.descriptors, limit=0),
            Check("memory at the end / after the first part", self.late / self.early, limit=growth),
            Check("p99 beside the crowd / alone", self.p99 / self.p99_alone, limit=MOST_P99),
        ]  # fmt: skip


def measure(generator: Generator, size: Size, arguments: Sequence[str], say: Callable[[str], None]) -> Seen:
    """One storm, on a daemon of its own.  Raises LoadFailed."""
    if allow(2 * size.connections) < 2 * size.connections:
        raise LoadFailed(f"{size.connections:,} connections are more than the limit of open files (ulimit -Hn) allows")
    few = min(FEW_SECONDS, size.seconds / PART)
    with servers.kvd(arguments) as system:
        generator.fill(system, MIX["keys"], MIX["value"])
        say("the load that saturates ...")
        saturated = generator.run(system, "requests", MIX, seconds=few, warmup=few / 5).rate
        rate = int(saturated / 2)
        say(f"{saturated:,.0f} requests/s; half of it alone ...")
        alone = generator.run(system, "requests", {**MIX, "rate": rate}, seconds=few, warmup=few / 5).p99_us
        servers.settle(system)
        before = _descriptors(system)
        with _crowd(system, size, say) as crowd, _looking(system) as looks:
            began = time.monotonic()
            say(f"the storm, of {size.seconds:g} s ...")
            # What the crowd does is part of the load.
            left = {**MIX, "rate": max(rate // 4, rate - size.work - COMING * size.coming)}
            p99 = generator.run(system, "requests", left, seconds=size.seconds, warmup=few / 5).p99_us
            end = time.monotonic()
        first = began + min(60.0, size.seconds / PART)
        leaked = _after(system, before)
        limited = _limited(system)
        return Seen(
            saturated, rate, alone, p99, looks.between(first, first + (end - first) / 4),
            looks.between(end - (end - first) / 4, end), leaked, crowd, limited,
        )  # fmt: skip


@contextmanager
def _crowd(system: System, size: Size, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Around a storm; what the crowd saw is there at its end."""
    numbers = [system.server.port, size.connections, size.coming, size.work]
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    say(f"{size.connections:,} connections ...")
    seen: dict[str, Any] = {}
    with subprocess.Popen(
        [sys.executable, "-m", "bench.storm_crowd", *map(str, numbers)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path},
    ) as process:  # fmt: skip
        try:
            assert process.stdin  # noqa: S101
            assert process.stdout  # noqa: S101
            if process.stdout.readline() != "ready\n":
                raise LoadFailed("the crowd could not connect")
            yield seen
            process.stdin.close()
            seen.update(json.loads(process.stdout.readline()))
        finally:
            process.kill()


@contextmanager
def _looking(system: System) -> Iterator[Looks]:
    """Look at the daemon's memory meanwhile."""
    looks, over = Looks(), threading.Event()

    def look() -> None:
        while not over.wait(LOOK):
            size = sum(psutil.Process(pid).memory_info().rss for pid in system.daemons)
            looks.memory.append((time.monotonic(), size))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield looks
    finally:
        over.set()
        looking.join()


def _descriptors(system: System) -> int:
    return sum(psutil.Process(pid).num_fds() for pid in system.daemons)


def _after(system: System, before: int) -> int:
    """Descriptors that are open and were not before, once the daemon has had its time."""
    give_up = time.monotonic() + END_WAIT
    while (left := _descriptors(system) - before) > 0 and time.monotonic() < give_up:
        time.sleep(LOOK)
    return max(0, left)


def _limited(system: System) -> int:
    """What the daemon says that it has ended or refused for a limit."""
    with socket.create_connection((HOST, system.server.port), timeout=END_WAIT) as connection:
        connection.sendall(b"INFO\nQUIT\n")
        lines = connection.makefile("rb").read().split(b"\n")
    return sum(int(line.split(b" ")[2]) for line in lines if line.startswith(b"INFO limited-"))


def in_words(seen: Seen) -> str:
    """What was seen, and what of it was held to."""
    crowd = seen.crowd
    lines = [
        f"saturated at {seen.saturated:,.0f} requests/s; half of that: p99 {seen.p99_alone:,.0f} us alone, "
        f"{seen.p99:,.0f} us beside the crowd",
        f"the crowd: {crowd['replies']:,} replies, {crowd['changes']:,} changes, {crowd['came']:,} came and went",
        f"said to it: {crowd['errors'] or 'no errors'}; connections lost: {crowd['lost'] or 'none'}; "
        f"limits that the daemon counted: {seen.limited}",
        f"memory: {seen.early / 2**20:,.0f} MiB after the first part, {seen.late / 2**20:,.0f} MiB at the end",
    ]
    lines += [
        f"{'met' if check.met else 'NOT MET'}: {check.title}: {check.value:.2f} (at most {check.limit:.2f})"
        for check in seen.checks()
    ]
    return "\n".join(lines)


def main() -> int:
    """Returns the exit status."""
    arguments = docopt(__doc__)
    size = Size(
        float(arguments["--seconds"]), int(arguments["--connections"]), int(arguments["--coming"]),
        int(arguments["--work"]),
    )  # fmt: skip
    servers.use_real_disk()
    with tempfile.TemporaryDirectory(prefix="bench-storm-") as directory:
        try:
            kvd_arguments = shlex.split(arguments["--kvd-args"] or "")
            seen = measure(Generator(Path(directory)), size, kvd_arguments, lambda text: print(text, flush=True))  # noqa: T201
        except LoadFailed as error:
            print(error, file=sys.stderr)  # noqa: T201
            return 1
    print(in_words(seen))  # noqa: T201
    return 0 if all(check.met for check in seen.checks()) else 1


if __name__ == "__main__":
    sys.exit(main())
