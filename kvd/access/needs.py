"""Which rights a request needs, and for which keys and patterns: a row for each verb.

What has no row is denied.  A test holds that each verb, and each field of its request, stands here.
"""

from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import Any, NamedTuple

from kvd.access.rights import Right
from kvd.metrics import QUOTAS
from kvd.model import ALL_KEYS
from kvd.requests import (
    Auth,
    Check,
    CheckNone,
    CheckSince,
    ClientRange,
    Delete,
    DeleteRange,
    Demand,
    Follow,
    Help,
    History,
    Increment,
    Info,
    Interval,
    KeyRange,
    Kick,
    LateRead,
    Nothing,
    Ping,
    Put,
    Read,
    Resume,
    Touch,
    Transaction,
    Watch,
)

READ, WRITE, WATCH = Right.READ, Right.WRITE, Right.WATCH


class Need(NamedTuple):
    """A right, for a key or a pattern.  partly: whether a part will do, for no more than that is shown."""

    right: Right
    touched: bytes
    partly: bool = False


class Who(Enum):
    """Who may ask, whatever the rules: ANYBODY, also before AUTH, or only a USER."""

    ANYBODY = auto()
    USER = auto()


Needs = Iterable[Need]
Row = Who | Callable[[Any], Needs | Who]


def _read(request: Read | LateRead) -> Needs:
    return (Need(READ, request.key),)


def _write(request: Any) -> Needs:
    return _WRITES[type(request)](request)


def _range(request: KeyRange) -> Needs:
    """What is listed of an owner tells that it is one."""
    return (Need(READ, request.pattern, partly=True), *((Need(READ, request.owner),) if request.owner else ()))


def _watch(request: Watch | Resume | History) -> Needs:
    return [Need(WATCH, pattern) for pattern in request.patterns]


def _copy(request: Watch | Follow) -> Needs:
    return [need for pattern in request.patterns for need in (Need(WATCH, pattern), Need(READ, pattern, partly=True))]


def _put(request: Put) -> Needs:
    """Who lets a key live with another one has that deleted at its end."""
    return (*_conditional(request), *((Need(WRITE, request.owner),) if request.owner else ()))


def _conditional(request: Put | Delete | Touch) -> Needs:
    """A condition tells which revision the key has, but for that it is not there."""
    revision = request.condition.partition(b"@")[0]
    tells = revision.isdigit() and int(revision) > 0
    return (Need(WRITE, request.key), *((Need(READ, request.key),) if tells else ()))


def _administer(_: ClientRange | Kick) -> Needs:
    return (Need(Right.ADMIN, ALL_KEYS),)


def _info(request: Info) -> Needs | Who:
    """It tells less before AUTH; quotas are of all users."""
    return (Need(Right.ADMIN, ALL_KEYS),) if request.section == QUOTAS else Who.ANYBODY


def _demand(request: Demand) -> Needs:
    return (Need(READ, request.key),)


_WRITES: dict[type, Callable[[Any], Needs]] = {
    Put: _put,
    Delete: _conditional,
    Touch: _conditional,
    # Its reply tells the value.
    Increment: lambda request: (Need(WRITE, request.key), Need(READ, request.key)),
    DeleteRange: lambda request: (Need(WRITE, request.pattern),),
    Check: _demand,
    CheckNone: _demand,
    CheckSince: _demand,
}

ROWS: dict[str, Row] = {
    "GET": _read,
    "GETS": _read,
    "TTL": _read,
    "SET": _write,
    "PUT": _write,
    "DEL": _write,
    "TOUCH": _write,
    "INCR": _write,
    "BEGIN": Who.USER,
    "CHECK": _write,
    # What it does is judged when it is done: see `of_transaction`.
    "COMMIT": Who.USER,
    "ABORT": Who.USER,
    "KEYS": _range,
    "LIST": _range,
    "COUNT": _range,
    "WATCH": _watch,
    "RESUME": _watch,
    "SYNC": _copy,
    "FOLLOW": _copy,
    "CHANGES": _watch,
    "PROGRESS": Who.USER,
    "UNWATCH": Who.USER,
    "PING": Who.ANYBODY,
    "INFO": _info,
    "CLIENTS": _administer,
    "KICK": _administer,
    "HELP": Who.ANYBODY,
    "AUTH": Who.ANYBODY,
    "QUIT": Who.ANYBODY,
}

CONSIDERED: dict[type, frozenset[str]] = {
    Read: frozenset({"key"}),
    LateRead: frozenset({"key", "reached"}),
    Put: frozenset({"key", "kind", "value", "ttl", "condition", "owner"}),
    Delete: frozenset({"key", "condition"}),
    DeleteRange: frozenset({"pattern", "limit"}),
    Touch: frozenset({"key", "ttl", "condition"}),
    Increment: frozenset({"key", "amount"}),
    Check: frozenset({"key", "condition"}),
    CheckNone: frozenset({"pattern"}),
    CheckSince: frozenset({"pattern", "since", "reached", "newest"}),
    Transaction: frozenset({"writes"}),
    KeyRange: frozenset({"pattern", "after", "limit", "before", "reverse", "fold", "owner", "reached"}),
    Watch: frozenset({"patterns", "form"}),
    Resume: frozenset({"position", "patterns", "form"}),
    Follow: frozenset({"position", "patterns", "form"}),
    History: frozenset({"position", "patterns", "limit", "form"}),
    Interval: frozenset({"milliseconds"}),
    Auth: frozenset({"user", "password"}),
    ClientRange: frozenset({"after", "limit"}),
    Kick: frozenset({"name"}),
    Ping: frozenset({"text"}),
    Help: frozenset({"verb"}),
    Info: frozenset({"section"}),
    Nothing: frozenset(),
}
"""The fields of each request that the rows above are written for: who adds one says here that it needs no right
that is not asked for there, or asks for it."""


def of(verb: str, request: Any) -> Needs | Who | None:
    """What a request needs; None: nothing says so."""
    row = ROWS.get(verb)
    return row(request) if callable(row) else row


def of_transaction(transaction: Transaction) -> Needs:
    """What all of a transaction needs."""
    return [need for write in transaction.writes for need in _write(write)]
