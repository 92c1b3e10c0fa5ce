"""Steps of catching up that several watchers can be given: a crowd that comes back is at the same place."""

from typing import NamedTuple

MOST_BYTES = 1024 * 1024
"""Bytes of steps that are kept."""


class Portion(NamedTuple):
    """What comes next for all who watch the same from the same revision on.

    lines: bytes, complete up to the revision `last`.
    coming, joined, known_to: those of a `Watcher` that has been sent them; the list is shared.
    """

    lines: bytes
    last: int
    coming: list[int]
    joined: frozenset[int]
    known_to: int


class Portions:
    """Those that were made since the last change."""

    def __init__(self) -> None:
        # By what is watched, and from where.
        self._kept: dict[tuple[tuple[bytes, ...], int], Portion] = {}
        self._size = 0

    def get(self, words: tuple[bytes, ...], after: int) -> Portion | None:
        """What comes next for those who watch this, and have had everything up to a revision."""
        return self._kept.get((words, after))

    def add(self, words: tuple[bytes, ...], after: int, portion: Portion) -> None:
        """Keep it for others, if it is not too large."""
        size = len(portion.lines)
        if size > MOST_BYTES:
            return
        if self._size + size > MOST_BYTES:
            self.clear()
        self._kept[words, after] = portion
        self._size += size

    def clear(self) -> None:
        """Keep none."""
        if self._kept:
            self._kept.clear()
            self._size = 0
