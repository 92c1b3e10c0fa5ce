"""What was measured, for developers and for programs: tables in the terminal, JSON.  Readers have bench/page.py."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.table import Table

from bench.curves import Check, Curve
from bench.measure import Measured, Spread
from bench.targets import KVD, REDIS, TITLES, Target

NONE = "–"  # noqa: RUF001
"""An en dash: nothing to say here."""


class Line(NamedTuple):
    """One system under one workload, all as text."""

    workload: str
    system: str
    figure: str
    ratio: str
    daemon: str
    store: str
    generator: str
    target: str
    met: str


HEADINGS = Line(
    "workload", "system", "median", "ratio", "daemon, µs", "store, µs", "generator, µs", "target (stretch)", "met"
)


def lines(measured: Sequence[Measured]) -> Iterator[Line]:
    """The lines of the table: each workload's systems, and a line for each target with another base than Redis."""
    for one in measured:
        title = one.row.title
        targets = {(target.system, target.base): target for target in one.row.targets}
        for system in one.results:
            spread = one.ratio(system) if system != REDIS else None
            target = targets.get((system, REDIS))
            yield Line(
                title, TITLES[system], _figure(one, system), _ratio(spread), _cost(one, system, "daemon_us"),
                _cost(one, system, "store_us"), _cost(one, system, "generator_us"), *_judged(target, spread),
            )  # fmt: skip
            title = ""
        for target, spread in one.targets():
            if target.base != REDIS:
                name = f"{TITLES[target.system]} / {TITLES[target.base]}"
                yield Line("", name, "", _ratio(spread), "", "", "", *_judged(target, spread))


def _figure(one: Measured, system: str) -> str:
    value = one.median(system, one.row.figure)
    return f"{value:,.0f} µs" if one.row.figure == "p50_us" else f"{value:,.0f}/s"


def _cost(one: Measured, system: str, name: str) -> str:
    value = one.median(system, name)
    return f"{value:.2f}" if value else NONE


def _ratio(spread: Spread | None) -> str:
    return str(spread) if spread else NONE


def _judged(target: Target | None, spread: Spread | None) -> tuple[str, str]:
    if not target or not spread:
        return "", ""
    wanted = f"{target.bound} {target.wanted:g} ({target.stretch:g})"
    return wanted, verdict(target.is_met_by(spread.median), target.is_stretched_by(spread.median))


def verdict(met: bool, stretched: bool = False) -> str:
    """One word for how a target stands."""
    return "stretch" if stretched else "yes" if met else "no"


def table(measured: Sequence[Measured], *, judged: bool = True) -> Table:
    """For the terminal.  judged: with the targets, and whether they are met."""
    drawn = Table(title="Ratios are to bare Redis within each round: median (lowest to highest)", box=box.SIMPLE)
    shown = len(HEADINGS) if judged else HEADINGS.index("target (stretch)")
    for number, heading in enumerate(HEADINGS[:shown]):
        drawn.add_column(heading, justify="right" if 2 <= number <= 6 else "left", no_wrap=number == 3)
    for line in lines(measured):
        style = "bold" if line.system.startswith(TITLES[KVD]) else None
        drawn.add_row(*line[:shown], style=style)
    return drawn


def curve_tables(curves: Sequence[Curve], *, judged: bool = True) -> list[Table]:
    """For the terminal.  judged: with the limits, and whether they are kept."""
    return [_curve_table(curve, judged) for curve in curves]


def _curve_table(curve: Curve, judged: bool) -> Table:
    caption = "\n".join(check_line(check, judged=judged) for check in curve.checks)
    drawn = Table(title=curve.title, box=box.SIMPLE, caption=caption)
    for heading in (curve.x_title, *curve.columns):
        drawn.add_column(heading, justify="right")
    for row in curve.rows():
        drawn.add_row(*row)
    return drawn


def check_line(check: Check, *, judged: bool = True) -> str:
    """One target of a curve and whether it is met."""
    if check.limit is None or not judged:
        return f"{check.title}: {check.value:.2f}"
    return f"{check.title}: {check.value:.2f}, {check.bound} {check.limit:g}: {verdict(check.met)}"


def raw(measured: Sequence[Measured], curves: Sequence[Curve]) -> dict[str, Any]:
    """Everything, for JSON."""
    return {
        "rows": {one.row.name: _raw_row(one) for one in measured},
        "curves": {curve.name: curve.raw() for curve in curves},
    }


def _raw_row(one: Measured) -> dict[str, Any]:
    ratios = {system: one.ratio(system) for system in one.results}
    return {
        "title": one.row.title,
        "figure": one.row.figure,
        "ratio_to_redis": {system: vars(spread) for system, spread in ratios.items() if spread},
        "results": {system: [vars(result) for result in results] for system, results in one.results.items()},
    }
