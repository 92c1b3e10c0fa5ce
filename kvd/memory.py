"""One plan of memory: who may take how much of what there is, so that together they leave some."""

from dataclasses import dataclass
from typing import NamedTuple

STORE_PERCENT = 50
"""Of what there is: the store's data and change log.  While the engine writes its file anew, its fork may come to take
as much as a fifth of that again, and a heap takes more than what is in it: the rest is for both."""
CONNECTIONS_PERCENT = 15
"""What all connections may hold, and
CACHES_PERCENT: what the caches and indexes of all processes may."""
CACHES_PERCENT = 15
MOST_PERCENT = 75
"""Of what there is: to this a store that is above its share already may grow."""
UNCOUNTED_BYTES = 48 * 1024 * 1024
"""What the engine's threads and buffers take of a limit of its own, without counting it (measured: 22 to 36 MiB), with
some to spare for a table that grows, and
COUNTED_PERCENT: what its data may take of the rest, for its heap takes up to 1.25 times as much.  An engine that asks
for more than such a limit allows ends at once."""
COUNTED_PERCENT = 70
LEAST_BYTES = 1024 * 1024
"""The least share of the store: an engine without data takes about as much."""
LEAST_CONNECTIONS = 64 * 1024
"""The least that connections may hold: one request with a short value, and its answer, with some to spare."""

FULL = "the store's memory is full (--max-memory, or its own maxmemory); nothing was done; delete keys, or give it more"
"""What a write is told then."""

LOG_PART = 4
"""The values and keys of the change log take this part of the store's share at the most, and
ENTRIES_PART: what its entries take beyond that: a log that filled all of it would leave writes no memory for ever."""
ENTRIES_PART = 8
ENTRY_BYTES = 100
"""What a change takes in the log beyond its key and value, at the most."""


class Available(NamedTuple):
    """How much memory there is.

    size: int, bytes, 0 if nobody knows.  by: str, what says so, for people.  each: whether that is a limit of each
    process by itself, which refuses it more.
    """

    size: int = 0
    by: str = ""
    each: bool = False

    @property
    def most(self) -> int:
        """Bytes that a store may come to take of it."""
        if self.each:
            return max(LEAST_BYTES, (self.size - UNCOUNTED_BYTES) * COUNTED_PERCENT // 100)
        return self.size * MOST_PERCENT // 100


UNKNOWN = Available()


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """All in bytes; 0: no limit.

    available: what there is.  store: what the embedded engine may take, its maxmemory.
    connections, caches: what those of all processes may take together.  asked: what was asked for the store.
    """

    available: Available = UNKNOWN
    store: int = 0
    connections: int = 0
    caches: int = 0
    asked: int = 0

    @classmethod
    def of(cls, available: Available, store: int | None = None) -> "MemoryPlan":
        """The shares.  store: int, what was asked for, None to have it planned."""
        size = available.size
        planned = store
        if store is None:
            planned = min(size * STORE_PERCENT // 100, available.most)
        elif available.each:
            planned = min(store, available.most)
        return cls(available, planned or 0, size * CONNECTIONS_PERCENT // 100, size * CACHES_PERCENT // 100, store or 0)

    @property
    def warning(self) -> str:
        """What is wrong with the share that was asked for, "" if nothing is."""
        size, by, _ = self.available
        if not size or self.asked <= self.available.most:
            return ""
        text = f"--max-memory {readable(self.asked)} is too much for {readable(size)} ({by})"
        if self.store < self.asked:
            return f"{text}: the store gets {readable(self.store)}"
        return f"{text}: before the store is full it may be killed"

    def read_cache(self, wanted: int, workers: int) -> int:
        """Bytes of each process's read cache, where `wanted` would do."""
        return min(wanted, self.caches // workers) if self.caches else wanted

    def held_by_each(self, workers: int) -> int:
        """Bytes that the connections of each process may hold; 0: no limit."""
        return max(1, self.connections // workers) if self.connections else 0

    def retention(self, changes: int, size: int) -> tuple[int, int]:
        """How many changes and bytes of them the log may keep, where these were asked for."""
        if not self.store:
            return changes, size
        entries = self.store // ENTRIES_PART // ENTRY_BYTES
        return max(1, min(changes, entries)), max(1, min(size, self.store // LOG_PART))

    def limit(self, used: int) -> int:
        """The engine's maxmemory, if its data take `used` bytes at its start.

        Above its share it may grow by a quarter, as far as there is that much.  A store that was full is a little
        above, as the engine's own buffers are: that gives it no more.
        """
        if used <= self.store + self.store // 16 or not self.store:
            return self.store
        grown = used + used // 4
        if self.available.size:
            grown = min(grown, self.available.most)
        return max(used, grown)


NOT_PLANNED = MemoryPlan()


def readable(size: int) -> str:
    """Bytes for people, such as 1.5 GiB."""
    value, unit = float(size), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.4g} {unit}"
