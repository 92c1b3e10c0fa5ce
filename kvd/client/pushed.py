"""What a watch sends: the lines of a copy, changes, signs of life and the end.  All raise ProtocolError."""

from collections.abc import Callable

from kvd.client import lines
from kvd.client.errors import WatchEnded
from kvd.client.lines import Line, check
from kvd.client.words import CopyBegun, Event, Gone, Item, Lifetime, Progress
from kvd.wire import words

_RETRIED_ENDS = frozenset((b"shutdown", b"compacted"))
"""Codes of END whose text may begin with the seconds after which to come back."""

Push = Event | Progress | WatchEnded
Copied = Item | Gone | CopyBegun | Lifetime


def push(line: Line) -> Push:
    """A line whose word is in PUSHES."""
    return lines.read(line, _PUSHES[line.word])


def copied(line: Line) -> Copied | None:
    """An item of a watch that begins with a copy, None: it is none of a copy."""
    return lines.read(line, _copied)


def pair(line: Line) -> Item:
    """PAIR, PAIR64; raises ValueError, Refusal."""
    check(line.word in (b"PAIR", b"PAIR64"))
    revision, key, data = line.text.split(b" ", 2)
    return Item(lines.key(key), lines.decoded(line.word, data), words.number(revision))


def _copied(line: Line) -> Copied | None:
    if line.word == b"COPY":
        return CopyBegun(lines.code(line.text))
    if line.word == b"GONE":
        revision, key = line.text.split(b" ", 1)
        return Gone(lines.key(key), words.number(revision))
    if line.word == b"SIZE":
        revision, key, size = line.text.split(b" ")
        return Item(lines.key(key), b"", words.number(revision), words.number(size))
    return pair(line) if line.word in (b"PAIR", b"PAIR64") else None


def _change(line: Line) -> Event:
    return lines.change(line.text)


def _progress(line: Line) -> Progress:
    place = lines.position(line.text)
    return Progress(place, lines.revision_of(place))


def _end(line: Line) -> WatchEnded:
    position, code, reason = line.text.split(b" ", 2)
    seconds, reason = lines.retry(reason) if code in _RETRIED_ENDS else (None, reason)
    return WatchEnded(lines.position(position), lines.code(code), lines.for_people(reason), seconds)


_PUSHES: dict[bytes, Callable[[Line], Push]] = {b"CHANGE": _change, b"PROGRESS": _progress, b"END": _end}
PUSHES = frozenset(_PUSHES)
