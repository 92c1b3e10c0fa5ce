"""What happened: every request with its times and its reply, every watch with its lines, and the store at the end."""

import hashlib
import math
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import NamedTuple

LONG_VALUE = 80
"""Characters of a value that are recorded as they are; a longer one is recorded as its beginning and its digest."""

MORTAL = 8
"""Keys with a time to live that others look at: few, so that each is read again and again around its end."""


class Violation(Exception):
    """The daemon broke a promise; the text says which, and where to look."""


class HistoryReplaced(Violation):
    """Positions of before are refused: the daemon takes the history for another one."""


class Write(NamedTuple):
    """One write.

    verb: SET, PUT, DEL, INCR or TOUCH; NEW for a PUT whose key nobody knows yet.  value: as `form` gives it; no two
    writes have the same, nor the same amount.
    ttl: seconds, 0 for none.  condition: the revision that if= names, -1 without if=.
    owner: with which key it is to live, "" for none.
    """

    verb: str
    key: str
    value: str = ""
    amount: int = 0
    ttl: float = 0
    condition: int = -1
    owner: str = ""


class Read(NamedTuple):
    """One read.  verb: GET, GETS or LIST; key: of LIST, the beginning of the keys."""

    verb: str
    key: str


class Transaction(NamedTuple):
    """What stood between BEGIN and `end`, which is COMMIT or ABORT.

    Each write makes exactly one change.  spoiled: one more request was among them, a wrong one.
    checks: what CHECK demands, each a Write of that verb with its condition; they make no change.
    """

    writes: tuple[Write, ...]
    end: str = "COMMIT"
    spoiled: bool = False
    checks: tuple[Write, ...] = ()


class Pair(NamedTuple):
    """A line of a listing or a copy; value: as `form` gives it, None if the key is gone."""

    revision: int
    key: str
    value: str | None


class Reply(NamedTuple):
    """A reply, or CUT: the request's last line was not sent to its end, so that it was never made.

    number: the revision, or INCR's sum, or the position's revision.  key: of COMMIT's CONFLICT.
    text: of ERR, the code and the text.
    """

    word: str
    number: int = 0
    value: str = ""
    key: str = ""
    text: str = ""
    items: tuple[Pair, ...] = ()


CUT = Reply("CUT")


class Operation(NamedTuple):
    """One request; times are of the monotonic clock; without a reply, `end` is infinite.

    The requests of one connection are recorded in their order.
    """

    connection: int
    what: Write | Read | Transaction
    start: float
    end: float = math.inf
    reply: Reply | None = None

    @property
    def unknown(self) -> bool:
        """Whether it may have been done, or not."""
        return self.reply is None or self.code == "uncertain"

    @property
    def refused(self) -> bool:
        """Whether it was answered that it was certainly not done."""
        return self.code not in ("", "uncertain")

    @property
    def code(self) -> str:
        """Of a request that was answered ERR, the error's."""
        return self.reply.text.partition(" ")[0] if self.reply and self.reply.word == "ERR" else ""

    @property
    def answered(self) -> bool:
        """Whether it was told what it had asked for: of a read, what there is."""
        return self.reply is not None and self.reply.word in ("OK", "NONE")

    @property
    def done(self) -> bool:
        """Whether it was acknowledged."""
        aborted = isinstance(self.what, Transaction) and self.what.end == "ABORT"
        return self.reply is not None and self.reply.word == "OK" and not aborted


class Change(NamedTuple):
    """A CHANGE line.  verb: SET (for SET64 too), DEL or EXPIRE; value: as `form` gives it."""

    revision: int
    verb: str
    key: str
    value: str = ""


class Mark(NamedTuple):
    """Any other line that a watcher got.  word: PROGRESS, END, UNWATCH (its OK), FINAL (the end of the test), REPLY.

    revision: of the position in it; everything up to there that matches must stand before it.
    """

    word: str
    revision: int = 0


@dataclass(slots=True)
class Watch:
    """One watch, from its OK on.

    asked: the revision that RESUME named.  begin: that of the OK's position.  copy: the items before the OK.
    lost: when the connection was, neither by the watcher's own doing nor after an END; infinite if it was not.
    """

    watcher: str
    verb: str
    patterns: tuple[str, ...]
    asked: int
    begin: int
    start: float
    end: float
    copy: tuple[Pair, ...] = ()
    events: list[Change | Mark] = field(default_factory=list)
    lost: float = math.inf


class Fault(NamedTuple):
    """What was done to the daemon, and from when to when; the end is infinite until it is over."""

    what: str
    begin: float
    end: float = math.inf


class Listing(NamedTuple):
    """The whole store, as LIST gave it at the end.  position: the revision of its position; end: when it was read."""

    position: int
    end: float
    pairs: tuple[Pair, ...]


@dataclass(slots=True)
class History:
    """All that was recorded.

    changes: by revision.  seen: when each was first seen.
    full: from when to when the disk was full.  acknowledged: how many writes were.
    read_sent: when the latest of the reads that were answered had been sent.
    ends: why watches ended, or were not begun, and how often.
    mortal: the keys that were the last to get a time to live, for others to look at.
    wards: those that were the last to live with another, each with that one.
    """

    operations: list[Operation] = field(default_factory=list)
    watches: list[Watch] = field(default_factory=list)
    changes: dict[int, Change] = field(default_factory=dict)
    seen: dict[int, float] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    full: list[tuple[float, float]] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    mortal: deque[str] = field(default_factory=lambda: deque(maxlen=MORTAL))
    wards: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=MORTAL))
    final: Listing | None = None
    acknowledged: int = 0
    read_sent: float = 0

    def add(self, operation: Operation) -> None:
        """Record a request."""
        self.operations.append(operation)
        if isinstance(operation.what, Read):
            if operation.answered:
                self.read_sent = max(self.read_sent, operation.start)
        else:
            self.acknowledged += operation.done
            if isinstance(operation.what, Write) and operation.what.ttl:
                self.mortal.append(operation.what.key)
            if isinstance(operation.what, Write) and operation.what.owner:
                self.wards.append((operation.what.key, operation.what.owner))

    def see(self, change: Change, now: float) -> Change:
        """Record a change that a watcher saw; the same object for all who saw the same."""
        known = self.changes.setdefault(change.revision, change)
        if known != change:
            raise Violation(f"one watcher saw {known}, another {change}")
        self.seen.setdefault(change.revision, now)
        return known


def form(text: str, *, base64: bool = False) -> str:
    """A value as it travels, with what tells text from base64; long ones shortened."""
    if len(text) > LONG_VALUE:
        text = f"{text[:40]}...{len(text)}:{hashlib.blake2s(text.encode()).hexdigest()}"
    return f"base64:{text}" if base64 else f"text:{text}"
