"""More worker processes of kvd."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median

from bench import servers
from bench.curves import Check, Curve
from bench.load import Result
from bench.measure import Bench, alternate, ratio
from bench.servers import System
from bench.targets import KEYS, KVD_NO_CACHE, TITLES, VALUE, Mode

COUNTS = (1, 2)
READS: tuple[Mode, dict[str, int]] = ("requests", {"connections": 50, "reads": 100, "keys": KEYS, "value": VALUE})
ASKED = f"GET of {TITLES[KVD_NO_CACHE]}"
LOADS: dict[str, tuple[Mode, dict[str, int]]] = {
    "GET": READS,
    "SET": ("requests", {"connections": 50, "reads": 0, "keys": KEYS, "value": VALUE}),
    "fan-out": ("fan-out", {"watchers": 1000, "flight": 16, "value": VALUE}),
}
Daemons = list[tuple[int, System]]
"""One for each number of workers."""


def measure(bench: Bench) -> list[Curve]:
    """A daemon for each number of workers, loaded alternately."""
    with _start(bench) as daemons:
        seen = {name: _load(bench, daemons, name, *load) for name, load in LOADS.items()}
    # With the cache a GET hardly asks Redis at all.
    with _start(bench, "--read-cache", "0") as daemons:
        seen[ASKED] = _load(bench, daemons, ASKED, *READS)
    columns: dict[str, list[float]] = {}
    checks = []
    for name, results in seen.items():
        columns[f"{name}/s"] = [median(r.rate for r in results[count]) for count in COUNTS]
        for part in ("daemon_us", "store_us"):
            title = f"{name}: {part.removesuffix('_us')}, µs"
            columns[title] = [median(r.figure(part) for r in results[count]) for count in COUNTS]
        more = ratio([r.rate for r in results[COUNTS[-1]]], [r.rate for r in results[COUNTS[0]]]).median
        limit = None if name == ASKED else 1.0
        checks.append(Check(_grown(name), more, "at least", limit))
        daemon, store = (columns[f"{name}: {part}, µs"][-1] for part in ("daemon", "store"))
        if store and name != "GET":
            checks.append(Check(_busy(name), daemon / store))
    counts = [str(count) for count in COUNTS]
    return [Curve("workers", "More workers", HOW, "workers", counts, columns, checks)]


def _grown(name: str) -> str:
    """The title of what more workers bring."""
    return f"{name} with {COUNTS[-1]} workers / with {COUNTS[0]}"


def _busy(name: str) -> str:
    """The title of how many would be of use."""
    return f"{name}: workers at which Redis is busy all the time"


def in_words(curve: Curve) -> list[str]:
    """What it shows, for readers."""
    gets, sets, deliveries = (curve.found(_grown(name)) for name in LOADS)
    return [
        f"With {COUNTS[-1]} workers on this machine GETs are {gets:.2f} times as many a second as with {COUNTS[0]}, "
        f"SETs {sets:.2f} times, deliveries {deliveries:.2f} times.",
        f"By processor time, one store could serve {curve.found(_busy('SET')):.1f} workers that only write, or "
        f"{curve.found(_busy(ASKED)):.1f} whose reads all miss the cache.",
    ]


@contextmanager
def _start(bench: Bench, *arguments: str) -> Iterator[Daemons]:
    """A filled daemon for each number of workers."""
    with ExitStack() as stack:
        daemons = []
        for count in COUNTS:
            every = [*bench.kvd_arguments, *arguments, "--workers", str(count)]
            daemons.append((count, stack.enter_context(servers.kvd(every))))
            bench.generator.fill(daemons[-1][1], KEYS, VALUE)
        yield daemons


def _load(bench: Bench, daemons: Daemons, name: str, mode: Mode, settings: dict[str, int]) -> dict[int, list[Result]]:
    bench.say(f"{name} with more workers ...")
    found: dict[int, list[Result]] = {count: [] for count, _ in daemons}
    pace = bench.growth_pace
    for count, system in alternate(daemons, pace.rounds):
        result = bench.generator.run(system, mode, settings, seconds=pace.seconds, warmup=pace.warmup)
        found[count].append(result)
        servers.settle(system)
    return found


HOW = (
    "GET and SET with 50 connections; fan-out is deliveries to 1,000 watchers, 16 changes in flight. "
    "Load generator, workers and store share the cores of the machine. Where there are fewer than they could use, more "
    "workers only take them from each other, and throughput tells little: how many workers keep one store busy is the "
    "workers' processor time of an operation over the store's."
)
