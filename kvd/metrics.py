"""Metrics: what a daemon tells of how it is doing.  Each is declared once, here, for whatever tells it, as INFO does.

What a process counts stands in a row of numbers in memory that all processes of one daemon have, and each writes to its
own alone; who is asked adds up.  So a sum is of this moment, without a word between processes, and to count is to add
to a number (50 ns).
"""

import ctypes
import mmap
import os
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from kvd.model import Position


class Kind(Enum):
    """COUNTER grows, and begins anew with the daemon; GAUGE goes up and down; TEXT is no number."""

    COUNTER = "counter"
    GAUGE = "gauge"
    TEXT = "text"


class Metric(NamedTuple):
    """One metric.  unit: "seconds", "bytes", or "" for a number of things, and for a text."""

    name: str
    help: str
    kind: Kind
    unit: str = ""


ENGINE = Metric("engine", "The server that keeps the data, and its version.", Kind.TEXT)
UPTIME = Metric("uptime", "Since the daemon started.", Kind.GAUGE, "seconds")
CONNECTIONS = Metric("connections", "Connections of clients.", Kind.GAUGE)
WATCHERS = Metric("watchers", "Connections that watch.", Kind.GAUGE)
CATCHING_UP = Metric("lagging-watchers", "Watchers that have not had every change yet.", Kind.GAUGE)
KEYS = Metric("keys", "Keys in the store.", Kind.GAUGE)
DAEMON_MEMORY = Metric("daemon-memory", "Memory of the daemon's processes, without the store's.", Kind.GAUGE, "bytes")
USED_MEMORY = Metric("used-memory", "Memory that the store takes.", Kind.GAUGE, "bytes")
HELD = Metric("held-memory", "Memory of requests in part, of transactions, and of what is unread.", Kind.GAUGE, "bytes")
REQUESTS = Metric("requests", "Requests that were answered since the daemon started.", Kind.COUNTER)
CHANGES = Metric("changes", "Changes of the store since the daemon started, of all daemons.", Kind.COUNTER)

LIMITED = tuple(
    Metric(f"limited-{name}", f"{what}.", Kind.COUNTER)
    for name, what in {
        "memory": "Connections that were ended for holding the most of too much memory",
        "line": "Connections that were ended for a line that took too long",
        "transaction": "Transactions that were open for too long, and given up",
        "idle": "Connections that were closed for asking nothing for too long",
        "login": "Connections that were ended for taking too long to log in",
        "address": "Connections that were refused, for their address had too many",
        "requests": "Requests that were refused, for too many were in flight",
        "patterns": "Requests that were refused for too many patterns",
    }.items()
)
"""What was refused or ended for a limit."""

METRICS = (
    ENGINE, UPTIME, CONNECTIONS, WATCHERS, CATCHING_UP, KEYS, DAEMON_MEMORY, USED_MEMORY, HELD, REQUESTS, CHANGES,
    *LIMITED,
)  # fmt: skip
"""All of them."""

SUMMED = {
    CONNECTIONS: "connections", WATCHERS: "watchers", CATCHING_UP: "catching_up", REQUESTS: "requests", HELD: "held",
    **{metric: metric.name.replace("-", "_") for metric in LIMITED},
}  # fmt: skip
"""The metrics that processes count, and where."""


class Counts(ctypes.Structure):
    """What one process counts.  process: its id, 0 for none; and the names in SUMMED."""

    process: int
    connections: int
    watchers: int
    catching_up: int
    requests: int
    held: int
    _fields_ = [(name, ctypes.c_uint64) for name in ("process", *SUMMED.values())]  # fmt: skip


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
        self.own.connections = self.own.watchers = self.own.catching_up = self.own.held = 0

    def sums(self) -> dict[Metric, int]:
        """What all processes have counted."""
        return {metric: sum(getattr(row, field) for row in self._rows) for metric, field in SUMMED.items()}

    def processes(self) -> Iterator[int]:
        """Their ids; of one that has ended perhaps still that."""
        return (row.process for row in self._rows if row.process)
