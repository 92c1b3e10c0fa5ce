"""The lines of changes and of copies, in the form that is asked for.  Pure."""

from collections import Counter
from collections.abc import Callable, Sequence

from kvd.model import PLAIN, Change, Form, Record
from kvd.wire import replies

Clock = Callable[[], int]
"""Gives what the store's clock is now, in milliseconds."""
Render = Callable[[Change, bytes], bytes]
"""Gives the line of a change of a store, with what comes after it; b"" for one that is not sent."""
FRESH = 50
"""Milliseconds for which lines that say how long keys live are given to others, too."""


def line_of(form: Form, clock: Clock, *, item: bool = False) -> Render:
    """How a change is rendered: as a watcher's line, or as an item of CHANGES."""
    plain = replies.changed if item else replies.change
    if form == PLAIN:
        return plain
    sized = replies.changed_size if item else replies.change_size

    def render(change: Change, store: bytes) -> bytes:
        if change.verb not in form.only:
            return b""
        line = sized(change, store) if form.keys and change.verb == b"SET" else plain(change, store)
        if not form.ttl:
            return line
        # What this daemon knows of the clock may be older than the change.
        now = max(clock(), change.moment.time)
        return line + (_life(change.key, change.owner, change.deadline, now, form) if change.verb == b"SET" else b"")

    return render


def pieced(changes: Sequence[Change], lines: Sequence[bytes], form: Form) -> bytes:
    """The lines of changes, each as `line_of` gives it, in one piece, with all that follow in a transaction."""
    if not (form.batches or form.time):
        return b"".join(lines)
    sent = [(change, line) for change, line in zip(changes, lines, strict=True) if line]
    sizes = Counter(change.transaction for change, _ in sent)
    pieces: list[bytes] = []
    transaction, moment = 0, None
    for change, line in sent:
        if form.time and change.moment != moment:
            moment = change.moment
            pieces.append(replies.time(moment.time))
        if form.batches and change.transaction != transaction:
            transaction = change.transaction
            if transaction:
                pieces.append(replies.batch(sizes[transaction]))
        pieces.append(line)
    return b"".join(pieces)


def pair(key: bytes, record: Record, form: Form, clock: Clock) -> bytes:
    """The line of a key that is in a copy, with what comes after it."""
    line = replies.size(key, record) if form.keys else replies.pair(key, record)
    return line + _life(key, record.owner, int(record.deadline), clock(), form) if form.ttl else line


def _life(key: bytes, owner: bytes, deadline: int, now: int, form: Form) -> bytes:
    """How long a key lives; of one that stays, only if that is asked for."""
    if owner:
        return replies.lives_with(key, owner)
    # The store adds a millisecond to every deadline.
    if deadline:
        return replies.ttl_left(key, max(1, deadline - 1 - now))
    return replies.stays(key) if form.stays else b""


def age_of(form: Form, clock: Clock) -> int:
    """A number that is the same for lines that may be given to all who ask for this form about now."""
    return clock() // FRESH if form.ttl else 0
