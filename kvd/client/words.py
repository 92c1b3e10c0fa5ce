"""What a client gives its callers, and which values the wire carries as they are."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from kvd.model import TEXT
from kvd.wire import words


class Item(NamedTuple):
    """A key, its value, and the revision of the change that wrote it.

    Of a listing with `fold` revision 0 stands for all keys that begin so; the value is then b"".

    size: bytes of the value, where values were not asked for and it is b"".
    ttl, owner: of a copy with lifetimes, the seconds until it expires, and the key that it lives with.
    """

    key: str
    value: bytes
    revision: int
    size: int | None = None
    ttl: float | None = None
    owner: str | None = None


class Event(NamedTuple):
    """One change.  verb: "SET", "DEL" or "EXPIRE"; value: None unless the verb is SET.

    What else there is was asked for by WatchOptions, and is None otherwise.

    size: bytes of the value, which is None then.
    time: seconds since 1970 at which it was made, by the store's clock.
    left: how many more changes of its transaction follow it.
    ttl, owner: of the verbs "TTL" and "WITH", which are no changes: of the change before, the seconds until the key
    expires, or the key that it lives with.
    """

    position: str
    revision: int
    verb: str
    key: str
    value: bytes | None
    size: int | None = None
    time: float | None = None
    left: int | None = None
    ttl: float | None = None
    owner: str | None = None


LIFETIMES = ("TTL", "WITH")
"""The verbs of events that are no changes."""


class WatchOptions(NamedTuple):
    """What a watch gets beside changes, or does not get.

    values: False: their sizes instead.  only: verbs of the changes that come, () for all.
    lifetimes: tell how long keys live.  batches: tell which changes are of one transaction.  times: tell when they were
    made.
    """

    values: bool = True
    only: Sequence[str] = ()
    lifetimes: bool = False
    batches: bool = False
    times: bool = False


class Copy(NamedTuple):
    """All there is that matches, at a position: it takes the place of what was known before.

    reason: "new", where nothing was known; "compacted", "store" or "future", where the changes after the last position
    are not to be had.  items: by their keys.
    """

    position: str
    revision: int
    reason: str
    items: dict[str, Item]


class Connected(NamedTuple):
    """A connection to the daemon.

    id: its name, for `kick`.  address: HOST:PORT, or unix:USER; "" if it is not known.  user: who has logged in, ""
    for nobody.  since: seconds since 1970.  requests: how many it has sent.  held: bytes of the daemon's memory that it
    takes.  patterns: how many it watches, 0 if it does not watch.  watched: the first of them.
    """

    id: str
    address: str
    user: str
    since: float
    requests: int
    held: int
    patterns: int
    watched: tuple[str, ...] = ()


class Changes(NamedTuple):
    """A part of the past: these are all changes that match up to the position, from which to ask again."""

    events: list[Event]
    position: str


class CopyBegun(NamedTuple):
    """COPY: what follows is a copy, and why."""

    reason: str


class Gone(NamedTuple):
    """GONE: while it is copied, a key is removed from the copy."""

    key: str
    revision: int


class Lifetime(NamedTuple):
    """TTL, WITH: the seconds until a key of a copy expires, or the key that it lives with."""

    key: str
    ttl: float | None
    owner: str | None


class Progress(NamedTuple):
    """PROGRESS: every change up to here that matches was sent before."""

    position: str
    revision: int


def is_text(value: bytes) -> bool:
    """Whether kvd sends the value as it is; it sends every other one in base64."""
    return words.kind_of(value) is TEXT


def as_text(value: bytes | None) -> str | None:
    """A value that is UTF-8; raises UnicodeDecodeError."""
    return None if value is None else value.decode()


def as_json(value: bytes | None) -> Any:
    """A value that is JSON; raises JSONDecodeError, UnicodeDecodeError."""
    return None if value is None else json.loads(value)
