"""Steps of catching up that several watchers can be given: a crowd that comes back is at the same place."""

from typing import NamedTuple

from kvd.model import Form

MOST_BYTES = 1024 * 1024
"""Bytes of steps that are kept."""
PORTION_BYTES = 600
"""Memory of a step beyond its lines and what follows, and
PATTERN_BYTES: of each pattern of its name beyond its own bytes, and
REVISION_BYTES: of each revision that is still to come."""
PATTERN_BYTES = 48
REVISION_BYTES = 48

Name = tuple[tuple[bytes, ...], int] | tuple[tuple[bytes, ...], int, Form, int]
"""What is watched, and the revision up to which everything was sent; of a form other than PLAIN also the form, and
`rendering.age_of`."""


class Portion(NamedTuple):
    """What comes next for all who watch the same in the same form from the same revision on.

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
        self._kept: dict[Name, Portion] = {}
        self._size = 0

    def get(self, name: Name) -> Portion | None:
        """What comes next."""
        return self._kept.get(name)

    def add(self, name: Name, portion: Portion) -> None:
        """Keep it for others, if it is not too large."""
        size = _cost(name, portion)
        if size > MOST_BYTES:
            return
        if self._size + size > MOST_BYTES:
            self.clear()
        self._kept[name] = portion
        self._size += size

    def clear(self) -> None:
        """Keep none."""
        if self._kept:
            self._kept.clear()
            self._size = 0


def _cost(name: Name, portion: Portion) -> int:
    words = name[0]
    named = sum(map(len, words)) + PATTERN_BYTES * len(words)
    return len(portion.lines) + named + REVISION_BYTES * len(portion.coming) + PORTION_BYTES
