"""More watchers that a change does not concern: what the change costs the daemon."""

from contextlib import ExitStack
from statistics import median

from bench import servers
from bench.curves import Check, Curve
from bench.measure import Bench, alternate, ratio
from bench.servers import System
from bench.targets import VALUE

SIZES = (1, 1000, 10_000)
KINDS = {"own key": 1, "own prefix": 2}
"""What each watcher watches, as load.c's `distinct` has it."""
MOST = 1.2
"""Processor time of a change, as a multiple of that with one watcher."""


def measure(bench: Bench) -> list[Curve]:
    """A daemon for each number of watchers, all loaded alternately with changes of which each matches one watcher."""
    columns, checks = {}, []
    with ExitStack() as stack:
        daemons = [(size, stack.enter_context(servers.kvd(bench.kvd_arguments))) for size in SIZES]
        for kind, distinct in KINDS.items():
            bench.say(f"watchers, each of its {kind} ...")
            costs = _costs(bench, daemons, distinct)
            columns[f"{kind}, µs"] = [median(costs[size]) for size in SIZES]
            grown = ratio(costs[SIZES[-1]], costs[SIZES[0]]).median
            checks.append(Check(_grown(kind), grown, limit=MOST))
    sizes = [f"{size:,}" for size in SIZES]
    return [Curve("watchers", "More watchers", HOW, "watchers", sizes, columns, checks)]


def _grown(kind: str) -> str:
    """The title of what more watchers cost."""
    return f"{kind}: {SIZES[-1]:,} watchers / {SIZES[0]}"


def in_words(curve: Curve) -> list[str]:
    """What it shows, for readers."""
    keys, prefixes = (curve.found(_grown(kind)) for kind in KINDS)
    return [
        f"A change that one of {SIZES[-1]:,} watchers wants costs the daemon {keys:.2f} times the processor time that "
        f"it costs with a single watcher; {prefixes:.2f} times, if they watch prefixes."
    ]


def _costs(bench: Bench, daemons: list[tuple[int, System]], distinct: int) -> dict[int, list[float]]:
    """The daemon's processor time of a change in µs, by the number of watchers, for each round."""
    costs: dict[int, list[float]] = {size: [] for size, _ in daemons}
    pace = bench.growth_pace
    for size, system in alternate(daemons, pace.rounds):
        settings = {"watchers": size, "flight": 1, "distinct": distinct, "value": VALUE}
        result = bench.generator.run(system, "fan-out", settings, seconds=pace.seconds, warmup=pace.warmup)
        costs[size].append(result.figure("daemon_us"))
        servers.settle(system)
    return costs


HOW = (
    "Each watcher has a connection and watches a key, or a prefix, of its own; one writer changes what they watch in "
    "turn, one change in flight, so that each change has one watcher to go to. The time is the daemon's processor time "
    "for the write and the delivery."
)
