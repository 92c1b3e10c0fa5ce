"""What grows: a figure for each size, and what it may not exceed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.targets import Bound


@dataclass(frozen=True)
class Check:
    """A target of a curve: one value and its limit; without a limit, for information."""

    title: str
    value: float
    bound: Bound = "at most"
    limit: float | None = None

    @property
    def met(self) -> bool:
        """Whether the value is within the limit."""
        if self.limit is None:
            return True
        return self.value <= self.limit if self.bound == "at most" else self.value >= self.limit


@dataclass(frozen=True)
class Curve:
    """A table with one line for each size."""

    name: str
    title: str
    how: str
    """How it was measured: a paragraph."""
    x_title: str
    x: Sequence[str]
    columns: Mapping[str, Sequence[float]]
    """By their headings, which name the unit."""
    checks: Sequence[Check]
    is_growth: bool = True
    """Whether the lines are sizes of one thing, and not several things."""

    def found(self, title: str) -> float:
        """The value of the check with that title."""
        return next(check.value for check in self.checks if check.title == title)

    def rows(self) -> Iterator[list[str]]:
        """The lines of the table, as text."""
        for number, size in enumerate(self.x):
            yield [size, *(number_text(column[number]) for column in self.columns.values())]

    def raw(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "title": self.title,
            self.x_title: list(self.x),
            "columns": {name: list(values) for name, values in self.columns.items()},
            "checks": [{**vars(check), "met": check.met} for check in self.checks],
        }


def number_text(value: float) -> str:
    """With three digits or more, and no more than are of use."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
