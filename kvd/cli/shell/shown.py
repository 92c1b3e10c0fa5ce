"""The daemon's lines as they are shown to people."""

import base64
import binascii

from kvd.cli.escape import visible
from kvd.client.line_connection import word_of

LONGEST = 16384
"""Characters of a line that are shown; a value may have millions."""

_STYLES = {
    b"ERR": "ansired",
    b"END": "ansired",
    b"CONFLICT": "ansiyellow",
    b"NONE": "ansiyellow",
    b"CHANGE": "ansicyan",
    b"PROGRESS": "ansibrightblack",
    b"BATCH": "ansicyan",
    b"TIME": "ansicyan",
    b"TTL": "ansicyan",
    b"WITH": "ansicyan",
    b"HELP": "",
}
"""By the word that a line begins with."""


def style_of(line: bytes) -> str:
    """The colour of a line, "" for none."""
    return _STYLES.get(word_of(line), "")


def for_people(line: bytes) -> str:
    """A line, escaped, with the bytes of what is in base64 after it."""
    text = visible(line.decode(errors="backslashreplace")[:LONGEST], kept="\t")
    if len(line) > LONGEST:
        return f"{text}... ({len(line)} bytes in all; kvctl get prints a value whole)"
    value = _value_in(line)
    return text if value is None else f"{text}  ({len(value)} bytes: {_bytes(value)})"


def _value_in(line: bytes) -> bytes | None:
    """The value of a line that has one in base64."""
    words = line.split(b" ")
    if words[0] not in (b"OK64", b"PAIR64") and words[2:3] != [b"SET64"]:
        return None
    try:
        return base64.b64decode(words[-1], validate=True)
    except binascii.Error:
        return None


def _bytes(value: bytes) -> str:
    return ascii(value)[2:-1]
