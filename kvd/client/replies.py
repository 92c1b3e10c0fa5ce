"""What the daemon's lines mean.  A line that protocol.txt does not allow raises ProtocolError, and nothing else."""

import math
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

from kvd.client.errors import Conflict, ProtocolError, WatchEnded, shown
from kvd.client.words import Event, Item
from kvd.errors import REFUSALS, Refusal, Unavailable, Usage
from kvd.model import LARGEST_VALUE
from kvd.wire import words

Result = TypeVar("Result")

STATUS = frozenset((b"OK", b"OK64", b"NONE", b"CONFLICT", b"ERR"))
ITEMS = frozenset((b"KEY", b"PAIR", b"PAIR64", b"GONE", b"COPY", b"CHANGED", b"INFO", b"HELP"))

LONGEST_RETRY = 60.0
"""Seconds: no daemon asks anybody to stay away for longer."""
LONGEST_TEXT = 1000
"""Characters of a text for people that are kept."""

_SECONDS = re.compile(rb"[0-9]{1,16}(?:\.[0-9]{1,3})?").fullmatch
_CODE = re.compile(rb"[!-)+-~]{1,64}").fullmatch
_RETRIED_ENDS = frozenset((b"shutdown", b"compacted"))
"""Codes of END whose text may begin with the seconds after which to come back."""
_VERBS = {b"SET": True, b"SET64": True, b"DEL": False, b"EXPIRE": False}
"""Those of CHANGE lines, and whether a value follows the key."""


class Line(NamedTuple):
    """A line, parted at its first space; without one, space and text are empty."""

    word: bytes
    space: bytes
    text: bytes


class Reply(NamedTuple):
    """A status line, and the items before it."""

    status: Line
    items: Sequence[Line] = ()


def answer(reply: Reply, read: Callable[[Reply], Result]) -> Result:
    """What a reply says, as `read` reads it.  Raises Refusal, Conflict, ProtocolError."""
    if reply.status.word == b"ERR":
        raise _read(reply.status, _refusal)
    try:
        return read(reply)
    except (ValueError, Refusal):
        raise _malformed(reply.status) from None


def _read(line: Line, read: Callable[[Line], Result]) -> Result:
    try:
        return read(line)
    except (ValueError, Refusal):  # of unpacking, decoding, and the grammar of words
        raise _malformed(line) from None


def _malformed(line: Line) -> ProtocolError:
    return ProtocolError(f"the daemon sent a malformed line: {shown(b''.join(line))}")


def _refusal(line: Line) -> Refusal:
    code, _, reason = line.text.partition(b" ")
    _check(_CODE(code))
    word = code.decode()
    retry, reason = _retry(reason) if word == Unavailable.code else (None, reason)
    refusal = REFUSALS.get(word, Refusal)(_for_people(reason), word)
    refusal.retry = retry
    return refusal


def ok(reply: Reply) -> None:
    """PROGRESS."""
    _word(reply, b"OK")


def done(reply: Reply) -> bool:
    """TOUCH: whether there is such a key.  Raises Conflict."""
    word = _word(reply, b"OK", b"NONE", b"CONFLICT")
    if word == b"CONFLICT":
        raise Conflict(words.number(reply.status.text))
    return word == b"OK"


def value(reply: Reply) -> bytes | None:
    """GET."""
    if _word(reply, b"OK", b"OK64", b"NONE") == b"NONE":
        return None
    _check(reply.status.space)  # `OK ` is the empty value, and `OK` is none
    return _decoded(reply.status.word, reply.status.text)


def value_with_revision(reply: Reply) -> tuple[bytes, int] | None:
    """GETS."""
    if _word(reply, b"OK", b"OK64", b"NONE") == b"NONE":
        return None
    revision, data = reply.status.text.split(b" ", 1)
    return _decoded(reply.status.word, data), words.number(revision)


def revision(reply: Reply) -> int:
    """SET, PUT.  Raises Conflict."""
    if _word(reply, b"OK", b"CONFLICT") == b"CONFLICT":
        raise Conflict(words.number(reply.status.text))
    return words.number(reply.status.text)


def revision_or_none(reply: Reply) -> int | None:
    """DEL.  Raises Conflict."""
    return None if reply.status.word == b"NONE" else revision(reply)


def seconds(reply: Reply) -> float | None:
    """TTL: math.inf for a key that does not expire."""
    if _word(reply, b"OK", b"NONE") == b"NONE":
        return None
    if reply.status.text == b"-":
        return math.inf
    _check(_SECONDS(reply.status.text))
    return float(reply.status.text)


def integer(reply: Reply) -> int:
    """INCR."""
    _word(reply, b"OK")
    return int(words.integer(reply.status.text))


def number(reply: Reply) -> int:
    """COUNT."""
    _word(reply, b"OK")
    return words.number(reply.status.text)


def keys(reply: Reply, after: str) -> list[Item]:
    """KEYS: a page of them after a key, or "" for the first."""
    _check(number(reply) == len(reply.items))
    return _ascending([_read(line, _key) for line in reply.items], after)


def pairs(reply: Reply, after: str) -> list[Item]:
    """LIST, like KEYS."""
    position(reply)
    return _ascending([_read(line, _pair) for line in reply.items], after)


def _ascending(items: list[Item], after: str) -> list[Item]:
    """Each key greater than the one before it, or a listing might never end.  The order of str is that of UTF-8."""
    _check(all(first < second for first, second in pairwise([after, *(item.key for item in items)])))
    return items


def facts(reply: Reply) -> dict[str, str]:
    """INFO."""
    _word(reply, b"OK")
    return dict(_read(line, _fact) for line in reply.items)


def text(reply: Reply) -> str:
    """PING."""
    _word(reply, b"OK")
    return reply.status.text.decode()


def position(reply: Reply) -> str:
    """WATCH."""
    _word(reply, b"OK")
    return _position(reply.status.text)


def event(line: Line) -> Event:
    """A CHANGE line."""
    return _read(line, _event)


def end(line: Line) -> WatchEnded:
    """An END line."""
    return _read(line, _end)


def _key(line: Line) -> Item:
    _check(line.word == b"KEY")
    return Item(words.key(line.text).decode(), b"", 0)


def _pair(line: Line) -> Item:
    _check(line.word in (b"PAIR", b"PAIR64"))
    revision, key, data = line.text.split(b" ", 2)
    return Item(words.key(key).decode(), _decoded(line.word, data), words.number(revision))


def _fact(line: Line) -> tuple[str, str]:
    _check(line.word == b"INFO")
    name, _, said = line.text.partition(b" ")
    _check(_CODE(name))
    return name.decode(), _for_people(said)


def _event(line: Line) -> Event:
    position, verb, key, *data = line.text.split(b" ", 3)
    _check(verb in _VERBS and _VERBS[verb] == bool(data))
    name = verb.decode().removesuffix("64")
    place = _position(position)
    revision = words.position(position).revision
    return Event(place, revision, name, words.key(key).decode(), _decoded(verb, data[0]) if data else None)


def _end(line: Line) -> WatchEnded:
    position, code, reason = line.text.split(b" ", 2)
    _check(_CODE(code))
    retry, reason = _retry(reason) if code in _RETRIED_ENDS else (None, reason)
    return WatchEnded(_position(position), code.decode(), _for_people(reason), retry)


def _retry(reason: bytes) -> tuple[float | None, bytes]:
    """Take the word `retry=SECONDS` off a text that may begin with it; what is no such word is text."""
    name, _, word = reason.partition(b"=")
    word, _, rest = word.partition(b" ")
    try:
        return (min(words.milliseconds(word) / 1000, LONGEST_RETRY), rest) if name == b"retry" else (None, reason)
    except Usage:
        return None, reason


def _word(reply: Reply, *expected: bytes) -> bytes:
    """The status word.  Raises ValueError for one that does not answer the request."""
    _check(reply.status.word in expected)
    return reply.status.word


def _position(word: bytes) -> str:
    words.position(word)
    return word.decode()


def _decoded(word: bytes, data: bytes) -> bytes:
    """The bytes of a value, as the word before it marks its form."""
    return words.base64_value(data, LARGEST_VALUE, None) if word.endswith(b"64") else data


def _for_people(raw: bytes) -> str:
    """A text to print as it is: its control characters are escaped, and what is too long is cut."""
    said = raw.decode()[:LONGEST_TEXT]
    return "".join(char if char.isprintable() or char == "\t" else ascii(char)[1:-1] for char in said)


def _check(holds: object) -> None:
    if not holds:
        raise ValueError
