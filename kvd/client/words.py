"""What a client gives its callers, and which values the wire carries as they are."""

import json
from typing import Any, NamedTuple

from kvd.model import TEXT
from kvd.wire import words


class Item(NamedTuple):
    """A key, its value, and the revision of the change that wrote it.

    Of a listing with `fold` revision 0 stands for all keys that begin so; the value is then b"".
    """

    key: str
    value: bytes
    revision: int


class Event(NamedTuple):
    """One change.  verb: "SET", "DEL" or "EXPIRE"; value: None unless the verb is SET."""

    position: str
    revision: int
    verb: str
    key: str
    value: bytes | None


class Copy(NamedTuple):
    """All there is that matches, at a position: it takes the place of what was known before.

    reason: "new", where nothing was known; "compacted", "store" or "future", where the changes after the last position
    are not to be had.  items: by their keys.
    """

    position: str
    revision: int
    reason: str
    items: dict[str, Item]


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
