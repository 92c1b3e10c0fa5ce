"""Reads and writes of keys."""

from typing import NamedTuple

from kvd.model import Position

Touched = tuple[bytes, ...]
"""Keys and patterns."""
NUMBERED = b"*"
"""In the place of a condition: the key ends in `*`, in whose place the store puts the change's revision; it is new."""


class Read(NamedTuple):
    """GET, GETS, TTL: look at one key."""

    key: bytes

    @property
    def size(self) -> int:
        return 0

    def touches(self) -> Touched:
        return (self.key,)


class LateRead(NamedTuple):
    """GET, GETS with min=: look at one key once the daemon shows a position."""

    key: bytes
    reached: Position

    def touches(self) -> Touched:
        return (self.key,)


class KeyRange(NamedTuple):
    """KEYS, LIST, COUNT: the keys that match a pattern.

    after, before: bytes, the keys between which those are, b"" for no bound.
    limit: int, how many at the most, 0 for all.
    reverse: bool, from the last to the first.
    fold: bytes, give once what keys begin with up to this, which comes after what the pattern names; b"" for none.
    owner: bytes, only those that live with this key; b"" for all.
    reached: a position that the daemon is to show first, None for none.
    """

    pattern: bytes
    after: bytes = b""
    limit: int = 0
    before: bytes = b""
    reverse: bool = False
    fold: bytes = b""
    owner: bytes = b""
    reached: Position | None = None

    def touches(self) -> Touched:
        return (self.pattern,)


class Put(NamedTuple):
    """SET, PUT: write one key.

    kind: bytes, TEXT or BYTES.  ttl: int, milliseconds, 0 for none.
    condition: bytes, what `if=` said (`REV` or `REV@STORE`), b"" for none, or NUMBERED.
    owner: bytes, the key with which this one is to live, b"" for none; then there is no ttl.
    """

    key: bytes
    kind: bytes
    value: bytes
    ttl: int = 0
    condition: bytes = b""
    owner: bytes = b""

    @property
    def size(self) -> int:
        return len(self.value)

    def touches(self) -> Touched:
        return (self.key,)


class Delete(NamedTuple):
    """DEL: remove one key.  condition: bytes, as in `Put`."""

    key: bytes
    condition: bytes = b""

    @property
    def size(self) -> int:
        return 0

    def touches(self) -> Touched:
        return (self.key,)


class DeleteRange(NamedTuple):
    """DEL of a pattern with `*`: remove the keys that match, `limit` (int) at the most, 0 for all."""

    pattern: bytes
    limit: int = 0

    def touches(self) -> Touched:
        return (self.pattern,)


class Touch(NamedTuple):
    """TOUCH: give one key another time to live, in milliseconds (int); 0 removes it.  condition: bytes, as in `Put`."""

    key: bytes
    ttl: int
    condition: bytes = b""

    @property
    def size(self) -> int:
        return 0

    def touches(self) -> Touched:
        return (self.key,)


class Increment(NamedTuple):
    """INCR: add to one key's number.  amount: bytes, a decimal integer."""

    key: bytes
    amount: bytes

    @property
    def size(self) -> int:
        return 0

    def touches(self) -> Touched:
        return (self.key,)
