"""One storm: which load is half of what saturates the daemon, and that load without the crowd and beside it."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from bench import servers
from bench.growth.crowd_client import allow
from bench.load import Generator, LoadFailed, Result
from bench.servers import System
from bench.storm_looks import cores, crowd, descriptors, leaked, limited, looking

MIX = {"connections": 50, "reads": 90, "keys": 10_000, "value": 100}
"""What the well-behaved clients do."""
SATURATING = 400
"""Connections of theirs that are to saturate the daemon: of 50, most would wait for the disk, with the processor idle.
More requests on each connection would not do: they wait for those before them."""
FEW_SECONDS = 5.0
"""For which a load is tried, at the most, and
ALONE_SECONDS: for which the clients are measured alone."""
ALONE_SECONDS = 60.0
PART = 6
"""The first part of the storm, of so many, in which memory may grow; a minute at the most."""
LEAST_RATE = 0.1
"""Of the half load, that is left to the clients whatever the crowd takes."""


@dataclass(frozen=True)
class Size:
    """Of a storm."""

    seconds: float = 600.0
    connections: int = 5000
    coming: int = 500
    work: int = 300


@dataclass(frozen=True)
class Load:
    """rate: the clients' requests a second.  cores: the daemon's processor time, in seconds a second.  p99: in us."""

    rate: float
    cores: float
    p99: float

    @classmethod
    def of(cls, result: Result) -> "Load":
        """What the clients saw."""
        return cls(result.rate, result.daemon_cpu / result.seconds, result.p99_us)

    def rate_for(self, wanted: float, crowd_cores: float) -> float:
        """The clients' rate at which the daemon takes that much, of which so much is the crowd's."""
        return self.rate * (wanted - crowd_cores) / max(self.cores - crowd_cores, self.cores / 10)


@dataclass(frozen=True)
class Seen:
    """saturated: with the crowd.  alone, beside: half of that load, without and with it.

    crowd_cores: what the crowd took of the daemon without clients.  early, late: bytes of memory after the first part,
    and at the end.  descriptors: open ones after it, less those before.  crowd: what the crowd saw.  limited: what the
    daemon says that it has ended or refused for a limit.
    """

    saturated: Load
    alone: Load
    beside: Load
    crowd_cores: float
    early: float
    late: float
    descriptors: int
    crowd: dict[str, Any]
    limited: int


def measure(generator: Generator, size: Size, arguments: Sequence[str], say: Callable[[str], None]) -> Seen:
    """One storm, on a daemon of its own.  Raises LoadFailed."""
    if allow(2 * size.connections) < 2 * size.connections:
        raise LoadFailed(f"{size.connections:,} connections are more than the limit of open files (ulimit -Hn) allows")
    with servers.kvd(arguments) as system:
        generator.fill(system, MIX["keys"], MIX["value"])
        return _Storm(generator, system, size, say).run()


class _Storm:
    def __init__(self, generator: Generator, system: System, size: Size, say: Callable[[str], None]) -> None:
        self._generator = generator
        self._system = system
        self._size = size
        self._say = say
        self._few = min(FEW_SECONDS, size.seconds / PART)

    def run(self) -> Seen:
        servers.settle(self._system)
        before = descriptors(self._system)
        saturated = self._saturate()
        half = saturated.cores / 2
        servers.settle(self._system)
        first = self._clients(self._few, saturated.rate / 4)
        alone = self._clients(min(ALONE_SECONDS, self._size.seconds / PART), first.rate_for(half, 0))
        self._say(f"half of that: {alone.rate:,.0f} requests/s alone; the storm, of {self._size.seconds:g} s ...")
        with self._crowd() as seen, looking(self._system) as looks:
            # By now its keys are there.
            crowd_cores = cores(self._system, self._few)
            rate = max(alone.rate_for(half - crowd_cores, 0), alone.rate * LEAST_RATE)
            first = self._clients(self._few, rate)
            began = time.monotonic()
            beside = self._clients(self._size.seconds, max(first.rate_for(half, crowd_cores), alone.rate * LEAST_RATE))
            end = time.monotonic()
        early = began + min(60.0, self._size.seconds / PART)
        quarter = (end - early) / 4
        return Seen(
            saturated, alone, beside, crowd_cores, looks.between(early, early + quarter),
            looks.between(end - quarter, end), leaked(self._system, before), seen, limited(self._system),
        )  # fmt: skip

    def _saturate(self) -> Load:
        """The clients beside the crowd, as fast as they can."""
        self._say(f"{self._size.connections:,} connections, and the load that saturates ...")
        with self._crowd():
            saturated = self._clients(self._few, connections=SATURATING)
        self._say(f"{saturated.rate:,.0f} requests/s beside the crowd, {saturated.cores:.2f} of a core together")
        return saturated

    def _crowd(self) -> AbstractContextManager[dict[str, Any]]:
        return crowd(self._system, self._size.connections, self._size.coming, self._size.work)

    def _clients(self, seconds: float, rate: float = 0, connections: int = MIX["connections"]) -> Load:
        """rate: requests a second, each sent when it is due; 0: on each connection as fast as they are answered."""
        mix = MIX | {"connections": connections} | ({"rate": max(1, int(rate))} if rate else {})
        return Load.of(self._generator.run(self._system, "requests", mix, seconds=seconds, warmup=self._few / 5))
