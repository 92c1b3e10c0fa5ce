"""The hub: hands every change to the watchers that match, each line rendered once.  Pure and synchronous.

A watcher is a cursor into the history.  A live one gets changes as they are published.  One whose sink has no
room is set aside: it holds back nobody, and catches up from the recent changes that the hub keeps in memory.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from itertools import islice

from kvd.model import Change, Patterns, Position, Sink
from kvd.wire import replies

RECENT_BYTES = 8 * 1024 * 1024
"""Bytes of keys and values of the latest changes that are kept for watchers set aside."""
CHANGE_OVERHEAD = 200
"""Bytes that a kept change costs beyond its key and value, roughly."""
STEP_CHANGES = 1000
"""Changes in one step of catching up from memory, so that others have their turn."""
PUSH_BYTES = 32 * 1024
"""Bytes of lines that are pushed at once in catching up, the last transaction excepted."""
FOREVER = 2**53


class Step(Enum):
    """How catching up goes on; see `Hub.catch_up`."""

    LIVE = auto()
    MORE = auto()
    FULL = auto()
    GONE = auto()


@dataclass(eq=False, slots=True)
class Watcher:
    """One watch.

    sink: takes lines at once, or refuses for want of room.
    set_aside: called once when the sink refuses; whoever it is calls `Hub.catch_up` when there is room.
    ended: called with the END line when the hub ends the watch.
    after: int, the revision up to which the sink has had everything (for a live one: from which it began).
    """

    patterns: Patterns
    sink: Sink
    set_aside: Callable[[], None]
    ended: Callable[[bytes], None]
    after: int = 0
    live: bool = True


class Hub:
    """All watchers of one daemon.  Call `start` before the first, and whenever the history begins anew."""

    def __init__(self, recent_bytes: int = RECENT_BYTES) -> None:
        self._recent_bytes = recent_bytes
        # By pattern: those that watch nothing else, and those that do.
        self._alone: dict[bytes, set[Watcher]] = {}
        self._among_others: dict[bytes, set[Watcher]] = {}
        # Lengths of the prefixes, how many have it, and which there are, in order.
        self._lengths: dict[int, int] = {}
        self._ordered: list[int] = []
        self._watchers: set[Watcher] = set()
        self._recent: deque[Change] = deque()
        self._held = 0
        self.position = Position(0, b"")

    def __len__(self) -> int:
        return len(self._watchers)

    # ---- watchers come and go

    def add(self, watcher: Watcher) -> None:
        """Begin to serve a watcher, after `watcher.after`, which is no later than what is published next.

        If changes after it were published already, it is set aside at once, to catch up.
        """
        self._watchers.add(watcher)
        words = watcher.patterns.words
        by_pattern = self._registry(words)
        for pattern in words:
            by_pattern.setdefault(pattern, set()).add(watcher)
        self._count(words, 1)
        watcher.live = True
        if watcher.after < self.position.revision:
            self._set_aside(watcher, watcher.after)

    def remove(self, watcher: Watcher) -> None:
        """Serve a watcher no longer; nothing happens if it is not served."""
        if watcher not in self._watchers:
            return
        self._watchers.discard(watcher)
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
        return self._alone if len(words) == 1 else self._among_others

    def complete_to(self, watcher: Watcher) -> Position:
        """The position up to which a watcher has had everything."""
        revision = max(watcher.after, self.position.revision) if watcher.live else watcher.after
        return Position(revision, self.position.store)

    # ---- the history

    def publish(self, store: bytes, changes: list[Change]) -> None:
        """Hand on the next changes.

        What is joined once goes to all that watch one pattern, so that a watcher costs little more than its socket.
        """
        before = self.position.revision
        self._remember(changes)
        self.position = Position(changes[-1].revision, store)
        lines: dict[int, bytes] = {}
        places: dict[bytes, list[int]] = {}
        for place, change in enumerate(changes):
            for pattern in self._patterns_of(change.key):
                lines[place] = lines.get(place) or replies.change(change, store)
                places.setdefault(pattern, []).append(place)
        merged: dict[Watcher, list[int]] = {}
        for pattern, found in places.items():
            if alone := self._alone.get(pattern):
                self._hand(alone, before, [(changes[place].revision, lines[place]) for place in found])
            for watcher in self._among_others.get(pattern, ()):
                # No place comes twice: one change matches one pattern of a watcher.
                merged.setdefault(watcher, []).extend(found)
        for watcher, its in merged.items():
            self._hand((watcher,), before, [(changes[place].revision, lines[place]) for place in sorted(its)])

    def _hand(self, watchers: Iterable[Watcher], before: int, lines: list[tuple[int, bytes]]) -> None:
        """Give the live ones of some watchers lines, each with its revision, all of them later than `before`."""
        data = b"".join([line for _, line in lines])
        for watcher in watchers:
            if not watcher.live:
                continue
            if watcher.after <= before:
                if not watcher.sink(data):
                    self._set_aside(watcher, before)
            elif (late := [line for revision, line in lines if revision > watcher.after]) and not watcher.sink(
                b"".join(late)
            ):
                self._set_aside(watcher, watcher.after)

    def start(self, position: Position) -> None:
        """The history begins here: nothing before it will be published."""
        self._recent.clear()
        self._held = 0
        self.position = position

    def end_all(self, code: str, text: str) -> None:
        """End every watch."""
        for watcher in list(self._watchers):
            self.end(watcher, code, text)

    def end(self, watcher: Watcher, code: str, text: str) -> None:
        """End one watch, and say why."""
        line = replies.end(self.complete_to(watcher), code, text)
        self.remove(watcher)
        watcher.ended(line)

    def catch_up(self, watcher: Watcher) -> Step:
        """Give a watcher that was set aside its next lines from memory, and say how to go on.

        LIVE: it has everything.  MORE: call again, when others have had their turn.  FULL: call again when there is
        room.  GONE: memory no longer has what comes next; `feed` it from the store's log.
        """
        if watcher.live or watcher not in self._watchers:
            return Step.LIVE
        first = self.position.revision - len(self._recent) + 1
        if watcher.after < self.position.revision:
            if watcher.after + 1 < first:
                return Step.GONE
            end = watcher.after + STEP_CHANGES
            if not self.feed(watcher, islice(self._recent, watcher.after + 1 - first, None), end):
                return Step.FULL
        if watcher.after < self.position.revision:
            return Step.MORE
        watcher.live = True
        return Step.LIVE

    def feed(self, watcher: Watcher, changes: Iterable[Change], end: int = FOREVER) -> bool:
        """Give a watcher that was set aside changes, without a gap after what it had; False: there was no room.

        Changes up to `watcher.after` are passed over, so that the same ones can be given again.  It stops after
        revision `end`, at the end of a transaction.
        """
        if watcher.live or watcher not in self._watchers:
            return True
        lines: list[bytes] = []
        size = 0
        reached = watcher.after
        for change in changes:
            if change.revision <= watcher.after:
                continue
            if watcher.patterns.match(change.key):
                lines.append(replies.change(change, self.position.store))
                size += len(lines[-1])
            if change.more:
                continue
            if size >= PUSH_BYTES:
                if not watcher.sink(b"".join(lines)):
                    return False
                lines.clear()
                size = 0
                watcher.after = change.revision
            reached = change.revision
            if reached >= end:
                break
        if lines and not watcher.sink(b"".join(lines)):
            return False
        watcher.after = max(watcher.after, reached)
        return True

    def progress(self, watcher: Watcher) -> None:
        """Tell a watcher how far it has come, if there is room for the line."""
        if watcher in self._watchers:
            watcher.sink(replies.progress(self.complete_to(watcher)))

    def _set_aside(self, watcher: Watcher, after: int) -> None:
        watcher.live = False
        watcher.after = after
        watcher.set_aside()

    def _patterns_of(self, key: bytes) -> Iterable[bytes]:
        """The patterns that match a key and are watched; what it costs does not grow with the others."""
        lengths = self._ordered[: bisect_right(self._ordered, len(key))]
        patterns = [key[:length] + b"*" for length in lengths]
        patterns.append(key)
        return [pattern for pattern in patterns if pattern in self._alone or pattern in self._among_others]

    def _remember(self, changes: list[Change]) -> None:
        self._recent.extend(changes)
        self._held += sum(_cost(change) for change in changes)
        while self._held > self._recent_bytes:
            self._held -= _cost(self._recent.popleft())


def _cost(change: Change) -> int:
    return len(change.key) + len(change.value) + CHANGE_OVERHEAD
