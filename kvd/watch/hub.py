"""The hub: hands every change to the watchers that match, each line rendered once.  Pure and synchronous.

A watcher is a cursor into the history.  A live one gets changes as they are published.  One that begins in the past, or
whose sink has no room, is set aside: it holds back nobody, and catches up, step by step, with those changes only that
match.  Which these are, the change index knows; recent ones are in memory, others have to be fetched first.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import pairwise

from kvd.model import Change, Patterns, Position, Sink
from kvd.watch.index import ChangeIndex
from kvd.watch.memory import FetchedChanges, RecentChanges
from kvd.watch.portions import Portion, Portions
from kvd.watch.spread import retry_hint
from kvd.wire import replies

COMPACTED = "compacted"
"""Why a watch ends that lags behind what is kept."""
STEP_CHANGES = 256
"""Changes of one watcher that are looked for at once in catching up, so that others have their turn."""
PUSH_BYTES = 32 * 1024
"""Bytes of lines that are pushed at once in catching up, the last transaction excepted."""
INDEX_CHANGES = 100_000
"""Changes whose keys are known, unless the store keeps another number of them."""
LEAST_INDEX_CHANGES = 5000
"""Changes whose keys are known even if the store keeps fewer: a copy needs those since its last page."""


class Step(Enum):
    """How catching up goes on; see `Hub.catch_up`."""

    LIVE = auto()
    MORE = auto()
    FULL = auto()
    NOT_INDEXED = auto()
    NOT_IN_MEMORY = auto()


@dataclass(eq=False, slots=True)
class Watcher:
    """One watch.

    sink: takes lines at once, or refuses for want of room.
    set_aside: called when it has to catch up; then `Hub.catch_up` is to be called.
    full: called when the sink has refused in catching up, which is to go on when there is room.
    ended: called with the END line when the hub ends the watch.
    after: int, the revision up to which the sink has had everything (for a live one: from which it began).
    coming: revisions of the next changes that match, while it catches up; there are no others up to `known_to`.
    joined: those of them after which no push may end: the next one belongs to the same transaction.
    """

    patterns: Patterns
    sink: Sink
    set_aside: Callable[[], None]
    full: Callable[[], None]
    ended: Callable[[bytes], None]
    after: int = 0
    live: bool = True
    coming: list[int] = field(default_factory=list)
    joined: frozenset[int] = frozenset()
    known_to: int = 0


class Hub:
    """All watchers of one daemon.  Call `start` before the first, and whenever the history begins anew."""

    def __init__(self, memory: RecentChanges | None = None, index_changes: int = INDEX_CHANGES) -> None:
        """memory: for the latest changes.  index_changes: int, how many changes the index keeps."""
        self.index = ChangeIndex(index_changes)
        self.fetched = FetchedChanges()
        self._recent = RecentChanges() if memory is None else memory
        # By pattern: those that watch nothing else, and those that do.
        self._alone: dict[bytes, set[Watcher]] = {}
        self._among_others: dict[bytes, set[Watcher]] = {}
        # Lengths of the prefixes, how many have it, and which there are, in order.
        self._lengths: dict[int, int] = {}
        self._ordered: list[int] = []
        self._watchers: set[Watcher] = set()
        self._waiting: list[tuple[int, Callable[[], None]]] = []
        self._portions = Portions()
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

    def serves(self, watcher: Watcher) -> bool:
        """Whether a watcher was added, and neither removed nor ended."""
        return watcher in self._watchers

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
        # Those would end before these changes.
        self._portions.clear()
        self._recent.add(changes)
        self.index.append(changes)
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
        if self._waiting:
            self._call_waiting()

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
        self.fetched.clear()
        self._portions.clear()
        self.index.start(position.revision)
        self.position = position
        waiting, self._waiting = self._waiting, []
        for _, callback in waiting:
            callback()

    def end_all(self, code: str, text: str) -> None:
        """End every watch."""
        self.end_some(list(self._watchers), code, text)

    def end_some(self, watchers: Sequence[Watcher], code: str, text: str) -> None:
        """End some watches at once.  Those that are to come back, and are many, are told when."""
        spread = code == COMPACTED and len(watchers) > 1
        for watcher in watchers:
            self.end(watcher, code, f"{retry_hint(len(watchers))} {text}" if spread else text)

    def end(self, watcher: Watcher, code: str, text: str) -> None:
        """End one watch, and say why; nothing happens if it is not served."""
        if watcher not in self._watchers:
            return
        line = replies.end(self.complete_to(watcher), code, text)
        self.remove(watcher)
        watcher.ended(line)

    def catch_up(self, watcher: Watcher) -> Step:
        """Give a watcher that was set aside some of its next lines, and say how to go on.

        LIVE: it has everything.  MORE: call again, when others have had their turn.  FULL: call again when there is
        room.  NOT_INDEXED: the index must cover `watcher.after` first.  NOT_IN_MEMORY: changes that it needs must be
        `fetched` first; see `missing`.
        """
        if watcher.live or watcher not in self._watchers:
            return Step.LIVE
        if watcher.after >= self.position.revision:
            watcher.live = True
            watcher.coming = []
            return Step.LIVE
        portion = self._portions.get(words := watcher.patterns.words, watcher.after)
        if portion is None:
            if not watcher.coming:
                if not self.index.covers(watcher.after):
                    return Step.NOT_INDEXED
                self._look_ahead(watcher)
                if not watcher.coming:
                    watcher.after = watcher.known_to
                    return self.catch_up(watcher) if watcher.after >= self.position.revision else Step.MORE
            portion = self._portion(watcher)
            if portion is None:
                return Step.NOT_IN_MEMORY
            self._portions.add(words, watcher.after, portion)
        if not watcher.sink(portion.lines):
            return Step.FULL
        _, watcher.after, watcher.coming, watcher.joined, watcher.known_to = portion
        return Step.MORE

    def _look_ahead(self, watcher: Watcher) -> None:
        """Find what comes next, and all that has to be known of it: the index may have dropped it when it is pushed."""
        coming, watcher.known_to = self.index.find(watcher.patterns, watcher.after, STEP_CHANGES)
        watcher.coming = coming
        watcher.joined = frozenset(
            one for one, following in pairwise(coming) if self.index.is_one_transaction(one, following)
        )

    def _portion(self, watcher: Watcher) -> Portion | None:
        """What comes next and is in memory, as much as makes a step, and of a transaction all or nothing.

        None if that is nothing.
        """
        lines: list[bytes] = []
        size = 0
        given = 0
        for number, revision in enumerate(watcher.coming):
            change = self.known(revision)
            if change is None:
                break
            lines.append(replies.change(change, self.position.store))
            size += len(lines[-1])
            if revision not in watcher.joined:
                given = number + 1
                if size >= PUSH_BYTES:
                    break
        if not given:
            return None
        last, coming = watcher.coming[given - 1], watcher.coming[given:]
        return Portion(
            b"".join(lines[:given]), last if coming else max(last, watcher.known_to), coming, watcher.joined,
            watcher.known_to,
        )  # fmt: skip

    def known(self, revision: int) -> Change | None:
        """The change with a revision, if it is in memory."""
        return self._recent.get(revision) or self.fetched.get(revision)

    def missing(self, watcher: Watcher) -> list[int]:
        """Revisions of the changes that come next for a watcher and are not in memory."""
        return [revision for revision in watcher.coming if self.known(revision) is None]

    def when_reached(self, revision: int, callback: Callable[[], None]) -> None:
        """Have something called once a revision is published, or the history begins anew."""
        self._waiting.append((revision, callback))

    def _call_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for revision, callback in waiting:
            if revision <= self.position.revision:
                callback()
            else:
                self._waiting.append((revision, callback))

    def progress(self, watcher: Watcher) -> None:
        """Tell a watcher how far it has come, if there is room for the line."""
        if watcher in self._watchers:
            watcher.sink(replies.progress(self.complete_to(watcher)))

    def _set_aside(self, watcher: Watcher, after: int) -> None:
        watcher.live = False
        watcher.after = after
        watcher.coming = []
        watcher.set_aside()

    def _patterns_of(self, key: bytes) -> Iterable[bytes]:
        """The patterns that match a key and are watched; what it costs does not grow with the others."""
        lengths = self._ordered[: bisect_right(self._ordered, len(key))]
        patterns = [key[:length] + b"*" for length in lengths]
        patterns.append(key)
        return [pattern for pattern in patterns if pattern in self._alone or pattern in self._among_others]
