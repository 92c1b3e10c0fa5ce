"""Chunks of plain requests, recognised whole: most traffic, at a fraction of what its lines cost one by one.

What is recognised means the same here as line by line (see `requests`); the rest is simply not recognised.
"""

import re

from kvd.model import PlainPuts

LONGEST_VALUE = 4096
"""Bytes of a value that the store keeps in its record; longer ones are not plain."""

LONGEST_LINE = 4 + 512 + 1 + LONGEST_VALUE + 2
"""Bytes of a plain line with its end."""

_KEY = "[!-)+-~]{1,512}"
_KEYS = re.compile(f"{_KEY}(?:\n{_KEY})*".encode()).fullmatch
_READ = re.compile(f"GET ({_KEY})\n".encode()).fullmatch
_WRITE = re.compile(f"SET ({_KEY}) ([\t -~]{{0,{LONGEST_VALUE}}})\n".encode()).fullmatch
"""One line of ASCII, like _READ: what is sent when nobody pipelines, at half the cost."""
_WRITES = re.compile(f"(?:SET {_KEY} [^\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]*\r?\n)+").fullmatch


def read(chunk: bytes) -> bytes | None:
    """The key, if a chunk is one line `GET key` with a key of ASCII, and nothing else."""
    line = _READ(chunk)
    return line[1] if line else None


def reads(chunk: bytes) -> list[bytes] | None:
    """What stands in the places of keys, if a chunk is complete lines `GET ...`, and nothing else.

    Whether those are keys is for `are_keys` to say, or for whoever knows some.
    """
    if not chunk.startswith(b"GET "):
        return None
    if b"\r" in chunk:
        chunk = chunk.replace(b"\r\n", b"\n")
    text = chunk.replace(b"\nGET ", b"\n")
    words = text[4:-1].split(b"\n")
    is_whole = chunk.endswith(b"\n") and len(chunk) - len(text) == len(b"GET ") * (len(words) - 1)
    return words if is_whole else None


def are_keys(words: list[bytes]) -> bool:
    """Whether all words are keys of ASCII."""
    return _KEYS(b"\n".join(words)) is not None


def writes(chunk: bytes, max_value: int) -> PlainPuts | None:
    """What they say, if a chunk is complete lines `SET key value` with ASCII keys, and nothing else.

    max_value: int, bytes of the longest value, of which LONGEST_VALUE at the most are plain.
    """
    if line := _WRITE(chunk):
        return ([line[1]], chunk[4:]) if len(line[2]) <= max_value else None
    if not chunk.endswith(b"\n"):
        return None
    try:
        if not _WRITES(chunk.decode()):
            return None
    except UnicodeDecodeError:
        return None
    if b"\r" in chunk:
        chunk = chunk.replace(b"\r\n", b"\n")
    text = chunk.replace(b"\nSET ", b"\n")[4:]
    lines = text[:-1].split(b"\n")
    keys = [line.split(b" ", 1)[0] for line in lines]
    longest = min(max_value, LONGEST_VALUE)
    if len(chunk) > longest and any(len(line) - len(key) - 1 > longest for key, line in zip(keys, lines, strict=True)):
        return None
    return keys, text
