"""python -m bench.idle_cost: what kvd costs a machine while nobody is connected.

Usage:
  bench.idle_cost [--seconds N] [--workers N] [--root DIR]...

Options:
  --seconds N  How long to look [default: 20].
  --workers N  Processes that serve [default: 1].
  --root DIR   Another checkout of kvd to look at as well, at the same time; its code runs under this Python.

A daemon on a new embedded store, otherwise by its own defaults, has had one connection, which has ended. Of it and of
its engine, with all their threads: how often they woke up by themselves (the kernel's count of voluntary switches), and
the processor time that they took. What others do on the machine changes the time, and hardly the wake-ups.
"""

import socket
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import psutil
from docopt import docopt

from bench.starting import ROOT, kvd

REST = 6.0
"""Seconds after the last connection, by which what a client has left to do is done."""
PARTS = ("daemon", "engine")


class Cost(NamedTuple):
    """wakes: how often all threads of a process went on after a wait.  nanoseconds: that they ran."""

    wakes: int
    nanoseconds: int


def cost_of(pid: int) -> Cost:
    """What a process has cost since its start."""
    wakes = nanoseconds = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        status = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
        wakes += int(status["voluntary_ctxt_switches"])
        nanoseconds += int((task / "schedstat").read_text().split()[0])
    return Cost(wakes, nanoseconds)


def costs_of(daemon: int) -> list[Cost]:
    """That of the daemon, with its workers, and of its engine."""
    children = psutil.Process(daemon).children(recursive=True)
    workers = [child for child in children if "kvd.workers" in child.cmdline()]
    engine = [cost_of(child.pid) for child in children if child not in workers]
    return [_sum([cost_of(daemon), *(cost_of(worker.pid) for worker in workers)]), _sum(engine)]


def _sum(costs: list[Cost]) -> Cost:
    return Cost(*map(sum, zip(*costs, strict=True)))


def measure(roots: list[Path], seconds: float, workers: str) -> dict[Path, list[Cost]]:
    """What each has cost in that time, all at once."""
    with ExitStack() as stack:
        daemons = {}
        for root in roots:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            process, port = kvd(root, home, "--workers", workers)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            with socket.create_connection(("127.0.0.1", port)) as peer:
                peer.sendall(b"SET a 1\nQUIT\n")
                while peer.recv(1000):
                    pass
            daemons[root] = process.pid
        time.sleep(REST)
        before = {root: costs_of(pid) for root, pid in daemons.items()}
        time.sleep(seconds)
        after = {root: costs_of(pid) for root, pid in daemons.items()}
    return {root: [Cost(new.wakes - old.wakes, new.nanoseconds - old.nanoseconds)
                   for old, new in zip(before[root], after[root], strict=True)] for root in roots}  # fmt: skip


def main() -> None:
    """Print a line a part."""
    options = docopt(__doc__)
    seconds = float(options["--seconds"])
    found = measure([ROOT, *map(Path, options["--root"])], seconds, options["--workers"])
    for root, costs in found.items():
        for part, cost in zip((*PARTS, "both"), (*costs, _sum(costs)), strict=True):
            core = cost.nanoseconds / seconds / 1e9
            sys.stdout.write(f"{root} {part}: {cost.wakes / seconds:.1f} wake-ups a second, {core:.2%} of a core\n")


if __name__ == "__main__":
    main()
