"""The values that cross the seams between the layers.  All are immutable.

Revisions, deadlines and outcomes stay ASCII digits in `bytes`, as the store holds them and the wire
sends them: most pass through the daemon without ever being counted with.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import NamedTuple

TEXT = b"t"
"""The kind of a value that travels verbatim."""
BYTES = b"b"
"""The kind of a value that travels in base64."""
LARGEST_VALUE = 256 * 1024 * 1024
"""Bytes: a value must fit into one Redis argument (512 MiB), also in the script's reply."""
ALL_KEYS = b"*"
"""The pattern that matches every key."""
MOST_PATTERNS = 1024
"""Patterns in one watch: what one connection may make the hub keep."""


class Record(NamedTuple):
    """What the store holds for one key.

    revision: bytes, the digits of the revision of the change that wrote the key.
    deadline: bytes, digits: milliseconds of the store's clock; b"0" for a key that does not expire.
    kind: bytes, TEXT or BYTES.
    value: bytes; b"" if the record is large.
    large: bool, the value is kept apart in the store and has not been fetched.
    apart: int, of a large record, how many bytes the value has.
    owner: bytes, the key with which this one lives, b"" if there is none.  Its deadline counts for this one, too, and
    stands in `deadline` where the store has looked at both at once.
    has_others: bool, others live with this key, or have.
    """

    revision: bytes
    deadline: bytes
    kind: bytes
    value: bytes
    large: bool = False
    apart: int = 0
    owner: bytes = b""
    has_others: bool = False


class Kept(NamedTuple):
    """What is kept of a whole record that lives alone and does not expire, in as little memory as will do: who reads
    many keys waits for that.

    value, revision, kind: as of a `Record`.
    """

    value: bytes
    revision: bytes
    kind: bytes

    @property
    def deadline(self) -> bytes:
        """It does not expire."""
        return b"0"

    def record(self) -> Record:
        """The record."""
        return Record(self.revision, b"0", self.kind, self.value)


AtHand = Record | Kept
"""What tells a reader's answer."""


class Moment(NamedTuple):
    """Which log entry a change is of: the revision at which that ends (int), and when it was written, by the store's
    clock: milliseconds (int), 0 where that is not known."""

    entry: int
    time: int


UNKNOWN = Moment(0, 0)


class Change(NamedTuple):
    """One entry of the store's history.

    revision: int.
    verb: bytes, one of b"SET", b"DEL", b"EXPIRE".
    key: bytes.
    kind: bytes, TEXT or BYTES, and value: bytes; TEXT and b"" unless the verb is SET.
    more: bool, the next change belongs to the same transaction.
    deadline: int, of a SET, milliseconds of the store's clock at which the key will expire, 0 if it will not.
    owner: bytes, of a SET, the key with which this one lives, b"" if there is none.
    apart: int, how many bytes the value has, if it is kept apart in the store and has not been fetched; else 0.
    transaction: int, the revision of the last change of its transaction; 0 if it is alone.
    moment: when it was made.
    """

    revision: int
    verb: bytes
    key: bytes
    kind: bytes = TEXT
    value: bytes = b""
    more: bool = False
    deadline: int = 0
    owner: bytes = b""
    apart: int = 0
    transaction: int = 0
    moment: Moment = UNKNOWN

    @property
    def size(self) -> int:
        """How many bytes the value has."""
        return self.apart or len(self.value)


class Entry(NamedTuple):
    """One entry of the store's log: the changes of one batch, and the tag that no other batch has."""

    tag: bytes
    changes: list[Change]


class Position(NamedTuple):
    """A place in the history of one store: its revision (int) and the store's id (bytes)."""

    revision: int
    store: bytes

    def __bytes__(self) -> bytes:
        return b"%d@%s" % self


CHANGING = frozenset((b"SET", b"DEL", b"EXPIRE"))
"""The verbs of changes."""


class Form(NamedTuple):
    """What a watch asked for beside its patterns; those that asked for the same are sent the same lines.

    keys: bool, sizes in the place of values.
    only: frozenset, verbs of the changes that are sent; a copy is sent whole.
    batches: bool, how many changes there are of each transaction.
    time: bool, when changes were made.
    ttl: bool, of keys that are set, how long they live.
    stays: bool, with `ttl`, also of those that stay.
    """

    keys: bool = False
    only: frozenset[bytes] = CHANGING
    batches: bool = False
    time: bool = False
    ttl: bool = False
    stays: bool = False

    @property
    def wants_values(self) -> bool:
        """Whether the lines of its changes have values in them."""
        return not self.keys and b"SET" in self.only


PLAIN = Form()


class Patterns:
    """Keys and prefixes, to be asked of many keys; what another of them covers is left out."""

    def __init__(self, patterns: Iterable[bytes]) -> None:
        """patterns: keys, or prefixes with `*` after them."""
        unique = frozenset(patterns)
        # Sorted, and none begins with another: so only the last one up to a key can be what the key begins with.
        self._prefixes: list[bytes] = []
        for prefix in sorted(pattern[:-1] for pattern in unique if pattern.endswith(b"*")):
            if not self._prefixes or not prefix.startswith(self._prefixes[-1]):
                self._prefixes.append(prefix)
        self._exact: frozenset[bytes] = frozenset()
        self._exact = frozenset(key for key in unique if not key.endswith(b"*") and not self.match(key))

    @property
    def words(self) -> tuple[bytes, ...]:
        """What is left of what was given, in order; a key matches one of them at the most."""
        return (*(prefix + b"*" for prefix in self._prefixes), *sorted(self._exact))

    def match(self, key: bytes) -> bool:
        """Whether a key is one of the keys or begins with one of the prefixes; their number hardly matters."""
        place = bisect_right(self._prefixes, key)
        return (place > 0 and key.startswith(self._prefixes[place - 1])) or key in self._exact

    def covers(self, pattern: bytes) -> bool:
        """Whether every key of a pattern matches; of a key, as `match`."""
        if not pattern.endswith(b"*"):
            return self.match(pattern)
        prefix = pattern[:-1]
        place = bisect_right(self._prefixes, prefix)
        return place > 0 and prefix.startswith(self._prefixes[place - 1])

    def common(self, pattern: bytes) -> tuple[bytes, ...]:
        """What matches both these and another pattern, or a key, as keys and patterns of which none overlap."""
        if self.covers(pattern):
            return (pattern,)
        if not pattern.endswith(b"*"):
            return ()
        return tuple(word for word in self.words if word.startswith(pattern[:-1]))

    def find(self, key: bytes) -> bytes | None:
        """The one of `words` that matches a key."""
        if key in self._exact:
            return key
        return self._prefixes[bisect_right(self._prefixes, key) - 1] + b"*" if self.match(key) else None


Outcome = bytes
"""What the store says of one write: digits (with `-` from INCR) for the revision taken or the sum, b"t" done
without a revision, b"n" no such key, b"c" and digits for a condition that did not hold and the key's present
revision (of a transaction also `:` and the key), b"a" not a number, b"o" overflow, b"f" no memory left, b"z" it
depends on a record that cannot be read: not done;
b"e" and the line with which another daemon refused it;
of a transaction also AGAIN: what it demands could not be looked at in the time that there is: not done.

Of owners: b"g", digits, `:` and digits for a delete that took so many others along, and its own revision, the last one;
b"l" a TOUCH of what lives with another key, b"b" an owner that does so itself, b"m" as many as may live with one do,
b"x" a transaction that would take too many along.  b"u" and b"U" are given in the store's place to what is left of some
writes when it is gone: not done, and perhaps done."""
AGAIN = b"h"
OVER_QUOTA = b"q"
"""What the outcome begins with of a write that would go over a quota: then k for keys or b for bytes, digits for the
most that there may be, `:` and the pattern."""

Sink = Callable[[bytes], bool]
"""Takes bytes for a watcher at once and says True, or takes nothing and says False: too much waits already."""
