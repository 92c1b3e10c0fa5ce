"""Simple writes (`requests.Simple`) as the scripts take them, and as the requests that they are one by one."""

from collections.abc import Iterator, Sequence
from itertools import chain

from kvd.model import TEXT
from kvd.requests import Increment, Put, Simple, SimpleSets
from kvd.store.redis.connection import ALL, Argument, script
from kvd.store.redis.digest import SHORT, crc, digest_of_lines

ADDED = b"+"
"""In the place of a life: values are amounts."""


def call_of(numbered: Sequence[Argument], items: Sequence[Simple]) -> bytes:
    """The call of a script for a batch.  numbered: daemon, number and clock."""
    if set(map(type, items)) == {SimpleSets}:
        lines = b"".join([item[1] for item in items])  # type: ignore[misc]  # as was seen
        return script("set", ALL, [*numbered, digest_of_lines(lines), lines])
    runs, parts = zip(*map(_runs, items), strict=True)
    pairs = list(chain.from_iterable(parts))
    crcs = b"".join([crc(value) for value in pairs[1::2] if len(value) > SHORT])
    return script("simple", ALL, [*numbered, b"".join(runs), crcs, *pairs])


def _runs(item: Simple) -> tuple[bytes, list[bytes]]:
    """As a `SimpleWrites` has them."""
    if not isinstance(item, SimpleSets):
        return item
    pairs = [word for line in item.lines[:-1].split(b"\n") for word in line.split(b" ", 1)]
    return b"0 %d " % len(item.keys), pairs


def requests_of(item: Simple) -> Iterator[Put | Increment]:
    """The same writes, one by one."""
    runs, pairs = _runs(item)
    words = runs.split()
    lives = [life for life, count in zip(words[::2], words[1::2], strict=True) for _ in range(int(count))]
    for life, key, value in zip(lives, pairs[::2], pairs[1::2], strict=True):
        yield Increment(key, value) if life == ADDED else Put(key, TEXT, value, int(life))
