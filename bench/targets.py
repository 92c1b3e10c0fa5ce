"""What is measured, and what is to be reached: a table of workloads and their targets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

KVD, REDIS = "kvd", "redis"
KVD_NO_SYNC, KVD_NO_CACHE = "kvd-no-sync", "kvd-no-cache"
REDIS_7, MEMCACHED, ETCD, NATS = "redis-7", "memcached", "etcd", "nats"

CORE = (KVD, KVD_NO_SYNC, REDIS)
"""The systems of a quick run: those that kvd's own dependencies bring."""
OTHERS = (KVD_NO_CACHE, REDIS_7, MEMCACHED, ETCD, NATS)

TITLES = {
    KVD: "kvd",
    KVD_NO_SYNC: "kvd --fsync no",
    KVD_NO_CACHE: "kvd --read-cache 0",
    REDIS: "bare Redis",
    REDIS_7: "Debian's Redis",
    MEMCACHED: "memcached",
    ETCD: "etcd",
    NATS: "NATS",
}

Bound = Literal["at least", "at most"]
Mode = Literal["requests", "fan-out"]
Figure = Literal["rate", "p50_us"]


@dataclass(frozen=True)
class Target:
    """What the ratio of one system's figure to another's is to be."""

    bound: Bound
    wanted: float
    stretch: float
    """Where it would be even better."""
    base: str = REDIS
    system: str = KVD

    def is_met_by(self, ratio: float) -> bool:
        """Whether that is good enough."""
        return _holds(self.bound, ratio, self.wanted)

    def is_stretched_by(self, ratio: float) -> bool:
        """Whether that is even better."""
        return _holds(self.bound, ratio, self.stretch)


def _holds(bound: Bound, value: float, limit: float) -> bool:
    return value >= limit if bound == "at least" else value <= limit


@dataclass(frozen=True)
class Row:
    """One workload, the systems that it is given to, and its targets."""

    name: str
    title: str
    mode: Mode
    systems: tuple[str, ...]
    targets: tuple[Target, ...]
    settings: Mapping[str, int] = field(default_factory=dict)
    """Those of load.c."""
    figure: Figure = "rate"
    """What the ratio is of: operations a second (in fan-out, deliveries), or the median latency in microseconds."""


KEYS, VALUE = 10_000, 32
"""Keys, and bytes of a value, unless said otherwise."""
LINES = (KVD, REDIS, REDIS_7, MEMCACHED)
READS = (KVD, KVD_NO_CACHE, *LINES[1:])
CHANNELS = (KVD, REDIS, REDIS_7, NATS, ETCD)


def at_least(wanted: float, stretch: float, base: str = REDIS) -> Target:
    """A throughput of kvd."""
    return Target("at least", wanted, stretch, base)


def at_most(wanted: float, stretch: float, system: str = KVD) -> Target:
    """A latency of kvd."""
    return Target("at most", wanted, stretch, REDIS, system)


# Reads come before writes: etcd answers reads slowly for a while after many writes.
ROWS = (
    Row("get", "GET, 50 connections", "requests", (*READS, ETCD),
        (at_least(0.65, 0.80), at_least(8, 10, ETCD)), {"connections": 50, "reads": 100}),
    Row("get-deep", "GET, 50 connections, 16 deep", "requests", READS,
        (at_least(0.60, 0.80),), {"connections": 50, "reads": 100, "depth": 16}),
    Row("get-one", "GET, 1 connection: p50", "requests", READS,
        (at_most(1.5, 1.35),), {"connections": 1, "reads": 100}, "p50_us"),
    Row("mixed", "90 % GET, 10 % SET, 50 connections", "requests", READS,
        (at_least(0.65, 0.80),), {"connections": 50, "reads": 90}),
    Row("set", "durable SET, 50 connections", "requests", (*LINES, ETCD),
        (at_least(0.65, 0.85), at_least(6, 10, ETCD)), {"connections": 50, "reads": 0}),
    Row("set-deep", "durable SET, 50 connections, 16 deep", "requests", LINES,
        (at_least(0.50, 0.75),), {"connections": 50, "reads": 0, "depth": 16}),
    Row("set-one", "durable SET, 1 connection: p50", "requests", LINES,
        (at_most(1.6, 1.3),), {"connections": 1, "reads": 0}, "p50_us"),
    Row("fan-out", "deliveries to 1,000 watchers, 16 changes in flight", "fan-out", CHANNELS,
        (at_least(1.5, 2.0),), {"watchers": 1000, "flight": 16}),
    Row("fan-out-one", "deliveries to 1,000 watchers, 1 change in flight", "fan-out", CHANNELS,
        (at_least(1.0, 1.3),), {"watchers": 1000, "flight": 1}),
    Row("latency", "from writer to watcher: p50", "fan-out", (KVD, KVD_NO_SYNC, REDIS, REDIS_7, NATS, ETCD),
        (at_most(3.0, 3.0), at_most(2.0, 2.0, KVD_NO_SYNC)), {"watchers": 1, "flight": 1}, "p50_us"),
    Row("latency-durable", "from writer to watcher, durable for both: p50", "fan-out", (KVD, REDIS, REDIS_7),
        (), {"watchers": 1, "flight": 1, "durable": 1}, "p50_us"),
)  # fmt: skip
