"""The lines that the server sends, each with its LF (protocol.txt, 4 to 8)."""

import binascii
from collections.abc import Callable, Iterable, Sequence

from kvd.errors import LimitReached, NotANumber, Overflow, Refusal, TooLong, Unavailable, Uncertain, Usage
from kvd.memory import FULL
from kvd.model import TEXT, AtHand, Change, Outcome, Position, Record

OK = b"OK\n"
QUEUED = b"OK queued\n"
NONE = b"NONE\n"
NO_END = b"OK -\n"


def ok(text: bytes) -> bytes:
    """`OK text`."""
    return b"OK %b\n" % text


def oks(texts: Sequence[bytes]) -> bytes:
    """`OK text` for each: GET's replies for values, all of them text, and SET's for revisions."""
    # To join copies once: of a large value, that is all there is to do.
    return b"".join((b"OK ", b"\nOK ".join(texts), b"\n"))


def refused(error: Refusal) -> bytes:
    """`ERR code text`."""
    return f"ERR {error.word} {error}\n".encode()


def base64(value: bytes) -> bytes:
    """RFC 4648, section 4, in one line."""
    return binascii.b2a_base64(value, newline=False)


def value(record: AtHand | None, now: int = 0) -> bytes:  # noqa: ARG001
    """GET's reply."""
    if record is None:
        return NONE
    if record.kind == TEXT:
        return b"OK %b\n" % record.value
    return b"OK64 %b\n" % base64(record.value)


def value_with_revision(record: AtHand | None, now: int = 0) -> bytes:  # noqa: ARG001
    """GETS's reply."""
    if record is None:
        return NONE
    if record.kind == TEXT:
        return b"OK %b %b\n" % (record.revision, record.value)
    return b"OK64 %b %b\n" % (record.revision, base64(record.value))


def seconds(milliseconds: int) -> bytes:
    """Milliseconds as the shortest plain decimal of seconds."""
    whole, part = divmod(milliseconds, 1000)
    return (b"%d.%03d" % (whole, part)).rstrip(b"0").rstrip(b".")


def ttl(record: AtHand | None, now: int) -> bytes:
    """TTL's reply; now: int, milliseconds of the store's clock."""
    if record is None:
        return NONE
    if record.deadline == b"0":
        return NO_END
    # The store adds a millisecond to every deadline, so as never to be early; nobody asked for it.
    return ok(seconds(max(1, int(record.deadline) - 1 - now)))


REFUSED: dict[Outcome, Refusal] = {
    b"a": NotANumber("the value is no decimal integer"),
    b"o": Overflow("beyond +-(2^63 - 1)"),
    b"f": Unavailable(FULL),
    b"l": Usage("the key lives with another, and ends as that one does: TOUCH that; PUT without with= frees it"),
    b"b": Usage("a key lives with one that lives by itself: no owner lives with another"),
    b"m": TooLong("as many keys live with that one as may (--owner-keys)"),
    b"x": TooLong("a transaction takes at most 1000 keys along with their owners"),
    b"z": Unavailable(
        "the store is damaged: a record cannot be read, and this depends on it; kvd check says which one; "
        "SET or PUT of its key replaces it"
    ),
    b"u": Unavailable("the store cannot be reached; this was not done; try again"),
    b"U": Uncertain("the store was lost under this write, which may have been done"),
}
"""Outcomes that are refusals."""


def _over_quota(outcome: Outcome) -> Refusal:
    most, _, pattern = outcome[2:].decode().partition(":")
    what, word = ("keys", "max-keys") if outcome[1:2] == b"k" else ("bytes", "max-bytes")
    return LimitReached(f"there may be {most} {what} at the most of {pattern} ({word}); delete some first")


_SPECIAL: dict[int, Callable[[Outcome], bytes]] = {
    ord("t"): lambda _: OK,
    ord("n"): lambda _: NONE,
    ord("c"): lambda outcome: b"CONFLICT %b\n" % outcome[1:].replace(b":", b" ", 1),
    ord("e"): lambda outcome: outcome[1:] + b"\n",
    ord("q"): lambda outcome: refused(_over_quota(outcome)),
    ord("g"): lambda outcome: ok(outcome.partition(b":")[2]),
    **{word[0]: lambda outcome: refused(REFUSED[outcome]) for word in REFUSED},
}


def written(outcome: Outcome) -> bytes:
    """The reply to any write."""
    special = _SPECIAL.get(outcome[0])
    return special(outcome) if special else b"OK %b\n" % outcome


def key(name: bytes) -> bytes:
    """KEYS's item line."""
    return b"KEY %b\n" % name


def pair(name: bytes, record: Record) -> bytes:
    """LIST's item line."""
    if record.kind == TEXT:
        return b"PAIR %b %b %b\n" % (record.revision, name, record.value)
    return b"PAIR64 %b %b %b\n" % (record.revision, name, base64(record.value))


def size(name: bytes, record: Record) -> bytes:
    """The item line of a key without its value, in a copy."""
    return b"SIZE %b %b %d\n" % (record.revision, name, record.apart or len(record.value))


def gone(name: bytes, revision: int) -> bytes:
    """SYNC's item line for a key that a later page finds deleted."""
    return b"GONE %d %b\n" % (revision, name)


def copy(reason: str) -> bytes:
    """FOLLOW's item line before a copy: why there is one."""
    return b"COPY %b\n" % reason.encode()


def changed(change: Change, store: bytes) -> bytes:
    """CHANGES's item line."""
    return _change(b"CHANGED", change, store)


def changed_size(change: Change, store: bytes) -> bytes:
    """CHANGES's item line of a SET without its value."""
    return _change_size(b"CHANGED", change, store)


def progress(position: Position) -> bytes:
    """A watcher's line to say that it has had everything up to here."""
    return b"PROGRESS %b\n" % bytes(position)


def change(change: Change, store: bytes) -> bytes:
    """A watcher's line."""
    return _change(b"CHANGE", change, store)


def change_size(change: Change, store: bytes) -> bytes:
    """A watcher's line of a SET without its value."""
    return _change_size(b"CHANGE", change, store)


def _change_size(word: bytes, change: Change, store: bytes) -> bytes:
    return b"%b %d@%b SIZE %b %d\n" % (word, change.revision, store, change.key, change.size)


def _change(word: bytes, change: Change, store: bytes) -> bytes:
    if change.verb != b"SET":
        return b"%b %d@%b %b %b\n" % (word, change.revision, store, change.verb, change.key)
    if change.kind == TEXT:
        return b"%b %d@%b SET %b %b\n" % (word, change.revision, store, change.key, change.value)
    return b"%b %d@%b SET64 %b %b\n" % (word, change.revision, store, change.key, base64(change.value))


def batch(count: int) -> bytes:
    """The line before so many changes of one transaction."""
    return b"BATCH %d\n" % count


def ttl_left(name: bytes, milliseconds: int) -> bytes:
    """The line after one of a key that will expire."""
    return b"TTL %b %b\n" % (seconds(milliseconds), name)


def stays(name: bytes) -> bytes:
    """The line after one of a key that will not expire."""
    return b"TTL - %b\n" % name


def lives_with(name: bytes, owner: bytes) -> bytes:
    """The line after one of a key that lives as long as another."""
    return b"WITH %b %b\n" % (owner, name)


def time(milliseconds: int) -> bytes:
    """The line before changes: when they were made, by the store's clock."""
    return b"TIME %d\n" % milliseconds


def end(position: Position, code: str, text: str) -> bytes:
    """The line with which a watch ends."""
    return b"END %b %b %b\n" % (bytes(position), code.encode(), text.encode())


def items(word: str, lines: Iterable[str]) -> bytes:
    """Item lines of INFO and HELP."""
    return "".join(f"{word} {line}".rstrip() + "\n" for line in lines).encode()
