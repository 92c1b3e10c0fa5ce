"""What is done together, and what is demanded for it; and limits of what a user may write."""

from typing import NamedTuple

from kvd.model import Position
from kvd.requests.keys import Delete, Increment, Put, Touch, Touched


class Check(NamedTuple):
    """CHECK: what a transaction demands of one key before it.  condition: bytes, as in `Put`; b"": that it is there."""

    key: bytes
    condition: bytes = b""

    @property
    def size(self) -> int:
        return 0

    def touches(self) -> Touched:
        return (self.key,)


class CheckNone(NamedTuple):
    """CHECK of a pattern with `*` and if=0: a transaction demands that nothing matches it."""

    pattern: bytes

    @property
    def key(self) -> bytes:
        return self.pattern

    @property
    def size(self) -> int:
        return 0

    def touches(self) -> Touched:
        return (self.pattern,)


class CheckSince(NamedTuple):
    """CHECK with since=: a transaction demands that nothing which matches has changed after a position.

    reached: int, up to which revision it is known whether that is so, 0 for not at all.
    newest: bytes, revision and key of the last change up to there that matches, b"" for none.
    """

    pattern: bytes
    since: Position
    reached: int = 0
    newest: bytes = b""

    @property
    def key(self) -> bytes:
        return self.pattern

    @property
    def size(self) -> int:
        return 0

    def touches(self) -> Touched:
        return (self.pattern,)


class Transaction(NamedTuple):
    """COMMIT: writes that are done together or not at all, and what is demanded for it."""

    writes: tuple["Put | Delete | Touch | Increment | Check | CheckNone | CheckSince", ...]

    @property
    def size(self) -> int:
        return sum(write.size for write in self.writes)

    def touches(self) -> Touched:
        return tuple(write.key for write in self.writes)


class Limited(NamedTuple):
    """A write, or a transaction, of somebody who may not fill the store.

    quota: bytes, for each limit a line of its pattern, the most keys and the most bytes that may match it, - for any.
    """

    write: "Put | Increment | Transaction"
    quota: bytes

    @property
    def size(self) -> int:
        return self.write.size

    def touches(self) -> Touched:
        return self.write.touches()


Write = Put | Delete | Touch | Increment | Transaction
AnyWrite = Write | Limited
"""What the store does."""
Demand = Check | CheckNone | CheckSince
"""What only a transaction may have."""
