"""Alternating rounds, and the ratios within them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from bench.load import Generator, Result
from bench.servers import System, settle
from bench.targets import KEYS, REDIS, VALUE, Row, Target

T = TypeVar("T")

SHORTEST_GROWTH = 1.0
"""Seconds; a megabyte that is synced to a slow disk takes a part of it."""


@dataclass(frozen=True)
class Pace:
    """How often and how long: rounds, and seconds in each."""

    rounds: int
    seconds: float
    warmup: float


@dataclass(frozen=True)
class Bench:
    """What a run works with."""

    generator: Generator
    pace: Pace
    kvd_arguments: Sequence[str]
    """More options for kvd."""
    say: Callable[[str], None]
    """Tells the person who waits."""

    @property
    def growth_pace(self) -> Pace:
        """For the curves, which have many points: half as long, but long enough for large values."""
        return Pace(self.pace.rounds, max(self.pace.seconds / 2, SHORTEST_GROWTH), self.pace.warmup)


@dataclass(frozen=True)
class Spread:
    """What several rounds gave."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class Measured:
    """A workload's results, by system, one a round."""

    row: Row
    results: Mapping[str, Sequence[Result]]

    def median(self, system: str, figure: str) -> float:
        """Over all rounds."""
        return median(result.figure(figure) for result in self.results[system])

    def ratio(self, system: str, base: str = REDIS) -> Spread | None:
        """One system's figure as a multiple of another's; None if one of them did not run."""
        if system not in self.results or base not in self.results:
            return None
        name = self.row.figure
        return ratio([r.figure(name) for r in self.results[system]], [r.figure(name) for r in self.results[base]])

    def targets(self) -> list[tuple[Target, Spread]]:
        """The targets whose systems ran, each with its ratio."""
        ratios = [(target, self.ratio(target.system, target.base)) for target in self.row.targets]
        return [(target, spread) for target, spread in ratios if spread]


def ratio(figures: Sequence[float], bases: Sequence[float]) -> Spread:
    """Of figures to those of the same rounds: what makes a whole round slow is in both, and cancels out."""
    return spread([figure / base for figure, base in zip(figures, bases, strict=True)])


def spread(values: Sequence[float]) -> Spread:
    """Of what rounds gave."""
    return Spread(median(values), min(values), max(values))


def alternate(items: Sequence[T], rounds: int) -> Iterator[T]:
    """All items in each round, every second time backwards, so that a drift hits all alike: ABBAAB..."""
    for number in range(rounds):
        yield from items if number % 2 == 0 else reversed(items)


def measure(row: Row, systems: Sequence[System], generator: Generator, pace: Pace) -> Measured:
    """Give a workload to those of the systems that it is for, in alternating rounds."""
    chosen = [system for system in systems if system.name in row.systems]
    results: dict[str, list[Result]] = {system.name: [] for system in chosen}
    settings = {"keys": KEYS, "value": VALUE, **row.settings}
    for system in alternate(chosen, pace.rounds):
        result = generator.run(system, row.mode, settings, seconds=pace.seconds, warmup=pace.warmup)
        results[system.name].append(result)
        if row.mode == "fan-out":
            settle(system)
    return Measured(row, results)


def measure_all(rows: Sequence[Row], systems: Sequence[System], bench: Bench) -> list[Measured]:
    """Fill the systems, and measure every row."""
    for system in systems:
        if system.protocol not in ("", "nats"):
            bench.generator.fill(system, KEYS, VALUE)
    done = []
    for row in rows:
        bench.say(f"{row.title} ...")
        done.append(measure(row, systems, bench.generator, bench.pace))
    return done
