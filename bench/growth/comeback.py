"""Watchers that come back: how soon all of them know a key that is set then, and what it costs the daemon."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import psutil

from bench import servers
from bench.growth.crowd_client import OK, ask, crowd
from bench.measure import Bench, ratio
from bench.servers import System

PATIENCE = 60.0
"""Seconds after which those who know nothing yet are counted as missing."""
SHORT_PATIENCE = 1.0
"""The same where some were refused."""
ALONE = 1.5
"""Seconds after which the daemon no longer follows the log for watchers that are gone: a new crowd finds it cold."""
MOST_ROUNDS = 3
SHORTEST = 0.01
"""Seconds: processor time is counted in steps of it."""


@dataclass(frozen=True)
class Request:
    """What each of a crowd sends.  after: the position that a RESUME is from, b"" for the others."""

    name: str
    prefix: bytes
    after: bytes = b""

    def __bytes__(self) -> bytes:
        return b" ".join([self.name.encode(), *filter(None, [self.after]), self.prefix + b"*"]) + b"\n"


@dataclass(frozen=True)
class Known:
    """How soon the key was known: seconds from asking; and the daemon's processor time until it was, in seconds.

    missing: how many were refused, or did not know it in time.
    """

    p50: float
    worst: float
    daemon: float
    missing: int


def come_back(system: System, size: int, request: Request, *, settled: bool) -> Known:
    """So many connections send a request, and a key is set: at once, or when all of them are answered."""
    key = request.prefix + b"new"
    with crowd(system.server.port, size) as watchers:
        before = daemon_seconds(system)
        watchers.ask(bytes(request))
        if settled:
            watchers.wait(OK, PATIENCE)
        value = b"v%d" % time.monotonic_ns()
        ask(system.server.port, b"SET %b %b\n" % (key, value))
        # Those who were refused will be told nothing.
        watchers.wait(value, SHORT_PATIENCE if watchers.errors else PATIENCE)
        spent = daemon_seconds(system) - before
        times = watchers.times or [PATIENCE]
        return Known(median(times), times[-1], spent, size - len(watchers.times))


def rest(system: System) -> None:
    """Let the daemon forget the crowd before."""
    servers.settle(system)
    time.sleep(ALONE)


def daemon_seconds(system: System) -> float:
    """User and system time of its daemons, without the store's."""
    times = [psutil.Process(pid).cpu_times() for pid in system.daemons]
    return float(sum(one.user + one.system for one in times))


def few_rounds(bench: Bench) -> int:
    """Rounds for what takes seconds by itself."""
    return min(bench.pace.rounds, MOST_ROUNDS)


def known_ratio(figures: Sequence[Known], bases: Sequence[Known], name: str) -> float:
    """The median of one figure's ratios within the rounds."""
    longest = [max(seconds, SHORTEST) for seconds in _all(bases, name)]
    return ratio(_all(figures, name), longest).median


def medians(found: Sequence[Known], name: str) -> float:
    """Of one figure over the rounds."""
    return median(_all(found, name))


def _all(found: Sequence[Known], name: str) -> list[float]:
    return [float(getattr(one, name)) for one in found]
