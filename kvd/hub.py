"""The hub: hands every change to the watchers that match, each line rendered once.  Pure and synchronous.

A watcher is a cursor into the history.  A live one gets changes as they are published.  One whose sink has no
room is set aside: it holds back nobody, and catches up from the recent changes that the hub keeps in memory.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from itertools import chain, islice

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
        self._exact: dict[bytes, set[Watcher]] = {}
        self._prefixes: dict[bytes, set[Watcher]] = {}
        self._lengths: dict[int, int] = {}
        self._watchers: set[Watcher] = set()
        self._recent: deque[Change] = deque()
        self._held = 0
        self.position = Position(0, b"")

    def __len__(self) -> int:
        return len(self._watchers)

    # ---- watchers come and go

    def add(self, watcher: Watcher) -> None:
        """Begin to serve a watcher, behind `watcher.after`, which is no later than what is published next.

        If changes behind it were published already, it is set aside at once, to catch up.
        """
        self._watchers.add(watcher)
        for key in watcher.patterns.exact:
            self._exact.setdefault(key, set()).add(watcher)
        for prefix in watcher.patterns.prefixes:
            self._prefixes.setdefault(prefix, set()).add(watcher)
            self._lengths[len(prefix)] = self._lengths.get(len(prefix), 0) + 1
        watcher.live = True
        if watcher.after < self.position.revision:
            self._set_aside(watcher, watcher.after)

    def remove(self, watcher: Watcher) -> None:
        """Serve a watcher no longer; nothing happens if it is not served."""
        if watcher not in self._watchers:
            return
        self._watchers.discard(watcher)
        for key in watcher.patterns.exact:
            _discard(self._exact, key, watcher)
        for prefix in watcher.patterns.prefixes:
            _discard(self._prefixes, prefix, watcher)
            self._lengths[len(prefix)] -= 1
            if not self._lengths[len(prefix)]:
                del self._lengths[len(prefix)]

    def complete_to(self, watcher: Watcher) -> Position:
        """The position up to which a watcher has had everything."""
        revision = max(watcher.after, self.position.revision) if watcher.live else watcher.after
        return Position(revision, self.position.store)

    # ---- the history

    def publish(self, store: bytes, changes: list[Change]) -> None:
        """Hand on the next changes."""
        lines: dict[Watcher, list[bytes]] = {}
        before = self.position.revision
        for change in changes:
            rendered = b""
            for watcher in self._matching(change.key):
                if watcher.live and change.revision > watcher.after:
                    rendered = rendered or replies.change(change, store)
                    lines.setdefault(watcher, []).append(rendered)
        self._remember(changes)
        self.position = Position(changes[-1].revision, store)
        for watcher, its_lines in lines.items():
            if not watcher.sink(b"".join(its_lines)):
                self._set_aside(watcher, max(before, watcher.after))

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
        """Give a watcher that was set aside changes, without a gap behind what it had; False: there was no room.

        Changes up to `watcher.after` are passed over, so that the same ones can be given again.  It stops behind
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

    def _matching(self, key: bytes) -> Iterable[Watcher]:
        """The watchers of a key, each once; what it costs does not grow with those that do not match."""
        prefixes = self._prefixes
        beginnings = (key[:length] for length in self._lengths if length <= len(key))
        found = [prefixes[beginning] for beginning in beginnings if beginning in prefixes]
        if key in self._exact:
            found.append(self._exact[key])
        if len(found) == 1:
            return found[0]
        return dict.fromkeys(chain.from_iterable(found))

    def _remember(self, changes: list[Change]) -> None:
        self._recent.extend(changes)
        self._held += sum(_cost(change) for change in changes)
        while self._held > self._recent_bytes:
            self._held -= _cost(self._recent.popleft())


def _cost(change: Change) -> int:
    return len(change.key) + len(change.value) + CHANGE_OVERHEAD


def _discard(watchers: dict[bytes, set[Watcher]], name: bytes, watcher: Watcher) -> None:
    watchers[name].discard(watcher)
    if not watchers[name]:
        del watchers[name]
