"""What is around a storm: the crowd's process, and what is seen of the daemon's processes meanwhile."""

import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench.load import LoadFailed
from bench.others.servers import HOST
from bench.servers import System

LOOK = 0.5
"""Seconds between two looks at the daemon's processes."""
END_WAIT = 30.0
"""Seconds in which the daemon has to have forgotten the crowd."""


@dataclass
class Looks:
    """What was seen of the daemon's processes: when, and bytes of memory."""

    memory: list[tuple[float, int]] = field(default_factory=list)

    def between(self, begin: float, end: float) -> float:
        """The median of a time, in bytes; the nearest look where a pause of the machine let nobody look then."""
        found = [size for at, size in self.memory if begin <= at <= end]
        return statistics.median(found or [min(self.memory, key=lambda look: abs(look[0] - (begin + end) / 2))[1]])


@contextmanager
def crowd(system: System, *numbers: int) -> Iterator[dict[str, Any]]:
    """Connected and at work meanwhile; what it saw is there at its end.  numbers: as bench.storm_crowd takes them."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    seen: dict[str, Any] = {}
    with subprocess.Popen(
        [sys.executable, "-m", "bench.storm_crowd", str(system.server.port), *map(str, numbers)],
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
def looking(system: System) -> Iterator[Looks]:
    """Look at the daemon's memory meanwhile."""
    looks, over = Looks(), threading.Event()

    def look() -> None:
        is_over = False
        while not is_over:
            size = sum(psutil.Process(pid).memory_info().rss for pid in system.daemons)
            looks.memory.append((time.monotonic(), size))
            is_over = over.wait(LOOK)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield looks
    finally:
        over.set()
        thread.join()


def cores(system: System, seconds: float) -> float:
    """The daemon's processor time over so long, in seconds a second."""
    began, before = time.monotonic(), _cpu_seconds(system)
    time.sleep(seconds)
    return (_cpu_seconds(system) - before) / (time.monotonic() - began)


def _cpu_seconds(system: System) -> float:
    times = [psutil.Process(pid).cpu_times() for pid in system.daemons]
    return float(sum(one.user + one.system for one in times))


def descriptors(system: System) -> int:
    """Open ones of the daemon."""
    return sum(psutil.Process(pid).num_fds() for pid in system.daemons)


def leaked(system: System, before: int) -> int:
    """Descriptors that are open and were not before, once the daemon has had its time."""
    give_up = time.monotonic() + END_WAIT
    while (left := descriptors(system) - before) > 0 and time.monotonic() < give_up:
        time.sleep(LOOK)
    return max(0, left)


def limited(system: System) -> int:
    """What the daemon says that it has ended or refused for a limit."""
    with socket.create_connection((HOST, system.server.port), timeout=END_WAIT) as connection:
        connection.sendall(b"INFO\nQUIT\n")
        lines = connection.makefile("rb").read().split(b"\n")
    return sum(int(line.split(b" ")[2]) for line in lines if line.startswith(b"INFO limited-"))
