"""The daemon's lines, and the words in them.  What protocol.txt does not allow is a ProtocolError, and nothing else."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from kvd.client.errors import ProtocolError, shown
from kvd.client.words import Event
from kvd.errors import Refusal, Usage
from kvd.model import LARGEST_VALUE
from kvd.wire import words

Result = TypeVar("Result")

STATUS = frozenset((b"OK", b"OK64", b"NONE", b"CONFLICT", b"ERR"))
ITEMS = frozenset((b"KEY", b"PAIR", b"PAIR64", b"SIZE", b"GONE", b"COPY", b"CHANGED", b"INFO", b"HELP", b"CLIENT"))

LONGEST_RETRY = 60.0
"""Seconds: no daemon asks anybody to stay away for longer."""
LONGEST_TEXT = 1000
"""Characters of a text for people that are kept."""

_CODE = re.compile(rb"[!-)+-~]{1,64}").fullmatch
_VERBS = {b"SET": True, b"SET64": True, b"SIZE": True, b"DEL": False, b"EXPIRE": False}
"""Those of changes, and whether a value follows the key."""


class Line(NamedTuple):
    """A line, parted at its first space; without one, space and text are empty."""

    word: bytes
    space: bytes
    text: bytes


class Reply(NamedTuple):
    """A status line, and the items before it."""

    status: Line
    items: Sequence[Line] = ()


def word_of(line: bytes) -> bytes:
    """The word that a line begins with."""
    return line.partition(b" ")[0]


def read(line: Line, how: Callable[[Line], Result]) -> Result:
    """What a line says, read in some way, which raises ValueError or a Refusal for what it cannot be.

    Raises ProtocolError.
    """
    try:
        return how(line)
    except (ValueError, Refusal):  # of unpacking, decoding, and the grammar of words
        raise malformed(line) from None


def malformed(line: Line) -> ProtocolError:
    """The error for a line that is not as it must be."""
    return ProtocolError(f"the daemon sent a malformed line: {shown(b''.join(line))}")


def check(holds: object) -> None:
    """Raise ValueError unless it holds."""
    if not holds:
        raise ValueError


def key(word: bytes) -> str:
    """A key."""
    return words.key(word).decode()


def code(word: bytes) -> str:
    """One word for programs: a code, a name."""
    check(_CODE(word))
    return word.decode()


def position(word: bytes) -> str:
    """A position."""
    words.position(word)
    return word.decode()


def revision_of(place: str) -> int:
    """The revision that a position begins with."""
    return int(place.partition("@")[0])


def store_of(place: str) -> str:
    """The store, or the history of it, that a position is of."""
    return place.partition("@")[2]


def is_after(place: str, other: str) -> bool:
    """Whether a position comes after another one, of the same history."""
    return store_of(place) == store_of(other) and revision_of(place) > revision_of(other)


def decoded(word: bytes, data: bytes) -> bytes:
    """The bytes of a value, as the word before it marks its form."""
    return words.base64_value(data, LARGEST_VALUE, None) if word.endswith(b"64") else data


def change(text: bytes) -> Event:
    """POSITION VERB KEY [VALUE]."""
    place, verb, name, *data = text.split(b" ", 3)
    check(verb in _VERBS and _VERBS[verb] == bool(data))
    at = position(place)
    if verb == b"SIZE":
        return Event(at, revision_of(at), "SET", key(name), None, words.number(data[0]))
    value = decoded(verb, data[0]) if data else None
    return Event(at, revision_of(at), verb.decode().removesuffix("64"), key(name), value)


def retry(reason: bytes) -> tuple[float | None, bytes]:
    """Take the word `retry=SECONDS` off a text that may begin with it; what is no such word is text."""
    name, _, word = reason.partition(b"=")
    word, _, rest = word.partition(b" ")
    try:
        return (min(words.milliseconds(word) / 1000, LONGEST_RETRY), rest) if name == b"retry" else (None, reason)
    except Usage:
        return None, reason


def for_people(raw: bytes) -> str:
    """A text to print as it is: its control characters are escaped, and what is too long is cut."""
    said = raw.decode()[:LONGEST_TEXT]
    return "".join(char if char.isprintable() or char == "\t" else ascii(char)[1:-1] for char in said)
