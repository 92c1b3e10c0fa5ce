"""Records as the store packs them."""

from kvd.errors import Unavailable
from kvd.model import TEXT, Record
from kvd.store.redis.digest import LARGE
from kvd.store.redis.flags import OTHERS, OWNER, escape, read, unescape

_LARGE = {b"T": b"t", b"B": b"b"}
"""Kinds of records whose value is kept apart, to the kind of the value."""


def unpack(raw: bytes, value: bytes = b"") -> Record:
    """A record as the store packs it: revision, deadline, kind and flags, value; `value` if that is kept apart.

    Flags that this version does not know are passed over.  Raises Unavailable if it is damaged.
    """
    try:
        revision, deadline, kind, payload = raw.split(b" ", 3)
        if not (revision.isdigit() and deadline.isdigit()):
            raise ValueError
        if kind == TEXT:
            return Record(revision, deadline, kind, payload)
        return _special(revision, deadline, kind, payload, value)
    except ValueError:
        raise Unavailable("the store is damaged: a record cannot be read; kvd check says which one") from None


def _special(revision: bytes, deadline: bytes, kind: bytes, payload: bytes, value: bytes) -> Record:
    """One with flags, or of another kind than text.  Raises ValueError."""
    letter, flags = kind[:1], kind[1:]
    record = Record(revision, deadline, letter, payload)
    if letter in _LARGE:
        # Of a value that is kept apart, the record has the length.
        record = Record(revision, deadline, _LARGE[letter], value, not value, 0 if value else int(payload or b"0"))
    if flags:
        given = read(flags)
        record = record._replace(owner=unescape(given.get(OWNER, b"")), has_others=OTHERS in given)
    return record


def pack(revision: bytes, deadline: int, kind: bytes, value: bytes, owner: bytes = b"") -> bytes:
    """The record that `unpack` reads; of a long value, which is to be kept apart, it has the length."""
    payload = value
    if len(value) > LARGE:
        kind, payload = kind.upper(), b"%d" % len(value)
    flags = b";" + OWNER + escape(owner) if owner else b""
    return b"%b %d %b%b %b" % (revision, deadline, kind, flags, payload)


def unexpired(raw: bytes | None, now: int) -> Record | None:
    """The record as `unpack` gives it, unless there is none or it is expired."""
    if raw is None:
        return None
    record = unpack(raw)
    return None if is_expired(record, now) else record


def is_expired(record: Record, now: int) -> bool:
    """Whether its deadline has passed.  now: int, milliseconds of the store's clock."""
    return record.deadline != b"0" and int(record.deadline) <= now


def lasting(record: Record | None) -> Record | None:
    """The record, if it is whole and does not expire: what can be kept."""
    return record if record and record.deadline == b"0" and not (record.large or record.owner) else None
