"""The values that cross the seams between the layers.  All are immutable."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """The form in which a value travels; the value is the letter that a record keeps."""

    TEXT = b"t"
    BYTES = b"b"


class Record(NamedTuple):
    """What the store holds for one key.

    revision: int, that of the change that wrote the key.
    deadline: int, milliseconds of the store's clock; 0 for a key that does not expire.
    kind: Kind.
    value: bytes.
    """

    revision: int
    deadline: int
    kind: Kind
    value: bytes


class Change(NamedTuple):
    """One entry of the store's history.

    revision: int.
    verb: bytes, one of b"SET", b"DEL", b"EXPIRE".
    key: bytes.
    kind: Kind, and value: bytes; Kind.TEXT and b"" unless the verb is SET.
    """

    revision: int
    verb: bytes
    key: bytes
    kind: Kind = Kind.TEXT
    value: bytes = b""


class Condition(NamedTuple):
    """What `if=` asks for: a revision (0: the key is absent) and, from a position, its store's id."""

    revision: int
    store: bytes = b""


@dataclass(frozen=True, slots=True)
class Read:
    """GET, GETS, TTL: look at one key."""

    key: bytes


@dataclass(frozen=True, slots=True)
class Put:
    """SET, PUT: write one key; ttl in milliseconds, 0 for none."""

    key: bytes
    kind: Kind
    value: bytes
    ttl: int = 0
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """DEL: remove one key."""

    key: bytes
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class Touch:
    """TOUCH: give one key another time to live, in milliseconds; 0 removes it."""

    key: bytes
    ttl: int


@dataclass(frozen=True, slots=True)
class Increment:
    """INCR: add to one key's number."""

    key: bytes
    amount: int


Write = Put | Delete | Touch | Increment


@dataclass(frozen=True, slots=True)
class Page:
    """KEYS, LIST, COUNT: the keys that match a pattern.

    after: bytes, the key behind which to begin, b"" for the first.
    limit: int, how many at the most, 0 for all.
    """

    pattern: bytes
    after: bytes = b""
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Words:
    """WATCH's patterns, PING's text, HELP's verb: words as they came."""

    words: tuple[bytes, ...] = ()


Arguments = Read | Write | Page | Words


class Position(NamedTuple):
    """A place in the history of one store."""

    revision: int
    store: bytes

    def __bytes__(self) -> bytes:
        return b"%d@%s" % (self.revision, self.store)


class Outcome(NamedTuple):
    """What the store says of one write.

    status: bytes, b"OK", b"NONE" or b"CONFLICT", or the wire code of a refusal.
    number: int, the revision, or the present revision, or INCR's sum; 0 where there is none.
    """

    status: bytes
    number: int = 0


Sink = Callable[[bytes], bool]
"""Takes bytes for a watcher at once and says True, or takes nothing and says False."""
