"""benchmarks.png: which system does how much of what, at a glance."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt  # after the choice of what it draws with
from matplotlib.patches import Patch

from bench.measure import Measured
from bench.page import rounded
from bench.targets import ETCD, KVD, MEMCACHED, NATS, REDIS, TITLES

COLOURS = {KVD: "#1f5fa8", REDIS: "#d2694a", ETCD: "#6f9f6a", MEMCACHED: "#a9a9a9", NATS: "#a487bf"}
"""The systems that are shown, in this order."""
KEEPS_NOTHING = (MEMCACHED, NATS)
"""Those that a reader must not take for durable."""
BAR, GAP, HEAD, FOOT = 0.21, 0.2, 0.62, 0.15
"""Inches: of a bar, between workloads, above a panel for its title, and below it."""
WIDTH, LEGEND = 10.0, 0.4
"""Inches."""
DPI = 130


class Panel(NamedTuple):
    """Workloads whose figures have one unit.  rows: what each is called here, by its name."""

    title: str
    about: str
    figure: str
    rows: Mapping[str, str]


PANELS = (
    Panel(
        "Requests a second, 50 connections",
        "more is better; kvd, Redis and etcd have every SET on disk before they answer",
        "rate",
        {"get": "GET", "mixed": "90 % GET, 10 % SET", "set": "SET"},
    ),
    Panel(
        "Changes delivered a second to 1,000 watchers",
        "more is better; kvd and etcd keep every change on disk, Redis (PUBLISH) and NATS keep none",
        "rate",
        {"fan-out": "16 changes in flight", "fan-out-one": "1 change in flight"},
    ),
    Panel(
        "Median time in microseconds, 1 request in flight",
        "less is better; in the last line Redis, too, has the change on disk before it delivers it",
        "p50_us",
        {"get-one": "GET", "set-one": "SET", "latency": "from writer to watcher",
         "latency-durable": "from writer to watcher,\non disk for both"},
    ),
)  # fmt: skip


def draw(path: Path, measured: Sequence[Measured]) -> None:
    """Draw what was measured, a panel below the other."""
    by_name = {one.row.name: one for one in measured}
    panels = [(panel, [by_name[name] for name in panel.rows if name in by_name]) for panel in PANELS]
    panels = [(panel, shown) for panel, shown in panels if shown]
    heights = [HEAD + FOOT + _height(shown) for _, shown in panels]
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    whole = LEGEND + sum(heights)
    figure = plt.figure(figsize=(WIDTH, whole))
    _legend(figure, measured)
    top = whole - LEGEND
    for (panel, shown), height in zip(panels, heights, strict=True):
        axes = figure.add_axes((0.2, (top - height + FOOT) / whole, 0.74, _height(shown) / whole))
        _bars(axes, panel, shown)
        top -= height
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def _systems(one: Measured) -> list[str]:
    return [name for name in COLOURS if name in one.results]


def _height(shown: Sequence[Measured]) -> float:
    return sum(BAR * len(_systems(one)) + GAP for one in shown)


def _legend(figure: Any, measured: Sequence[Measured]) -> None:
    seen = {name for one in measured for name in one.results}
    marks = [Patch(color=colour, label=_label(name)) for name, colour in COLOURS.items() if name in seen]
    figure.legend(handles=marks, loc="upper center", ncols=len(COLOURS), frameon=False, fontsize=10)


def _label(system: str) -> str:
    return f"{TITLES[system]} (keeps nothing)" if system in KEEPS_NOTHING else TITLES[system]


def _bars(axes: Any, panel: Panel, shown: Sequence[Measured]) -> None:
    """For each workload a bar for each system, with its figure."""
    place, names = 0.0, {}
    for one in shown:
        systems = _systems(one)
        names[panel.rows[one.row.name]] = place + BAR * len(systems) / 2
        for system in systems:
            value = one.median(system, panel.figure)
            axes.barh(place + BAR / 2, value, height=BAR * 0.86, color=COLOURS[system])
            axes.annotate(
                rounded(value), (value, place + BAR / 2), xytext=(4, 0), textcoords="offset points", va="center",
                fontsize=8.5, fontweight="bold" if system == KVD else "normal",
            )  # fmt: skip
            place += BAR
        place += GAP
    axes.set_yticks(list(names.values()), list(names))
    axes.set_ylim(place, -GAP / 2)
    axes.set_xlim(left=0)
    axes.margins(x=0.1)
    axes.tick_params(axis="y", length=0)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_title(panel.title, loc="left", fontsize=11, fontweight="bold", pad=18)
    axes.text(0, 1.0, panel.about, transform=axes.transAxes, fontsize=8.5, color="#555555", va="bottom")
