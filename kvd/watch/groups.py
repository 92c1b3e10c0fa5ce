"""The watchers that want their lines in one form: which of them a change is for, and handing it to them.

Each change is rendered once for all of them.  What is joined once goes to all that watch one pattern, so that a watcher
costs little more than its socket.  Pure and synchronous.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from operator import attrgetter

from kvd.model import Change, Form
from kvd.watch.rendering import Clock, line_of, pieced
from kvd.watch.watcher import Watcher


class Group:
    """Those of one form."""

    def __init__(self, form: Form, clock: Clock) -> None:
        self.form = form
        self._render = line_of(form, clock)
        self._wants_values = form.wants_values
        # By pattern: those that watch nothing else, and those that do.
        self._by_single_pattern: dict[bytes, set[Watcher]] = {}
        self._by_pattern_set: dict[bytes, set[Watcher]] = {}
        # Lengths of the prefixes, how many have it, and which there are, in order.
        self._lengths: dict[int, int] = {}
        self._ordered: list[int] = []

    @property
    def is_empty(self) -> bool:
        """Whether nobody is in it."""
        return not (self._by_single_pattern or self._by_pattern_set)

    def add(self, watcher: Watcher) -> None:
        """Hand changes to a watcher."""
        words = watcher.patterns.words
        by_pattern = self._registry(words)
        for pattern in words:
            by_pattern.setdefault(pattern, set()).add(watcher)
        self._count(words, 1)

    def remove(self, watcher: Watcher) -> None:
        """Once for every `add`."""
        words = watcher.patterns.words
        by_pattern = self._registry(words)
        for pattern in words:
            by_pattern[pattern].discard(watcher)
            if not by_pattern[pattern]:
                del by_pattern[pattern]
        self._count(words, -1)

    def _count(self, words: tuple[bytes, ...], by: int) -> None:
        """Count prefixes by their lengths, or no longer."""
        before = len(self._lengths)
        for pattern in words:
            if pattern.endswith(b"*"):
                length = len(pattern) - 1
                self._lengths[length] = self._lengths.get(length, 0) + by
                if not self._lengths[length]:
                    del self._lengths[length]
        if len(self._lengths) != before:
            self._ordered = sorted(self._lengths)

    def _registry(self, words: tuple[bytes, ...]) -> dict[bytes, set[Watcher]]:
        return self._by_single_pattern if len(words) == 1 else self._by_pattern_set

    def matches(self, key: bytes) -> bool:
        """Whether somebody watches a key."""
        return bool(self._patterns_of(key))

    def publish(self, store: bytes, before: int, changes: Sequence[Change]) -> None:
        """Hand on the next changes, which come after the revision `before`."""
        render, wants_values = self._render, self._wants_values
        # None for a change whose value has to be fetched first: when it was read, nobody wanted it.
        lines: dict[int, bytes | None] = {}
        places: dict[bytes, list[int]] = {}
        for place, change in enumerate(changes):
            for pattern in self._patterns_of(change.key):
                if place not in lines:
                    lines[place] = None if change.apart and wants_values else render(change, store)
                places.setdefault(pattern, []).append(place)
        merged: dict[Watcher, list[int]] = {}
        for pattern, found in places.items():
            if alone := self._by_single_pattern.get(pattern):
                self._deliver(alone, before, [changes[place] for place in found], [lines[place] for place in found])
            for watcher in self._by_pattern_set.get(pattern, ()):
                # No place comes twice: one change matches one pattern of a watcher.
                merged.setdefault(watcher, []).extend(found)
        for watcher, its in merged.items():
            its.sort()
            self._deliver((watcher,), before, [changes[place] for place in its], [lines[place] for place in its])

    def _deliver(
        self, watchers: Iterable[Watcher], before: int, changes: Sequence[Change], lines: Sequence[bytes | None]
    ) -> None:
        """Give the live ones of some watchers the lines of changes, all of them later than `before`."""
        there = [line for line in lines if line is not None]
        if len(there) < len(lines):
            for watcher in watchers:
                if watcher.live:
                    watcher.fall_behind(max(before, watcher.after))
            return
        data = pieced(changes, there, self.form)
        if not data:
            return
        for watcher in watchers:
            if not watcher.live:
                continue
            if watcher.after <= before:
                if not watcher.sink(data):
                    watcher.fall_behind(before)
            elif (late := self._late(watcher.after, changes, there)) and not watcher.sink(late):
                watcher.fall_behind(watcher.after)

    def _late(self, after: int, changes: Sequence[Change], lines: Sequence[bytes]) -> bytes:
        """Those of changes that come after a revision."""
        first = bisect_right(changes, after, key=attrgetter("revision"))
        return pieced(changes[first:], lines[first:], self.form)

    def _patterns_of(self, key: bytes) -> list[bytes]:
        """The patterns that match a key and are watched; what it costs does not grow with the others."""
        lengths = self._ordered[: bisect_right(self._ordered, len(key))]
        patterns = [key[:length] + b"*" for length in lengths]
        patterns.append(key)
        return [
            pattern for pattern in patterns if pattern in self._by_single_pattern or pattern in self._by_pattern_set
        ]
