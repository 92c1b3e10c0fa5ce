"""python -m bench.durability: what each --durability costs under Sentinel, beside bare Redis with WAIT.

Usage:
  bench.durability [--rounds N] [--seconds S]

Options:
  --rounds N   Rounds, in each of which all are measured in turn [default: 3].
  --seconds S  Seconds measured for each [default: 2].

Three servers with an append-only file that is synced always, three Sentinels, and a daemon for each durability, all on
this machine.  Bare Redis is the same primary, asked directly: a SET, and after it a WAIT for as many replicas.  Reads
of bare Redis wait for nothing.  A ratio is of one round; medians are shown.
"""

import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from docopt import docopt

from bench.load import Result, build, call
from bench.servers import use_real_disk
from tests.support.groups import SentinelGroup, running
from tests.support.processes import Daemon

REPLICAS = {"async": 0, "replica=1": 1, "replica=all": 2}
WARMUP = 0.5
KEYS = 10_000


class Workload(NamedTuple):
    """What is asked; figure: what is compared."""

    title: str
    settings: dict[str, int]
    figure: str = "rate"


WORKLOADS = (
    Workload("SET, 50 connections", {"connections": 50, "reads": 0}),
    Workload("SET, 50 connections, 16 deep", {"connections": 50, "reads": 0, "depth": 16}),
    Workload("SET, 1 connection: p50, µs", {"connections": 1, "reads": 0}, "p50_us"),
    Workload("GET, 50 connections", {"connections": 50, "reads": 100}),
    Workload("90 % GET, 10 % SET, 50 connections", {"connections": 50, "reads": 90}),
)


class Measuring:
    """The program that loads, and for how long."""

    def __init__(self, program: Path, seconds: float) -> None:
        self._program = program
        self._seconds = seconds

    def __call__(self, protocol: str, port: int, pid: int, settings: dict[str, int], mode: str = "requests") -> Result:
        words = [f"{name}={value}" for name, value in settings.items()]
        timing = [f"seconds={self._seconds}", f"warmup={WARMUP}"] if mode == "requests" else []
        arguments = [mode, protocol, f"127.0.0.1:{port}", f"pid={pid}", f"keys={KEYS}", *words, *timing]
        return call(self._program, arguments, 1, self._seconds)


def measure(group: SentinelGroup, daemons: dict[str, Daemon], measuring: Measuring, rounds: int) -> None:
    """Print a line for each workload and durability."""
    primary = group.primary
    fill = {"connections": 50, "depth": 16}
    measuring("redis", primary.port, primary.pid, fill, "fill")
    measuring("kvd", daemons["async"].port, daemons["async"].pid, fill, "fill")
    sys.stdout.write("| workload | durability | kvd | bare Redis | ratio |\n|---|---|--:|--:|--:|\n")
    for workload in WORKLOADS:
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in daemons}
        for _ in range(rounds):
            for name, daemon in daemons.items():
                ours = measuring("kvd", daemon.port, daemon.pid, workload.settings)
                bare = workload.settings | {"wait": REPLICAS[name]}
                theirs = measuring("redis", primary.port, primary.pid, bare)
                found[name].append((ours.figure(workload.figure), theirs.figure(workload.figure)))
        for name, pairs in found.items():
            kvd, redis = (statistics.median(column) for column in zip(*pairs, strict=True))
            ratio = statistics.median(one / other for one, other in pairs)
            sys.stdout.write(f"| {workload.title} | `{name}` | {kvd:,.0f} | {redis:,.0f} | {ratio:.2f} |\n")
        sys.stdout.flush()


def main() -> int:
    """Returns the exit status."""
    options = docopt(__doc__)
    use_real_disk()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)))
        group = stack.enter_context(running(SentinelGroup(directory / "group")))
        daemons = {}
        for name in REPLICAS:
            daemons[name] = Daemon(directory / name, ["--store", group.url, "--durability", name])
            daemons[name].start()
            stack.callback(daemons[name].stop)
        measure(group, daemons, Measuring(build(directory), float(options["--seconds"])), int(options["--rounds"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
