"""One watch, as the hub serves it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from kvd.counts import Counts
from kvd.model import PLAIN, Form, Patterns, Sink

NOBODYS = Counts()
"""Of a watcher that was not added to a hub yet."""


@dataclass(eq=False, slots=True)
class Watcher:
    """One watch.

    sink: takes lines at once, or refuses when it is full.
    set_aside: called when it has to catch up; then `Hub.catch_up` is to be called.
    full: called when the sink has refused in catching up, which is to go on when it is writable.
    ended: called with the END line when the hub ends the watch.
    after: int, the revision up to which the sink has had everything (for a live one: from which it began).
    form: in which it wants its lines.
    coming: revisions of the next changes that match, while it catches up; there are no others up to `known_to`.
    joined: those of them after which no push may end: the next one belongs to the same transaction.
    counts: where it is counted while it catches up; of the hub that it is added to.
    """

    patterns: Patterns
    sink: Sink
    set_aside: Callable[[], None]
    full: Callable[[], None]
    ended: Callable[[bytes], None]
    after: int = 0
    form: Form = PLAIN
    live: bool = True
    coming: list[int] = field(default_factory=list)
    joined: frozenset[int] = frozenset()
    known_to: int = 0
    counts: Counts = NOBODYS

    def fall_behind(self, after: int) -> None:
        """Have it catch up from a revision on."""
        self.counts.catching_up += self.live
        self.live = False
        self.after = after
        self.coming = []
        self.set_aside()
