"""Longer values: bytes a second next to bare Redis."""

from statistics import median

from bench import servers
from bench.curves import Check, Curve
from bench.load import Result
from bench.measure import Bench, alternate, ratio
from bench.servers import System

SIZES = {"32 B": 32, "1 KiB": 1024, "64 KiB": 65536, "1 MiB": 1 << 20}
LEAST = 0.6
"""Times bare Redis, for long values."""
LONG = 65536
"""Bytes from which that is asked."""
KEYS = 200
"""Few, for a million of the longest would fill the disk."""
KINDS = {"GET": 100, "SET": 0}
"""Per cent of reads."""
MIB = 1 << 20

Loads = dict[str, list[Result]]
"""Results by system, one a round."""


def measure(bench: Bench) -> list[Curve]:
    """Fresh servers for each length, as their files grow fast."""
    ratios: dict[str, list[float]] = {kind: [] for kind in KINDS}
    speeds: dict[str, list[float]] = {f"kvd {kind}, MiB/s": [] for kind in KINDS}
    checks = []
    for title, size in SIZES.items():
        bench.say(f"values of {title} ...")
        with servers.kvd(bench.kvd_arguments) as system, servers.bare_redis() as redis:
            for each in (system, redis):
                bench.generator.fill(each, KEYS, size)
            for kind, reads in KINDS.items():
                seen = _load(bench, [system, redis], size, reads)
                both = ratio([r.rate for r in seen["kvd"]], [r.rate for r in seen["redis"]])
                ratios[kind].append(both.median)
                speeds[f"kvd {kind}, MiB/s"].append(median(r.rate for r in seen["kvd"]) * size / MIB)
                limit = LEAST if size >= LONG else None
                checks.append(Check(f"{kind} of {title}, kvd / bare Redis", both.median, "at least", limit))
    columns = {**speeds, **{_relative(kind): values for kind, values in ratios.items()}}
    return [Curve("values", "Longer values", HOW, "value", list(SIZES), columns, checks)]


def _relative(kind: str) -> str:
    """The heading of the ratios to bare Redis."""
    return f"{kind}, times bare Redis"


def in_words(curve: Curve) -> list[str]:
    """What it shows, for readers."""
    first, *_, last = curve.x
    gets, sets = (curve.columns[_relative(kind)] for kind in KINDS)
    return [
        f"With values of {first} kvd's GETs are {gets[0]:.2f} times as many a second as bare Redis's and its SETs "
        f"{sets[0]:.2f} times; with values of {last} {gets[-1]:.2f} and {sets[-1]:.2f} times."
    ]


def _load(bench: Bench, systems: list[System], size: int, reads: int) -> Loads:
    found: Loads = {system.name: [] for system in systems}
    pace = bench.growth_pace
    settings = {"keys": KEYS, "value": size, "connections": 50, "reads": reads}
    for system in alternate(systems, pace.rounds):
        result = bench.generator.run(system, "requests", settings, seconds=pace.seconds, warmup=pace.warmup)
        found[system.name].append(result)
    return found


HOW = f"50 connections, unpipelined, {KEYS} keys, text values; writes are synced before they are answered, by both."
