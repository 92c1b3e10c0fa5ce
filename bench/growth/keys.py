"""More keys: time per operation, memory per key, and the time to start."""

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from statistics import median

from redis import Redis

from bench import servers
from bench.curves import Check, Curve
from bench.load import Result
from bench.measure import Bench, Spread, alternate, ratio
from bench.servers import System
from bench.targets import KVD, KVD_NO_CACHE, REDIS, TITLES, VALUE

SIZES = (10_000, 100_000, 1_000_000)
MOST_TIME = 1.25
"""Of an operation, as a multiple of that at the smallest size."""
MOST_BYTES = 240
"""Of the store for each key."""
MOST_START = 1.5
"""As a multiple of bare Redis's on the same file."""
LOG = "{kvd}:log"
"""Where kvd keeps its change log."""
KINDS = {"GET": 100, "SET": 0}
"""Per cent of reads."""
BYTES = f"bytes a key with {SIZES[-1]:,}"
START = f"start with {SIZES[-1]:,} keys, kvd / bare Redis"
SYSTEMS = {"GET": (KVD, KVD_NO_CACHE, REDIS), "SET": (KVD, REDIS)}
"""That are given a kind."""
POLL = 0.05
"""Seconds between looks whether the store rewrites its file."""

Loads = Mapping[tuple[str, str, int], Sequence[Result]]
"""Results by system, kind and number of keys."""


def measure(bench: Bench) -> list[Curve]:
    """Fill kvd and bare Redis with each number of keys, load all alternately, and start the fullest again."""
    with tempfile.TemporaryDirectory(prefix="bench-keys-") as directory:
        home = Path(directory)
        with ExitStack() as stack:
            full: list[tuple[int, System]] = []
            memory = []
            for size in SIZES:
                bench.say(f"fill {size:,} keys ...")
                system = stack.enter_context(servers.kvd(bench.kvd_arguments, str(home / str(size))))
                memory.append(bytes_per_key(bench, system, home / str(size), size))
                others = [
                    stack.enter_context(servers.start(name, bench.kvd_arguments)) for name in (KVD_NO_CACHE, REDIS)
                ]
                for other in others:
                    bench.generator.fill(other, size, VALUE)
                full += [(size, each) for each in (system, *others)]
            loads = load(bench, full)
        bench.say(f"start with {SIZES[-1]:,} keys ...")
        starts = start_times(bench, home / str(SIZES[-1]))
    return [_curve(loads, memory, starts)]


def bytes_per_key(bench: Bench, system: System, data: Path, size: int) -> float:
    """What the store needs for each key, without the change log."""
    with Redis(unix_socket_path=str(data / "run" / "redis.sock")) as store:
        before = store.info("memory")["used_memory"]
        bench.generator.fill(system, size, VALUE)
        while store.info("persistence")["aof_rewrite_in_progress"]:
            time.sleep(POLL)
        servers.settle(system)
        change_log = store.memory_usage(LOG, samples=0) or 0
        return float(store.info("memory")["used_memory"] - change_log - before) / size


def load(bench: Bench, full: Sequence[tuple[int, System]]) -> Loads:
    """Reads, then writes, of random keys, in alternating rounds."""
    found: dict[tuple[str, str, int], list[Result]] = {}
    pace = bench.growth_pace
    for kind, reads in KINDS.items():
        bench.say(f"{kind} of many keys ...")
        for size, system in alternate([(size, each) for size, each in full if each.name in SYSTEMS[kind]], pace.rounds):
            settings = {"keys": size, "value": VALUE, "connections": 50, "reads": reads}
            result = bench.generator.run(system, "requests", settings, seconds=pace.seconds, warmup=pace.warmup)
            found.setdefault((system.name, kind, size), []).append(result)
    return found


def start_times(bench: Bench, data: Path) -> Spread:
    """kvd's time to its first answer from the store, as a multiple of bare Redis's on a copy of the same file."""
    copy = data.with_name("copy")
    copy.mkdir()
    for part in data.glob("appendonly*"):
        (shutil.copytree if part.is_dir() else shutil.copy)(part, copy / part.name)

    def start_kvd() -> AbstractContextManager[System]:
        return servers.kvd(bench.kvd_arguments, str(data))

    def start_redis() -> AbstractContextManager[System]:
        return servers.bare_redis(str(copy))

    times: dict[object, list[float]] = {start_kvd: [], start_redis: []}
    for start in alternate([start_kvd, start_redis], bench.pace.rounds):
        began = time.monotonic()
        with start():
            times[start].append(time.monotonic() - began)
    return ratio(times[start_kvd], times[start_redis])


def _curve(loads: Loads, memory: Sequence[float], starts: Spread) -> Curve:
    columns = {}
    checks = []
    for kind, systems in SYSTEMS.items():
        for system in systems:
            times = [[1e6 / result.rate for result in loads[system, kind, size]] for size in SIZES]
            columns[f"{TITLES[system]} {kind}, µs"] = [median(some) for some in times]
            growth = ratio(times[-1], times[0]).median
            limit = MOST_TIME if system == KVD else None
            checks.append(Check(_grown(system, kind), growth, limit=limit))
    kept, asked = ([1e6 / result.rate for result in loads[system, "GET", SIZES[-1]]] for system in (KVD, KVD_NO_CACHE))
    missed = Check(f"{TITLES[KVD]} GET with {SIZES[-1]:,} keys / {TITLES[KVD_NO_CACHE]}", ratio(kept, asked).median)
    return Curve(
        "keys", "More keys", HOW, "keys", [f"{size:,}" for size in SIZES],
        {**columns, "store, bytes a key": memory},
        [
            *checks,
            missed,
            Check(BYTES, memory[-1], limit=MOST_BYTES),
            Check(START, starts.median, limit=MOST_START),
        ],
    )  # fmt: skip


def _grown(system: str, kind: str) -> str:
    """The title of what more keys cost."""
    return f"{TITLES[system]} {kind} with {SIZES[-1]:,} keys / with {SIZES[0]:,}"


def in_words(curve: Curve) -> list[str]:
    """What it shows, for readers."""
    kvd_get, kvd_set, redis_get, redis_set = (
        curve.found(_grown(system, kind)) for system in (KVD, REDIS) for kind in KINDS
    )
    return [
        f"With {SIZES[-1]:,} keys instead of {SIZES[0]:,} a GET of kvd takes {kvd_get:.2f} times as long and a SET "
        f"{kvd_set:.2f} times; for bare Redis it is {redis_get:.2f} and {redis_set:.2f} times.",
        f"A key of 12 bytes with a value of 32 takes {curve.found(BYTES):.0f} bytes of the store's memory.",
        f"A start with {SIZES[-1]:,} keys takes {curve.found(START):.2f} times as long as that of bare Redis.",
    ]


HOW = (
    "50 connections, unpipelined, keys at random. Of 10,000 keys nearly all were read before, and kvd has their values "
    "in memory; of a million hardly any were, and it asks its store, as kvd --read-cache 0 always does. The time is "
    "one second over the throughput. Bytes a key: used_memory of the embedded Redis after filling, less what it was "
    "before, less MEMORY USAGE of the change log, over the number of keys. Start: from starting the process to the "
    "first answer that needs the store (kvd: COUNT, Redis: PING), bare Redis on a copy of kvd's append-only file."
)
