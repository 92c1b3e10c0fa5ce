"""The digest in a log entry's tag: it tells whether the entry still has the changes that were written.

A tag is DAEMON:BATCH DIGEST CLOCK BYTES (docs/layout.md).  The digest is a letter and eight hexadecimal digits:

c  CRC-32 of the lines, of an entry whose changes are lines; the daemon computes it
s  the first digits of the SHA-1 of names and values in their order, with line feeds between them, of any other; the
   script computes it, so a value of more than SHORT bytes is in it as its CRC-32, in eight digits, by the daemon
"""

import hashlib
from typing import Any
from zlib import crc32

SHORT = 64
"""Bytes of a value that is in a digest as it is."""
DIGITS = 8
LARGE = 4096
"""Bytes of a value that is in the entry itself; of a larger one there is a reference."""

_REFERENCES = {b"t": b"g", b"b": b"h", b"T": b"G", b"B": b"H"}


def crc(value: bytes) -> bytes:
    """The CRC-32 of a value, in hexadecimal digits."""
    return b"%08x" % crc32(value)


def digest_of_lines(lines: bytes) -> bytes:
    """The digest of an entry whose changes are lines."""
    return b"c" + crc(lines)


def verify(raw: list[Any]) -> bool | None:
    """Whether a log entry has the changes that were written; None for one of a layout that had no digest.

    raw: as Redis gives it, with large values in the places of references to them, as `read_entry` takes it.
    """
    _, (_, tag, *fields) = raw
    words = tag.split(b" ")
    if len(words) < len(("batch", "digest", "clock", "bytes")):
        return None
    if fields[0].isdigit() and int(fields[0]) != fields[1].count(b"\n"):
        return False
    return bool(words[1] == _digest_of(fields))


def _digest_of(fields: list[bytes]) -> bytes:
    if fields[0].isdigit():
        return digest_of_lines(fields[1])
    parts: list[bytes] = []
    for name, value in zip(fields[::2], fields[1::2], strict=True):
        letter = name[:1]
        if len(value) > LARGE:
            letter = _REFERENCES.get(letter, letter)
        parts += letter + name[1:], value if len(value) <= SHORT else crc(value)
    return b"s" + hashlib.sha1(b"\n".join(parts), usedforsecurity=False).hexdigest()[:DIGITS].encode()
