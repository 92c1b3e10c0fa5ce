"""What a client gives its callers, and which values the wire carries as they are."""

from typing import NamedTuple

from kvd.model import TEXT
from kvd.wire import words


class Item(NamedTuple):
    """A key, its value, and the revision of the change that wrote it."""

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


def is_text(value: bytes) -> bool:
    """Whether kvd sends the value as it is; it sends every other one in base64."""
    return words.kind_of(value) is TEXT
