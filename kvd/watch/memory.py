"""Changes in memory, with their values, by revision: recent ones, and older ones that somebody needed."""

from collections.abc import Iterable

from kvd.model import Change

RECENT_BYTES = 8 * 1024 * 1024
"""Bytes of the latest changes that are kept for watchers that catch up."""
FETCHED_BYTES = 2 * 1024 * 1024
"""Bytes of older changes that were fetched, at least the latest so many; at the most there are twice as many."""
CHANGE_OVERHEAD = 200
"""Bytes that a kept change costs beyond its key and value, roughly."""


def _cost(change: Change) -> int:
    return len(change.key) + len(change.value) + CHANGE_OVERHEAD


class RecentChanges:
    """The latest changes, without a gap."""

    def __init__(self, size: int = RECENT_BYTES) -> None:
        """size: int, bytes."""
        self._size = size
        self.clear()

    def clear(self) -> None:
        """Keep nothing."""
        self._changes: dict[int, Change] = {}
        self._held = 0
        self._oldest = 0
        self.get = self._changes.get

    def __len__(self) -> int:
        return len(self._changes)

    def add(self, changes: list[Change]) -> None:
        """Keep the next changes, and the oldest no longer if there are too many."""
        kept = self._changes
        if not kept:
            self._oldest = changes[0].revision
        for change in changes:
            kept[change.revision] = change
        self._held += sum([_cost(change) for change in changes])
        while self._held > self._size:
            self._held -= _cost(kept.pop(self._oldest))
            self._oldest += 1


class FetchedChanges:
    """The older changes that were needed last, by any number of watchers."""

    def __init__(self, size: int = FETCHED_BYTES) -> None:
        """size: int, bytes."""
        self._size = size
        self.clear()

    def clear(self) -> None:
        """Keep nothing."""
        self._young: dict[int, Change] = {}
        self._old: dict[int, Change] = {}
        self._held = 0

    def get(self, revision: int) -> Change | None:
        """The change with a revision, if it is kept."""
        return self._young.get(revision) or self._old.get(revision)

    def add(self, changes: Iterable[Change]) -> None:
        """Keep some more."""
        for change in changes:
            kept = self._young.get(change.revision)
            # It may be kept without its value, and come with it.
            if kept is None or (kept.apart and not change.apart):
                self._young[change.revision] = change
                self._held += _cost(change)
        if self._held > self._size:
            # What is still needed will be fetched again.
            self._old, self._young, self._held = self._young, {}, 0
