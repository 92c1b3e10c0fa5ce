"""python -m bench: measure kvd next to bare Redis and others, on this machine, in one run.

Usage:
  bench [options] [--only NAME...]

Without --quick and --only it measures everything, and writes docs/benchmarks.md, .png and .json.  bench/README.md
says more.

Options:
  --quick            The main workloads with kvd and bare Redis alone, shortly, and without targets.
  --guard            Fail if kvd is more than twice as slow next to bare Redis as docs/benchmarks.json says.
  --record FILE      What --guard compares with, if not that file.
  --only             Only the workloads and curves that follow: {names}.
  --rounds N         Rounds (default 5; with --quick 3).
  --seconds S        Seconds measured for each system in each round (default 2; with --quick 0.3).
  --kvd-args ARGS    More options for kvd, in one argument, such as --kvd-args='--log-level debug'.
  --docs DIR         Write the documents there, whatever was measured.
  --help             Print this.
"""

import shlex
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from docopt import docopt
from rich.console import Console

from bench import document, guard, report, servers
from bench.curves import Curve
from bench.growth import CURVES
from bench.load import Generator, LoadFailed
from bench.measure import Bench, Measured, Pace, measure_all
from bench.others.servers import DidNotStart, NotInstalled
from bench.targets import CORE, OTHERS, ROWS

DOCS = servers.ROOT / "docs"
RECORD = DOCS / "benchmarks.json"
FULL, QUICK = Pace(rounds=5, seconds=2, warmup=0.5), Pace(rounds=3, seconds=0.3, warmup=0.1)
WIDTH = 150
"""Columns of the table where the terminal does not say."""


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    signal.signal(signal.SIGTERM, end)
    names = [*(row.name for row in ROWS), *CURVES]
    options = docopt(__doc__.format(names=", ".join(names)), arguments)
    unknown = [name for name in options["NAME"] if name not in names]
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    if unknown or (options["--only"] and not options["NAME"]):
        console.print(f"unknown: {', '.join(unknown) or 'nothing to measure'}; there are {', '.join(names)}")
        return 2
    try:
        return run(console, options)
    except (NotInstalled, DidNotStart, LoadFailed) as error:
        console.print(f"bench: {error}", style="red", markup=False)
        return 1


def end(number: int, _frame: object) -> None:
    """On SIGTERM: as SystemExit, it ends every server on its way out, as Ctrl-C does."""
    sys.stderr.write("bench: asked to end\n")
    sys.exit(128 + number)


def run(console: Console, options: dict[str, Any]) -> int:
    """Measure, print, write, and judge; the exit status."""
    disk = servers.use_real_disk()
    console.print(f"data in {disk}; all on loopback TCP")
    only, quick = set(options["NAME"]), options["--quick"]
    with tempfile.TemporaryDirectory(prefix="bench-programs-") as directory:
        bench = Bench(
            Generator(Path(directory)), pace(options), shlex.split(options["--kvd-args"] or ""),
            lambda text: console.print(text, style="dim", markup=False),
        )  # fmt: skip
        measured = measure_rows(bench, only, quick)
        curves = measure_curves(bench, only, quick)
        show(console, measured, curves, judged=not quick)
        status = 0
        if options["--guard"]:
            status = judge(bench, measured, Path(options["--record"] or RECORD), console.out)
    if options["--docs"] or not (quick or only):
        for path in document.write(Path(options["--docs"] or DOCS), bench, disk, measured, curves):
            console.print(f"wrote {path}")
    return status


def show(console: Console, measured: list[Measured], curves: list[Curve], *, judged: bool) -> None:
    """Print the tables.  judged: with what is to be reached."""
    if measured:
        console.print(report.table(measured, judged=judged))
    for table in report.curve_tables(curves, judged=judged):
        console.print(table)


def pace(options: dict[str, Any]) -> Pace:
    """How long to measure."""
    usual = QUICK if options["--quick"] else FULL
    return Pace(int(options["--rounds"] or usual.rounds), float(options["--seconds"] or usual.seconds), usual.warmup)


def measure_rows(bench: Bench, only: set[str], quick: bool) -> list[Measured]:
    """The workloads, with everything running side by side."""
    rows = [row for row in ROWS if not only or row.name in only]
    wanted = {name for row in rows for name in row.systems}
    names = [name for name in (CORE if quick else (*CORE, *OTHERS)) if name in wanted]
    with ExitStack() as stack:
        running = servers.start_all(stack, names, bench.generator.prepare, bench.kvd_arguments, bench.say)
        return measure_all(rows, list(running.values()), bench)


def measure_curves(bench: Bench, only: set[str], quick: bool) -> list[Curve]:
    """What grows: in a full run, or where asked for."""
    names = [name for name in CURVES if name in only or not (only or quick)]
    found = []
    for name in names:
        try:
            found += CURVES[name](bench)
        except (NotInstalled, LoadFailed) as missing:
            bench.say(f"Left out: {missing}")
    return found


def judge(bench: Bench, measured: list[Measured], record: Path, say: Callable[[str], None]) -> int:
    """The regression guard; the exit status."""
    recorded = guard.recorded_ratios(record)
    if not recorded:
        say(f"guard: {record} records nothing to compare with; a full run of python -m bench writes it")
        return 1
    found = guard.complaints(measured, recorded)
    for _ in range(guard.AGAIN):
        if found:
            say(f"guard: once more, as it may be the machine: {', '.join(found)}")
            found = guard.complaints(measure_rows(bench, set(found), quick=True), recorded)
    for line in found.values():
        say(f"guard: {line}")
    if not found:
        say(f"guard: nothing is {guard.FACTOR:g} times worse than recorded")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
