"""What processes count of the metrics, each in a row of numbers in memory that all processes of one daemon have.

Each writes to its own row alone; who is asked adds up.  So a sum is of this moment, without a word between processes,
and to count is to add to a number (50 ns).
"""

import ctypes
import mmap
import os
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kvd.metrics import COUNTED, OTHER, Kind, Metric
from kvd.model import Position

_NUMBER, _SUM = ctypes.c_uint64, ctypes.c_double
SUMS = "_sums"
"""After a histogram's field: the field with the sums of its values."""


def _fields(metric: Metric) -> Iterator[tuple[str, Any]]:
    series = len(metric.series)
    if metric.bounds:
        yield metric.field, _NUMBER * (series * (len(metric.bounds) + 1))
        yield metric.field + SUMS, _SUM * series
    else:
        yield metric.field, _NUMBER * series if metric.labels else _NUMBER


class Counts(ctypes.Structure):
    """What one process counts.  process: its id, 0 for none; and the fields of COUNTED: a number, or an array of
    numbers for a metric with labels or buckets, which `Tally` writes."""

    process: int
    connections: int
    opened: int
    watchers: int
    catching_up: int
    held: int
    received: int
    sent: int
    expired: int
    engine_restarts: int
    _fields_ = [("process", _NUMBER), *(field for metric in COUNTED for field in _fields(metric))]


def number(counts: Counts, field: str) -> memoryview:
    """One number of a row, to be read and written at [0]: that takes half the time of the attribute."""
    place = getattr(Counts, field).offset
    return memoryview(counts).cast("B")[place : place + ctypes.sizeof(_NUMBER)].cast("Q")


class Tally:
    """One metric with labels or buckets, in one process's row."""

    def __init__(self, metric: Metric, counts: Counts) -> None:
        # Indexing a memoryview takes half the time of a ctypes array.
        self.cells = memoryview(getattr(counts, metric.field)).cast("B").cast("Q")
        self._sums = memoryview(getattr(counts, metric.field + SUMS)).cast("B").cast("d") if metric.bounds else None
        self._bounds = metric.bounds
        self.width = len(metric.bounds) + 1
        self._places = {series: number for number, series in enumerate(metric.series)}
        self._other = tuple(OTHER for _ in metric.labels)

    def place(self, *values: str) -> int:
        """The number of a series, by the values of its labels; of OTHER if there is none."""
        return self._places[values] if values in self._places else self._places[self._other]

    def add(self, place: int, times: int = 1) -> None:
        """Count so many things."""
        self.cells[place] += times

    def observe(self, place: int, value: float, times: int = 1) -> None:
        """Count so many values that are the same."""
        assert self._sums is not None  # noqa: S101
        self.cells[place * self.width + bisect_left(self._bounds, value)] += times
        self._sums[place] += value * times


class Values(NamedTuple):
    """Of one series of a histogram: how many values there are in each bucket, and their sum."""

    buckets: tuple[int, ...]
    sum: float

    @property
    def number(self) -> int:
        """How many values there are."""
        return sum(self.buckets)


class Slot(NamedTuple):
    """Where a process counts, in words that can be handed to it.

    descriptor: int, a file of the shared memory.  rows: int, in it.  number: int, of this process's row.
    """

    descriptor: int
    rows: int
    number: int


class Start(NamedTuple):
    """How the daemon started, and where a process of it counts.

    at: float, when, by the clock that all processes of a machine share (time.monotonic).  position: of the store then.
    slot: None for a process that is alone.
    """

    at: float
    position: Position
    slot: Slot | None = None

    def descriptors(self) -> list[int]:
        """What another process must inherit to count there."""
        return [self.slot.descriptor] if self.slot else []


def size_of(rows: int) -> int:
    """Bytes of memory for the rows of so many processes."""
    return rows * ctypes.sizeof(Counts)


class Table:
    """The rows of all processes of one daemon.

    own: this process's.  What it holds at the moment, such as connections, is nothing yet; what it counted goes on, if
    it takes the place of a process that has ended.
    """

    def __init__(self, slot: Slot | None = None) -> None:
        """slot: as `Start` has it."""
        memory = mmap.mmap(slot.descriptor, size_of(slot.rows)) if slot else bytearray(size_of(1))
        self._rows: Sequence[Counts] = [
            Counts.from_buffer(memory, size_of(row)) for row in range(slot.rows if slot else 1)
        ]
        self.own = self._rows[slot.number if slot else 0]
        self.own.process = os.getpid()
        for metric in COUNTED:
            if metric.kind is Kind.GAUGE:
                setattr(self.own, metric.field, 0)

    def sum(self, metric: Metric) -> int:
        """A number that all processes have counted."""
        return sum(getattr(row, metric.field) for row in self._rows)

    def sums(self, metric: Metric) -> Mapping[tuple[str, ...], int]:
        """The same of each series of a metric with labels."""
        columns = zip(*(getattr(row, metric.field) for row in self._rows), strict=True)
        return dict(zip(metric.series, map(sum, columns), strict=True))

    def values(self, metric: Metric) -> Mapping[tuple[str, ...], Values]:
        """What all processes have counted of each series of a histogram."""
        cells = [sum(column) for column in zip(*(getattr(row, metric.field) for row in self._rows), strict=True)]
        totals = map(sum, zip(*(getattr(row, metric.field + SUMS) for row in self._rows), strict=True))
        width = len(metric.bounds) + 1
        return {
            series: Values(tuple(cells[place * width : (place + 1) * width]), total)
            for place, (series, total) in enumerate(zip(metric.series, totals, strict=True))
        }

    def processes(self) -> set[int]:
        """Their ids; of one that has ended perhaps still that."""
        return {row.process for row in self._rows if row.process}
