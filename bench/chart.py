"""benchmarks.png: the ratios as bars, and a panel for each curve."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt  # after the choice of what it draws with

from bench.curves import Curve
from bench.measure import Measured, Spread
from bench.targets import ETCD, TITLES, Target

GOOD, BAD, MARK = "#3b6ea5", "#c26a4a", "#222222"
"""Colours: a target that is met, one that is not, and where it lies."""
LINES = ("#3b6ea5", "#c26a4a", "#6a9a58", "#8a6fa8", "#b59a3c")
COLUMNS = 3
"""Panels side by side."""
BAR_HEIGHT, PANEL_HEIGHT = 0.42, 2.9
"""Inches."""
DPI = 130


def draw(path: Path, measured: Sequence[Measured], curves: Sequence[Curve]) -> None:
    """Draw what was measured."""
    rates = [(one, *pair) for one in measured for pair in one.targets() if _is_rate(one) and pair[0].base != ETCD]
    latencies = [(one, *pair) for one in measured for pair in one.targets() if not _is_rate(one)]
    groups = [
        ("throughput, times bare Redis (more is better)", rates),
        ("latency p50, times bare Redis (less is better)", latencies),
        ("throughput, times etcd (more is better)",
         [(one, *pair) for one in measured for pair in one.targets() if pair[0].base == ETCD]),
    ]  # fmt: skip
    groups = [(title, bars) for title, bars in groups if bars]
    bar_heights = [BAR_HEIGHT * len(bars) + 0.8 for _, bars in groups]
    panel_rows = -(-len(curves) // COLUMNS)
    heights = [height for height in (sum(bar_heights), PANEL_HEIGHT * panel_rows) if height]
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure = plt.figure(figsize=(12, sum(heights) or 1), layout="constrained")
    # Two parts, so that the long names of the bars do not push the panels aside.
    parts = list(figure.subfigures(max(1, len(heights)), 1, height_ratios=heights or [1], squeeze=False)[:, 0])
    if groups:
        part = parts.pop(0)
        grid = part.add_gridspec(len(groups), 1, height_ratios=bar_heights)
        for number, (title, bars) in enumerate(groups):
            _bars(part.add_subplot(grid[number]), title, bars)
    for number, curve in enumerate(curves):
        _panel(parts[0].add_subplot(panel_rows, COLUMNS, number + 1), curve)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def _is_rate(one: Measured) -> bool:
    return one.row.figure == "rate"


def _bars(axes: Any, title: str, bars: Sequence[tuple[Measured, Target, Spread]]) -> None:
    """Each a median, its spread as a line, and its target as a mark."""
    for place, (_, target, spread) in enumerate(bars):
        colour = GOOD if target.is_met_by(spread.median) else BAD
        axes.barh(place, spread.median, height=0.6, color=colour)
        axes.plot([spread.low, spread.high], [place, place], color=MARK, linewidth=1)
        axes.plot([target.wanted] * 2, [place - 0.42, place + 0.42], color=MARK, linewidth=2.2)
        axes.annotate(
            f"{spread.median:.2f}", (max(spread.high, target.wanted), place), xytext=(6, 0),
            textcoords="offset points", va="center",
        )  # fmt: skip
    names = [f"{one.row.title} ({TITLES[t.system]})" if "no" in t.system else one.row.title for one, t, _ in bars]
    axes.set_yticks(range(len(bars)), names)
    axes.invert_yaxis()
    axes.margins(x=0.08)
    axes.set_xlim(left=0)
    axes.set_title(f"kvd: {title}; | is the target", loc="left", fontsize=10, fontweight="bold")


def _panel(axes: Any, curve: Curve) -> None:
    places = range(len(curve.x))
    if curve.is_growth:
        axes.set_ylim(0, 1.3 * max(max(curve.columns[name]) for name in curve.plot))
        axes.set_ylabel(curve.y_title)
        for name, colour in zip(curve.plot, LINES, strict=False):
            axes.plot(places, curve.columns[name], marker="o", markersize=4, color=colour, label=name)
        axes.set_xticks(places, curve.x)
        axes.set_xlabel(curve.x_title)
    else:
        axes.barh(places, curve.columns[curve.plot[0]], color=GOOD, height=0.6)
        axes.set_yticks(places, curve.x)
        axes.invert_yaxis()
        axes.set_xlabel(curve.y_title)
    if len(curve.plot) > 1:
        axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper left")
    axes.set_title(curve.title, loc="left", fontsize=10, fontweight="bold")
