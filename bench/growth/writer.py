"""A write load in the background, and how fast it is."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from bench.growth.crowd_client import revision
from bench.load import LoadFailed
from bench.measure import Bench
from bench.servers import System

LONGEST = 600.0
"""Seconds after which it ends by itself."""


class Writer:
    """A write load in the background."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.begin()

    def begin(self) -> None:
        """Count from here on."""
        self._first, self._began = revision(self._port), time.perf_counter()

    def rate(self) -> float:
        """Changes a second since then."""
        return (revision(self._port) - self._first) / (time.perf_counter() - self._began)


@contextmanager
def writing(bench: Bench, system: System, settings: Mapping[str, int]) -> Iterator[Writer]:
    """Write meanwhile.  Raises LoadFailed if that ended before what is measured did."""
    load = bench.generator.begin(system, "requests", {"reads": 0, **settings}, seconds=LONGEST)
    try:
        yield Writer(system.server.port)
        if load.poll() is not None:
            raise LoadFailed("the write load ended early: this machine is too slow for it")
    finally:
        load.kill()
        load.wait()
