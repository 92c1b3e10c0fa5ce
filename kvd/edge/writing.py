"""Writes as lines of the protocol, and their replies as outcomes."""

from collections.abc import Sequence

from kvd.model import TEXT, Outcome
from kvd.requests import (
    NUMBERED,
    Check,
    CheckNone,
    CheckSince,
    Delete,
    Demand,
    Increment,
    Put,
    Touch,
    Transaction,
    Write,
)
from kvd.wire.replies import base64, seconds

LOST, NOT_SENT = b"U", b"u"
"""Outcomes of what may have been done, and of what certainly was not."""


def line_of(write: Write | Demand) -> bytes:
    """The line of a write, or what a transaction demands."""
    if isinstance(write, Put):
        return _put(write)
    if isinstance(write, Delete):
        return b"DEL %b%b\n" % (write.key, _condition(write.condition))
    if isinstance(write, Touch):
        ttl = seconds(write.ttl) if write.ttl else b"-"
        return b"TOUCH %b ttl=%b%b\n" % (write.key, ttl, _condition(write.condition))
    if isinstance(write, Increment):
        return b"INCR %b %b\n" % (write.key, write.amount)
    if isinstance(write, Check):
        return b"CHECK %b%b\n" % (write.key, _condition(write.condition))
    if isinstance(write, CheckNone):
        return b"CHECK %b if=0\n" % write.pattern
    if isinstance(write, CheckSince):
        return b"CHECK %b since=%b\n" % (write.pattern, bytes(write.since))
    return lines_of(write)


def lines_of(transaction: Transaction) -> bytes:
    """Those of a transaction, to which a reply comes each."""
    return b"BEGIN\n%bCOMMIT\n" % b"".join([line_of(write) for write in transaction.writes])


def _put(put: Put) -> bytes:
    options = b""
    if put.ttl:
        options += b" ttl=" + seconds(put.ttl)
    if put.owner:
        options += b" with=" + put.owner
    if put.condition and put.condition != NUMBERED:
        options += _condition(put.condition)
    if put.kind == TEXT:
        is_set = not options and put.condition != NUMBERED
        return b"SET %b %b\n" % (put.key, put.value) if is_set else b"PUT %b%b = %b\n" % (put.key, options, put.value)
    return b"PUT %b%b base64 = %b\n" % (put.key, options, base64(put.value))


def _condition(condition: bytes) -> bytes:
    return b" if=" + condition if condition else b""


def takes_revision(write: Write) -> bool:
    """Whether the reply can only be the revision that it took, or a refusal."""
    return isinstance(write, Put) and not (write.condition or write.owner)


def outcome_of(write: Write, line: bytes) -> Outcome:
    """What a reply says."""
    word, _, rest = line.partition(b" ")
    if word == b"OK":
        return b"t" if isinstance(write, Touch) else rest
    if word == b"NONE":
        return b"n"
    if word == b"CONFLICT":
        return b"c" + rest.replace(b" ", b":", 1)
    if rest.startswith(b"auth "):
        # It is this daemon who is asked, not its client.
        return b"eERR unavailable the daemon that this one follows asks who it is; try again"
    return b"e" + line


def newest(writes: Sequence[Write], outcomes: Sequence[Outcome]) -> int:
    """The last revision that was taken, as far as the outcomes say; 0 for none."""
    told = [
        int(outcome)
        for write, outcome in zip(writes, outcomes, strict=True)
        if not isinstance(write, Increment) and outcome.isdigit()
    ]
    return max(told, default=0)
