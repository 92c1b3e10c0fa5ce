"""The figures as lines, for pipes and programs."""

from dataclasses import asdict

from kvd.cli.escape import visible
from kvd.cli.output import Output
from kvd.cli.screen.figures import Figures

NAMES = {
    "requests": "requests/s",
    "changes": "changes/s",
    "lagging_watchers": "lagging-watchers",
    "daemon_memory": "daemon-memory",
    "store_memory": "store-memory",
    "max_memory": "max-memory",
}
"""The names of those that are not called as their fields are."""
UNKNOWN = "-"


def write(out: Output, figures: Figures, busiest: list[tuple[str, float]]) -> None:
    """Write `NAME FIGURE` lines and `prefix RATE PREFIX` lines, or one JSON object."""
    fields = {NAMES.get(name, name): value for name, value in asdict(figures).items()}
    if out.as_json:
        out.line("", **{name: _json(value) for name, value in fields.items()}, prefixes=dict(busiest))
        return
    for name, value in fields.items():
        out.line(f"{name} {_text(name, value)}")
    for prefix, rate in busiest:
        out.line(f"prefix {rate:.1f} {prefix}")


def _json(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _text(name: str, value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}" if name.endswith("/s") else f"{value:.0f}"
    return visible(str(value)) if value else UNKNOWN
