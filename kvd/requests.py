"""What clients ask for, as the wire's grammar gives it and the store takes it.  All are immutable.

Each says which keys and patterns it touches (`touches`); what goes to the store in groups says how many bytes of values
are in it (`size`).
"""

from typing import NamedTuple

from kvd.model import PLAIN, Form, Position

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


class SimpleSets(NamedTuple):
    """SETs of texts that the store keeps in their records, without a time to live or a condition.

    lines: bytes, for each key a line of the key, a space, the value and a line feed.
    """

    keys: list[bytes]
    lines: bytes

    @property
    def adds(self) -> bool:
        return False


class SimpleWrites(NamedTuple):
    """PUTs of texts that the store keeps in their records, with and without a time to live, and INCRs; no conditions.

    runs: bytes, for each run of those that are alike, their life, a space, how many they are, a space; the life is the
    time to live in milliseconds, 0 for none, or + for INCRs.
    pairs: list[bytes], the key and the value, or amount, of each in turn.
    """

    runs: bytes
    pairs: list[bytes]

    @property
    def keys(self) -> list[bytes]:
        return self.pairs[::2]

    @property
    def adds(self) -> bool:
        """Whether any is an INCR."""
        return b"+" in self.runs


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


class Watch(NamedTuple):
    """WATCH, SYNC: the patterns, and in which form the lines are wanted."""

    patterns: tuple[bytes, ...]
    form: Form = PLAIN

    def touches(self) -> Touched:
        return self.patterns


class Auth(NamedTuple):
    """AUTH: a user's name and password; the password is not shown."""

    user: bytes
    password: bytes

    def touches(self) -> Touched:
        return ()

    def __repr__(self) -> str:
        return f"Auth(user={self.user!r})"


class ClientName(NamedTuple):
    """What a connection is called: the id of its process, and how manieth it is there."""

    process: int
    number: int

    def __bytes__(self) -> bytes:
        return b"%d-%d" % self

    def __str__(self) -> str:
        return f"{self.process}-{self.number}"


class ClientRange(NamedTuple):
    """CLIENTS: the connections after one (None: from the first on), `limit` (int) at the most, 0 for all."""

    after: ClientName | None = None
    limit: int = 0

    def touches(self) -> Touched:
        return ()


class Kick(NamedTuple):
    """KICK: the connection that is to end."""

    name: ClientName

    def touches(self) -> Touched:
        return ()


class Ping(NamedTuple):
    """PING: the text to give back, None for none."""

    text: bytes | None = None

    def touches(self) -> Touched:
        return ()


class Help(NamedTuple):
    """HELP: the verb in capitals, None for all."""

    verb: bytes | None = None

    def touches(self) -> Touched:
        return ()


class Info(NamedTuple):
    """INFO: the section of the metrics, "" for what a client needs to know."""

    section: str = ""

    def touches(self) -> Touched:
        return ()


class Nothing(NamedTuple):
    """Of verbs without arguments."""

    def touches(self) -> Touched:
        return ()


class Resume(NamedTuple):
    """RESUME: the position after which to begin, and what `Watch` has."""

    position: Position
    patterns: tuple[bytes, ...]
    form: Form = PLAIN

    def touches(self) -> Touched:
        return self.patterns


class Follow(NamedTuple):
    """FOLLOW: the position after which to go on, None where there is none yet, and what `Watch` has."""

    position: Position | None
    patterns: tuple[bytes, ...]
    form: Form = PLAIN

    def touches(self) -> Touched:
        return self.patterns


class History(NamedTuple):
    """CHANGES: the changes after a position that match, `limit` (int) at the most, and their form."""

    position: Position
    patterns: tuple[bytes, ...]
    limit: int
    form: Form = PLAIN

    def touches(self) -> Touched:
        return self.patterns


class Interval(NamedTuple):
    """PROGRESS: milliseconds (int) between lines; 0 for none."""

    milliseconds: int

    def touches(self) -> Touched:
        return ()


Write = Put | Delete | Touch | Increment | Transaction
AnyWrite = Write | Limited
"""What the store does."""
Simple = SimpleSets | SimpleWrites
"""The most usual writes, in forms that cost the least."""
Demand = Check | CheckNone | CheckSince
"""What only a transaction may have."""
Request = (
    Read | LateRead | Write | Demand | DeleteRange | KeyRange | Watch | Resume | Follow | History
    | Interval | Auth | ClientRange | Kick | Ping | Help | Info | Nothing
)  # fmt: skip
