"""Keys as lines of JSON, as export, list --json and get --json write them."""

import base64
import json
import re
from collections.abc import Callable
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple

from kvd.client.bulk import Record, put
from kvd.errors import Refusal

LONGEST_TTL = 10**9
"""Seconds."""
SHORTEST_TTL = 0.001
LARGEST_ESCAPE = 6
"""Bytes that JSON takes for a byte of a value, at the most: \\u0000."""
LONGEST_REST = 8192
"""Bytes of a line beside its value: two keys, all escaped, and numbers."""
SHOWN = 60
"""Characters of a line that a message repeats."""

_NAMES = frozenset(("key", "revision", "value", "base64", "ttl", "with"))


class BadEntry(Exception):
    """What is wrong with a line, and what was expected."""


class Entry(NamedTuple):
    """What a line stands for.

    request: the line of the wire that writes it.  owner: the key that it lives with, None for one by itself.
    """

    key: str
    request: bytes
    owner: str | None


SIMPLE_LINE = b'{"key": "%b", "revision": %b, "value": "%b"}\n'
"""The line of a key, in whose parts nothing is to be escaped."""


def line_of(record: Record) -> bytes:
    """Write a key as a line."""
    try:
        name, text = b"value", _string(record.value.decode())
    except UnicodeDecodeError:
        name, text = b"base64", b'"%b"' % base64.b64encode(record.value)
    rest = b""
    if record.ttl:
        rest = b', "ttl": %b' % record.ttl
    elif record.owner:
        rest = b', "with": %b' % _string(record.owner.decode())
    return b'{"key": %b, "revision": %b, "%b": %b%b}\n' % (
        _string(record.key.decode()), record.revision, name, text, rest,
    )  # fmt: skip


def _string(text: str) -> bytes:
    return encode_basestring_ascii(text).encode()


class Reader:
    """Reads lines as the writes that they stand for.

    longest: bytes that a line may have.
    """

    def __init__(self, max_value: int, *, create_only: bool) -> None:
        self.longest = LARGEST_ESCAPE * max_value + LONGEST_REST
        self._max_value, self._create_only = max_value, create_only
        # What list and export write of most keys, which take a fifth of the time so.
        self._simple = re.compile(
            rb'^\{"key": "([!#-)+-\[\]-~]{1,512})", "revision": [0-9]{1,16}, "value": "([ !#-\[\]-~]{0,%d})"\}\n'
            % max_value,
            re.MULTILINE,
        )
        self._written = b"PUT %b if=0 = %b\n" if create_only else b"SET %b %b\n"

    def simple(self, data: bytes, count: int) -> bytes | None:
        """Read so many whole lines at once; None unless all are of the simple kind."""
        found = self._simple.findall(data)
        return b"".join([self._written % pair for pair in found]) if len(found) == count else None

    def entry(self, line: bytes) -> Entry:
        """Read a line.  Raises BadEntry."""
        entry = _object(line)
        key, owner = entry.get("key"), entry.get("with")
        value = _value(entry)
        if not isinstance(key, str):
            raise BadEntry(f'expected a "key", which is a string, not {shown(key)}' if "key" in entry else 'no "key"')
        if "with" in entry and not isinstance(owner, str):
            raise BadEntry(f'"with": expected a key, not {shown(owner)}')
        return self.write(key, value, _ttl(entry), owner)

    def write(self, key: str, value: bytes, ttl: float | None = None, owner: str | None = None) -> Entry:
        """The write of a key.  Raises BadEntry."""
        if len(value) > self._max_value:
            raise BadEntry(f"the value has {len(value)} bytes, and this daemon takes at most {self._max_value}")
        try:
            return Entry(key, put(key, value, ttl, owner, create_only=self._create_only), owner)
        except Refusal as error:
            raise BadEntry(str(error)) from None


def _value(entry: dict[str, Any]) -> bytes:
    if ("value" in entry) == ("base64" in entry):
        raise BadEntry('expected a "value" or a "base64", one of them')
    name = "value" if "value" in entry else "base64"
    text = entry[name]
    if not isinstance(text, str):
        raise BadEntry(f'"{name}": expected a string, not {shown(text)}')
    return _BYTES[name](text)


def _object(line: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(line.decode())
    except UnicodeDecodeError:
        raise BadEntry("expected UTF-8") from None
    except (ValueError, RecursionError):  # also for a number of thousands of digits
        raise BadEntry(f"expected a JSON object, not {shown(line.decode())}") from None
    if not isinstance(entry, dict):
        raise BadEntry(f"expected a JSON object, not {shown(entry)}")
    if "kvd-backup" in entry:
        raise BadEntry("this is a backup: kvd restore makes a data directory of it; lines with keys can be imported")
    if unknown := [name for name in entry if name not in _NAMES]:
        raise BadEntry(f"unknown name {shown(unknown[0])}: expected key, value or base64, ttl or with, and revision")
    return entry


def _ttl(entry: dict[str, Any]) -> float | None:
    """Seconds, None for never, as of JSON's null."""
    ttl = entry.get("ttl")
    if ttl is None:
        return None
    if not isinstance(ttl, int | float) or isinstance(ttl, bool) or not SHORTEST_TTL <= ttl <= LONGEST_TTL:
        raise BadEntry(f'"ttl": expected seconds, {SHORTEST_TTL} to {LONGEST_TTL}, or null, not {shown(ttl)}')
    if "with" in entry:
        raise BadEntry('expected a "ttl" or a "with", not both')
    return float(ttl)


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise BadEntry('"value": half of a surrogate pair is no text; give bytes as "base64"') from None


def decoded(text: str) -> bytes:
    """Read base64.  Raises BadEntry."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise BadEntry('"base64": expected base64, padded and without white space') from None


_BYTES: dict[str, Callable[[str], bytes]] = {"value": _utf8, "base64": decoded}


def shown(thing: object) -> str:
    """What stands there, for a message."""
    text = thing.strip() if isinstance(thing, str) else json.dumps(thing)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
