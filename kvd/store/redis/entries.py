"""The entries of the change log as Redis has them, and the changes in them (docs/layout.md)."""

from itertools import repeat
from typing import Any

from kvd.errors import StoreLost
from kvd.model import BYTES, TEXT, Change, Entry, Moment
from kvd.store.redis.flags import DEADLINE, OWNER, read, unescape

FIELDS_OF_LINES = 4
"""Names and values in a log entry whose changes are lines: the tag, and how many lines with the lines."""

SMALL = ord("a")
"""What letters before it say: the next change belongs to the same transaction."""

_VERBS = {b"t": (b"SET", TEXT), b"b": (b"SET", BYTES), b"d": (b"DEL", TEXT), b"e": (b"EXPIRE", TEXT)}
_REFERENCES = {b"g": b"t", b"h": b"b", b"G": b"T", b"H": b"B"}
"""Letters of changes whose value stands apart, by their revision, to those of changes that hold it."""
_LETTERS = {
    letter: (*_VERBS[_REFERENCES.get(letter, letter).lower()], letter.isupper(), letter in _REFERENCES)
    for letter in (*_VERBS, *map(bytes.upper, _VERBS), *_REFERENCES)
}
"""Verb and kind, whether the next change belongs to the same transaction, and whether the value stands apart."""


def read_entry(raw: list[Any]) -> Entry:
    """A log entry as Redis gives it: its id ends at the last change's revision, and there are no gaps."""
    identity, fields = raw
    last = int(identity.partition(b"-")[0])
    moment = moment_of(last, fields[1])
    if len(fields) == FIELDS_OF_LINES and fields[2].isdigit():
        lines = fields[3][:-1].split(b"\n")
        revisions = range(last + 1 - len(lines), last + 1)
        simple = []
        for number, line in zip(revisions, lines, strict=True):
            key, value = line.split(b" ", 1)
            # Most changes are such, and arguments by name take a third longer.
            simple.append(Change(number, b"SET", key, TEXT, value, False, 0, b"", 0, 0, moment))
        return Entry(fields[1], simple)
    names = fields[2::2]
    first = last + 1 - len(names)
    transactions = _transactions(first, names) if min(names)[0] < SMALL else repeat(0, len(names))
    parts = zip(range(first, last + 1), names, fields[3::2], transactions, strict=True)
    return Entry(fields[1], [change_of(number, name, value, of, moment) for number, name, value, of in parts])


def moment_of(last: int, tag: bytes) -> Moment:
    """When an entry was written.  Versions before this one did not note the clock."""
    words = tag.split(b" ")
    return Moment(last, int(words[-2]) if len(words) > 1 and words[-2].isdigit() else 0)


def _transactions(first: int, names: list[bytes]) -> list[int]:
    """The last revision of each change's transaction, 0 for those that are alone."""
    found = [0] * len(names)
    end = 0
    for place in reversed(range(len(names))):
        if names[place][0] >= SMALL:
            end = first + place
        else:
            found[place] = found[place + 1] = end
    return found


Reference = tuple[list[bytes], int, int]
"""The fields of a log entry, the place of a change among them whose value stands apart, and its revision."""


def references(raw: list[Any]) -> list[Reference]:
    """Those of a log entry."""
    identity, fields = raw
    last = int(identity.partition(b"-")[0])
    places = [place for place in range(2, len(fields), 2) if fields[place][:1] in _REFERENCES]
    return [(fields, place, last - (len(fields) - place) // 2 + 1) for place in places]


def key_of(reference: Reference) -> bytes:
    """Of which key it is."""
    fields, place, _ = reference
    return fields[place][1:].partition(b" ")[0]


def fill(wanted: list[Reference], values: list[bytes | None]) -> None:
    """Put values in the places of references to them.  Raises StoreLost if one is gone."""
    for (fields, place, _), value in zip(wanted, values, strict=True):
        if value is None:
            raise StoreLost("changes were dropped while they were read")
        fields[place : place + 2] = _REFERENCES[fields[place][:1]] + fields[place][1:], value


def change_of(revision: int, name: bytes, value: bytes, transaction: int, moment: Moment) -> Change:
    """A change by its name and value in an entry; see `Change`."""
    verb, kind, more, is_apart = _LETTERS[name[:1]]
    if not is_apart and b" " not in name:
        return Change(revision, verb, name[1:], kind, value, more, 0, b"", 0, transaction, moment)
    apart, value = (int(value), b"") if is_apart else (0, value)
    key, _, flags = name[1:].partition(b" ")
    # Those that this version does not know are passed over.
    given = read(flags)
    deadline, owner = int(given.get(DEADLINE, b"0")), unescape(given.get(OWNER, b""))
    return Change(revision, verb, key, kind, value, more, deadline, owner, apart, transaction, moment)
