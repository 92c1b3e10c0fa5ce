"""The live screen, drawn with rich."""

import math
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kvd.cli.escape import visible
from kvd.cli.screen.figures import Figures

BARS = " ▁▂▃▄▅▆▇█"
_COLUMN = 29
"""Columns of the screen that a figure with its name takes."""
_WIDE = 72
"""Columns of a screen on which a figure may be longer than usual."""
_LABEL_WIDTH, _RATE_WIDTH = 13, 10
_FIGURES = 8
"""Figures in the table."""
_OTHER_LINES = 9
"""Lines of a screen that show no figure of the table and no prefix."""
_FEWEST = 2
"""Prefixes that are worth their heading."""
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400

_LABEL, _NUMBER, _WARNING, _FAINT = "cyan", "bold", "bold yellow", "bright_black"


def columns(width: int) -> int:
    """In how many columns the figures stand, on a screen so wide."""
    return max(min(width // _COLUMN, 3), 1)


def room_for_prefixes(width: int, height: int) -> int:
    """How many prefixes a screen shows; 0: none."""
    rows = height - _OTHER_LINES - -(-_FIGURES // columns(width))
    return rows if rows >= _FEWEST else 0


def head(address: str, figures: Figures | None, why: str, seconds: float) -> Text:
    """The first two lines: what is looked at, and since when, in seconds, it does not answer."""
    text = Text(no_wrap=True, overflow="ellipsis")
    version, engine = (figures.version, figures.engine) if figures else ("", "")
    text.append(visible(f"kvd {version}".strip()), _NUMBER)
    text.append(visible(f" ({engine})" if engine else ""))
    text.append(f" at {visible(address)}")
    if figures and figures.uptime is not None and not why:
        text.append(f"  up {duration(figures.uptime)}", _FAINT)
    if why:
        text.append(f"\ngone for {seconds:.0f} s, and tried again: {why}", _WARNING)
    elif seconds:
        text.append(f"\nno answer for {seconds:.0f} s", _WARNING)
    else:
        text.append("\n")
    return text


def rates(figures: Figures, recent: Sequence[tuple[float, float]], width: int) -> Table:
    """Requests and changes a second, of this look and of the last ones, with a curve."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style=_LABEL, no_wrap=True, min_width=_LABEL_WIDTH)
    grid.add_column(no_wrap=True, min_width=_RATE_WIDTH)
    grid.add_column(no_wrap=True)
    shown = max(width - _LABEL_WIDTH - _RATE_WIDTH - 4, 1)
    for which, (name, value) in enumerate((("requests/s", figures.requests), ("changes/s", figures.changes))):
        grid.add_row(name, rate(value), curve([pair[which] for pair in recent][-shown:]))
    return grid


def table(figures: Figures, width: int) -> Table:
    """All other figures, in as many columns as there is room for."""
    lagging = figures.lagging_watchers
    cells = (
        ("connections", count(figures.connections)),
        ("watchers live", count(_less(figures.watchers, lagging))),
        ("catching up", count(lagging, warn=bool(lagging))),
        ("keys", count(figures.keys)),
        ("revision", count(figures.revision)),
        ("history", count(figures.history)),
        ("daemon memory", size(figures.daemon_memory)),
        ("store memory", size(figures.store_memory, figures.max_memory if width >= _WIDE else None)),
    )
    across = columns(width)
    grid = Table.grid(padding=(0, 2))
    for _ in range(across):
        grid.add_column(style=_LABEL, no_wrap=True, min_width=_LABEL_WIDTH)
        grid.add_column(no_wrap=True, min_width=_RATE_WIDTH)
    for begin in range(0, len(cells), across):
        grid.add_row(*(part for cell in cells[begin : begin + across] for part in cell))
    return grid


def busiest_table(busiest: Sequence[tuple[str, float]], why: str, width: int) -> RenderableType:
    """The busiest prefixes; why: why there are none at the moment."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(justify="right", min_width=10, no_wrap=True)
    grid.add_column(no_wrap=True, overflow="ellipsis", max_width=max(width // 2, 10))
    grid.add_column(no_wrap=True)
    grid.add_row(Text("changes/s", _LABEL), Text("busiest prefixes", _LABEL), Text(why, _WARNING))
    most = max((value for _, value in busiest), default=0)
    for prefix, value in busiest:
        share = round(value / most * (width // 4)) if most else 0
        grid.add_row(rate(value), Text(prefix), Text("█" * max(share, 1), "green"))
    return grid


def screen(parts: Sequence[RenderableType]) -> Group:
    """The parts below each other, with an empty line between them."""
    between = [part for one in parts for part in (Text(""), one)]
    return Group(*between[1:])


def foot(*, wanted: bool, shown: bool) -> Text:
    """What the keys do.  wanted, shown: the prefixes, for which there may be no room."""
    if wanted and not shown:
        return Text("q quit   no room for prefixes", _FAINT)
    return Text(f"q quit   p {'hide' if shown else 'show'} prefixes", _FAINT)


def curve(values: Sequence[float]) -> Text:
    """A curve in one line, from 0 to the greatest of the values."""
    most = max(values, default=0)
    highest = len(BARS) - 1
    return Text("".join(BARS[math.ceil(value / most * highest) if most else 0] for value in values), "green")


def rate(value: float | None) -> Text:
    """A rate a second."""
    return _unknown() if value is None else Text(f"{value:,.0f}" if value >= 100 else f"{value:.1f}", _NUMBER)


def count(value: float | None, *, warn: bool = False) -> Text:
    """A number of things."""
    return _unknown() if value is None else Text(f"{value:,.0f}", _WARNING if warn else _NUMBER)


def size(value: float | None, most: float | None = None) -> Text:
    """Bytes, and of how many."""
    if value is None:
        return _unknown()
    text = Text(_size(value), _NUMBER)
    return text.append(f" of {_size(most)}", _FAINT) if most else text


def duration(seconds: float) -> str:
    """Seconds, for people: their two greatest units."""
    whole = int(seconds)
    if whole >= _DAY:
        return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"
    if whole >= _HOUR:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _MINUTE} min {whole % _MINUTE} s" if whole >= _MINUTE else f"{whole} s"


def _less(whole: float | None, part: float | None) -> float | None:
    return whole if whole is None else max(whole - (part or 0), 0)


def _size(value: float) -> str:
    unit = 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 or value >= 100 else f"{value:.1f} {_UNITS[unit]}"


def _unknown() -> Text:
    return Text("-", _FAINT)
