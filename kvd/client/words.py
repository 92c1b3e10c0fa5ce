"""Words of the wire as a client writes and reads them; its errors are raised before anything is sent."""

import base64
import re
from typing import NamedTuple

from kvd.errors import BadKey, BadValue, Usage

_WORD = r"[^\s\x00-\x1f\x7f-\x9f\ud800-\udfff*]+"
_KEY = re.compile(_WORD)
_PATTERN = re.compile(rf"{_WORD}\*?|\*")
_REVISION = re.compile(rf"[0-9]+(@{_WORD})?")
_NOT_TEXT = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


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
    try:
        return not _NOT_TEXT.search(value.decode())
    except UnicodeDecodeError:
        return False


def decoded(word: bytes, value: bytes) -> bytes:
    """The bytes of a value, as the word before it marks its form."""
    return base64.b64decode(value) if word.endswith(b"64") else value


def read_item(word: bytes, text: bytes) -> Item:
    """KEY, PAIR and PAIR64 lines."""
    if word == b"KEY":
        return Item(text.decode(), b"", 0)
    revision, key, value = text.split(b" ", 2)
    return Item(key.decode(), decoded(word, value), int(revision))


def read_event(text: bytes) -> Event:
    """CHANGE lines."""
    position, verb, key, *value = text.split(b" ", 3)
    revision = int(position.partition(b"@")[0])
    name = verb.decode().removesuffix("64")
    return Event(position.decode(), revision, name, key.decode(), decoded(verb, value[0]) if value else None)


def encoded(value: bytes | str) -> bytes:
    """A value as bytes.  Raises BadValue."""
    try:
        return value.encode() if isinstance(value, str) else value
    except UnicodeEncodeError:
        raise BadValue("a str with surrogates has no UTF-8; give the value as bytes") from None


def condition_option(revision: int | str | None) -> str:
    """The option `if=`, "" for none.  Raises Usage."""
    if revision is None:
        return ""
    if not _REVISION.fullmatch(str(revision)):
        raise Usage(f"not a revision or position: {revision!r}")
    return f" if={revision}"


def checked_key(key: str) -> str:
    """Raises BadKey if it is none: it could be more than one request."""
    if not _KEY.fullmatch(key):
        raise BadKey(f"not a key: {key!a}; a key has no white space, control characters or '*'")
    return key


def checked_pattern(pattern: str) -> str:
    """Raises BadKey if it is none."""
    if not _PATTERN.fullmatch(pattern):
        raise BadKey(f"not a pattern: {pattern!a}; a pattern is a key, or a prefix and one '*'")
    return pattern
