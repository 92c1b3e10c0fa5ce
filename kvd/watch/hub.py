"""The hub: hands every change to the watchers that match, each line rendered once for all who want it alike.  Pure and
synchronous.

A watcher is a cursor into the history.  A live one gets changes as they are published.  One that begins in the past, or
whose sink is full, is set aside: it holds back nobody, and catches up, step by step, with those changes only that
match.  Which these are, the change index knows; recent ones are in memory, others have to be fetched first.
"""

from collections.abc import Callable, Sequence
from enum import Enum, auto
from itertools import pairwise

from kvd.counts import Counts, Tally
from kvd.metrics import ENDED, LAG
from kvd.model import PLAIN, Change, Form, Patterns, Position
from kvd.watch.groups import Group
from kvd.watch.index import ChangeIndex
from kvd.watch.memory import FetchedChanges, RecentChanges
from kvd.watch.portions import Name, Portion, Portions
from kvd.watch.rendering import Clock, age_of, line_of, pieced
from kvd.watch.spread import retry_hint
from kvd.watch.watcher import Watcher
from kvd.wire import replies

LEFT = "left"
"""Why a watch ends of which the client has had enough, or is gone, and
COMPACTED: one that lags behind what is kept."""
COMPACTED = "compacted"
WHY_ALL_END = {
    "store": "the store's history was replaced; read again and watch anew",
    "compacted": "changes were dropped before they could be sent; read again and watch anew",
}
"""What is said, by the code, when every watch ends."""
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


class Hub:
    """All watchers of one daemon.  Call `start` before the first, and whenever the history begins anew."""

    def __init__(
        self, memory: RecentChanges | None = None, index_changes: int = INDEX_CHANGES, counts: Counts | None = None,
        clock: Clock = lambda: 0,
    ) -> None:  # fmt: skip
        """memory: for the latest changes.  index_changes: int, how many changes the index keeps.

        counts: where watchers are counted.  clock: the store's, for times to live.
        """
        self.clock = clock
        self._counts = counts or Counts()
        self._ended, self._lag = Tally(ENDED, self._counts), Tally(LAG, self._counts)
        self.index = ChangeIndex(index_changes)
        self.fetched = FetchedChanges()
        self._recent = RecentChanges() if memory is None else memory
        self._groups: dict[Form, Group] = {}
        # What is being copied with its values.
        self.copied: set[Patterns] = set()
        self._watchers: set[Watcher] = set()
        # What is to be called, and once which revision is published.
        self._waiting: dict[Callable[[], None], int] = {}
        self._portions = Portions()
        self.position = Position(0, b"")

    def __len__(self) -> int:
        return len(self._watchers)

    @property
    def floor(self) -> int:
        """The revision after which all changes are known here, and in memory."""
        return max(self.index.floor, self.position.revision - len(self._recent))

    # ---- watchers come and go

    def add(self, watcher: Watcher) -> None:
        """Begin to serve a watcher, after `watcher.after`, which is no later than what is published next.

        If changes after it were published already, it is set aside at once, to catch up.
        """
        self._watchers.add(watcher)
        watcher.counts = self._counts
        self._counts.watchers = len(self._watchers)
        if watcher.form not in self._groups:
            self._groups[watcher.form] = Group(watcher.form, self.clock)
        self._groups[watcher.form].add(watcher)
        watcher.live = True
        if watcher.after < self.position.revision:
            watcher.fall_behind(watcher.after)

    def serves(self, watcher: Watcher) -> bool:
        """Whether a watcher was added, and neither removed nor ended."""
        return watcher in self._watchers

    def remove(self, watcher: Watcher, why: str = LEFT) -> None:
        """Serve a watcher no longer; nothing happens if it is not served.  why: for the count."""
        if watcher not in self._watchers:
            return
        self._ended.add(self._ended.place(why))
        self._watchers.discard(watcher)
        self._counts.watchers = len(self._watchers)
        self._counts.catching_up -= not watcher.live
        group = self._groups[watcher.form]
        group.remove(watcher)
        if group.is_empty:
            del self._groups[watcher.form]

    def wants_value(self, key: bytes) -> bool:
        """Whether the large values of a key are to be read: not if all who watch it want it without."""
        wanted = [group.form.wants_values for group in self._groups.values() if group.matches(key)]
        return not wanted or any(wanted) or any(patterns.match(key) for patterns in self.copied)

    def complete_to(self, watcher: Watcher) -> Position:
        """The position up to which a watcher has had everything."""
        revision = max(watcher.after, self.position.revision) if watcher.live else watcher.after
        return Position(revision, self.position.store)

    # ---- the history

    def publish(self, store: bytes, changes: list[Change]) -> None:
        """Hand on the next changes."""
        before = self.position.revision
        # Those would end before these changes.
        self._portions.clear()
        self._recent.add(changes)
        self.index.append(changes)
        self.position = Position(changes[-1].revision, store)
        if self._groups and (written := changes[0].moment.time):
            self._lag.observe(0, max(0, self.clock() - written) / 1000, len(changes))
        for group in tuple(self._groups.values()):
            group.publish(store, before, changes)
        if self._waiting:
            self._call_waiting()

    def start(self, position: Position) -> None:
        """The history begins here: nothing before it will be published."""
        self._recent.clear()
        self.fetched.clear()
        self._portions.clear()
        self.index.start(position.revision)
        self.position = position
        waiting, self._waiting = self._waiting, {}
        for callback in waiting:
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
        self.remove(watcher, code)
        watcher.ended(line)

    def catch_up(self, watcher: Watcher) -> Step:
        """Give a watcher that was set aside some of its next lines, and say how to go on.

        LIVE: it has everything.  MORE: call again, when others have had their turn.  FULL: call again when the sink is
        writable.  NOT_INDEXED: the index must cover `watcher.after` first.  NOT_IN_MEMORY: changes that it needs must
        be `fetched` first; see `missing`.
        """
        if watcher.live or watcher not in self._watchers:
            return Step.LIVE
        if watcher.after >= self.position.revision:
            watcher.live = True
            self._counts.catching_up -= 1
            watcher.coming = []
            return Step.LIVE
        name = self._name(watcher)
        portion = self._portions.get(name)
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
            self._portions.add(name, portion)
        if portion.lines and not watcher.sink(portion.lines):
            return Step.FULL
        _, watcher.after, watcher.coming, watcher.joined, watcher.known_to = portion
        return Step.MORE

    def _name(self, watcher: Watcher) -> Name:
        """Of what comes next for a watcher, the same for all that are to be given the same."""
        words, form, after = watcher.patterns.words, watcher.form, watcher.after
        return (words, after) if form is PLAIN else (words, after, form, age_of(form, self.clock))

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
        form = watcher.form
        render, values = line_of(form, self.clock), form.wants_values
        changes: list[Change] = []
        lines: list[bytes] = []
        size = 0
        given = 0
        for number, revision in enumerate(watcher.coming):
            change = self.known(revision, values)
            if change is None:
                break
            changes.append(change)
            lines.append(render(change, self.position.store))
            size += len(lines[-1])
            if revision not in watcher.joined:
                given = number + 1
                if size >= PUSH_BYTES:
                    break
        if not given:
            return None
        last, coming = watcher.coming[given - 1], watcher.coming[given:]
        last = last if coming else max(last, watcher.known_to)
        text = pieced(changes[:given], lines[:given], form)
        return Portion(text, last, coming, watcher.joined, watcher.known_to)

    def known(self, revision: int, values: bool = True) -> Change | None:
        """The change with a revision, if it is in memory, and with its value, if values are wanted."""
        change = self._recent.get(revision) or self.fetched.get(revision)
        if change and change.apart and values:
            change = self.fetched.get(revision)
            return None if change and change.apart else change
        return change

    def missing(self, watcher: Watcher) -> list[int]:
        """Revisions of the changes that come next for a watcher and are not in memory."""
        values = watcher.form.wants_values
        return [revision for revision in watcher.coming if self.known(revision, values) is None]

    def when_reached(self, revision: int, callback: Callable[[], None]) -> None:
        """Have something called once a revision is published, or the history begins anew."""
        self._waiting[callback] = revision

    def wait_no_longer(self, callback: Callable[[], None]) -> None:
        """Have something not called that was to be called once a revision is published."""
        self._waiting.pop(callback, None)

    def _call_waiting(self) -> None:
        reached = [callback for callback, revision in self._waiting.items() if revision <= self.position.revision]
        for callback in reached:
            del self._waiting[callback]
        for callback in reached:
            callback()

    def progress(self, watcher: Watcher) -> None:
        """Tell a watcher how far it has come, if its sink takes the line."""
        if watcher in self._watchers:
            watcher.sink(replies.progress(self.complete_to(watcher)))
