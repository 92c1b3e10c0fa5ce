"""Chunks of the commonest requests, recognised whole: most traffic, at a fraction of what its lines cost one by one.

What is recognised means the same here as line by line (see `requests`); the rest is simply not recognised.  A GET that
is answered from the cache takes 1 us from its arrival to its reply, and 11 line by line; 16 in a chunk 7, and 35.
"""

import re
from collections.abc import Sequence

from kvd.model import TEXT
from kvd.requests import Put, SimpleSets, Write

LONGEST_VALUE = 4096
"""Bytes of a value that the store keeps in its record; longer ones are not simple."""

LONGEST_LINE = 4 + 512 + 3 + LONGEST_VALUE + 2
"""Bytes of a simple line with its end."""

_KEY = "[!-)+-~]{1,512}"
_KEYS = re.compile(f"{_KEY}(?:\n{_KEY})*".encode()).fullmatch
_SET = re.compile(f"(?:SET|set) ({_KEY}) ([\t -~]{{0,{LONGEST_VALUE}}})\r?\n".encode()).fullmatch
"""One line of ASCII: what is sent when nobody pipelines, at half the cost."""
_PUT = re.compile(f"(?:PUT|put) ({_KEY}) = ([\t -~]{{0,{LONGEST_VALUE}}})\r?\n".encode()).fullmatch
_SETS = re.compile(f"(?:SET {_KEY} [^\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]*\r?\n)+").fullmatch
_PUTS = re.compile(f"(?:PUT {_KEY} = [^\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]*\r?\n)+").fullmatch
_PUT_BEGINS = re.compile(f"^PUT ({_KEY}) = ".encode(), re.MULTILINE).sub
_FIRST = {b"S": _SET, b"s": _SET, b"P": _PUT, b"p": _PUT}


def reads(word: bytes, chunk: bytes) -> list[bytes] | None:
    """The words in the places of keys, if a chunk is complete lines `WORD ...`, and nothing else.

    Whether those are keys is for `are_keys` to say.
    """
    begin = word + b" "
    if b"\r" in chunk:
        chunk = chunk.replace(b"\r\n", b"\n")
    text = chunk.replace(b"\n" + begin, b"\n")
    words = text[len(begin) : -1].split(b"\n")
    is_whole = (
        chunk.endswith(b"\n") and chunk.startswith(begin) and len(chunk) - len(text) == len(begin) * (len(words) - 1)
    )
    return words if is_whole else None


def is_key(word: bytes) -> bool:
    """Whether a word is a key of ASCII."""
    return _KEYS(word) is not None


def are_keys(words: Sequence[bytes]) -> bool:
    """Whether all words are keys of ASCII."""
    return _KEYS(b"\n".join(words)) is not None


def sets(chunk: bytes, max_value: int) -> SimpleSets | None:
    """What they say, if a chunk is complete lines `SET key value`, or all of them `PUT key = value`, with ASCII keys.

    max_value: int, bytes of the longest value, of which LONGEST_VALUE at the most are simple.
    """
    one = _FIRST.get(chunk[:1])
    if one is None or not chunk.endswith(b"\n"):
        return None
    if line := one(chunk):
        key, value = line.groups()
        return SimpleSets([key], b"%b %b\n" % (key, value)) if len(value) <= max_value else None
    try:
        text = chunk.decode()
    except UnicodeDecodeError:
        return None
    if _PUTS(text):
        chunk = _PUT_BEGINS(rb"SET \1 ", chunk)
    elif not _SETS(text):
        return None
    return _simple(chunk.replace(b"\r\n", b"\n") if b"\r" in chunk else chunk, min(max_value, LONGEST_VALUE))


def _simple(chunk: bytes, longest: int) -> SimpleSets | None:
    """Lines `SET key value`, unless a value is too long."""
    text = chunk.replace(b"\nSET ", b"\n")[4:]
    lines = text[:-1].split(b"\n")
    keys = [line.split(b" ", 1)[0] for line in lines]
    if len(chunk) > longest and any(len(line) - len(key) - 1 > longest for key, line in zip(keys, lines, strict=True)):
        return None
    return SimpleSets(keys, text)


def as_sets(writes: Sequence[Write]) -> SimpleSets | None:
    """Requests in their simple form, if all of them have one."""
    for write in writes:
        if not (isinstance(write, Put) and write.kind == TEXT and len(write.value) <= LONGEST_VALUE):
            return None
        if write.ttl or write.condition or write.owner:
            return None
    puts: Sequence[Put] = writes  # type: ignore[assignment]  # as was seen
    return SimpleSets([put.key for put in puts], b"".join([b"%b %b\n" % put[0:3:2] for put in puts]))
