"""Ranges of keys: listed page by page, and counted."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from kvd.model import Position
from kvd.requests import KeyRange
from kvd.store.api import Page
from kvd.store.redis.channel import Channel
from kvd.store.redis.clock import Clock
from kvd.store.redis.connection import BIG, DATA, INDEX, META, OWNED, TTL, Argument, script
from kvd.store.redis.expiry import Counting
from kvd.store.redis.records import unpack
from kvd.store.redis.turns import pause

PAGE_KEYS = 100
"""Keys in a page of a listing, and
PAGE_BYTES: bytes in it, the last value excepted: a page keeps Redis and the daemon from other work for half a
millisecond.  With 1,000 keys a listing took 0.6 of the time, and the slowest of other requests ten times as long."""
PAGE_BYTES = 256 * 1024
PAGE_PAUSE = 0.0005
"""Seconds that a listing makes way for others after a page in whose time they asked for something.  The slowest of
them then take a quarter of the time, and the listing twice its own."""
EVERYTHING = 2**53
"""More keys than there can be."""


class Ranges:
    """The keys of one store, in the order of their bytes."""

    def __init__(self, channel: Channel, clock: Clock, counting: Counting, asked: Callable[[], int]) -> None:
        """asked: how often single keys were read or written."""
        self._channel = channel
        self._clock = clock
        self._counting = counting
        self._asked = asked

    async def pages(self, wanted: KeyRange, *, records: bool) -> AsyncIterator[Page]:
        """See `api.Store`.  Raises Unavailable."""
        least, most = _within(wanted)
        left = wanted.limit or EVERYTHING
        while left > 0:
            asked = self._asked()
            page, last = await self._page(
                least, most, min(left, PAGE_KEYS), records=records, expired=False, reverse=wanted.reverse,
                fold=wanted.fold, prefix=len(wanted.pattern.removesuffix(b"*")), owner=wanted.owner,
            )  # fmt: skip
            # Looked at before the page is used: what is done with its keys, as DEL does, is not others' asking.
            is_shared = self._asked() != asked
            left -= len(page.items)
            yield page
            # Not kept while the next one is waited for.
            del page
            if not last:
                return
            least, most = (least, b"(" + last) if wanted.reverse else (b"(" + last, most)
            if left and is_shared:
                await pause(PAGE_PAUSE)

    async def page(self, pattern: bytes, after: bytes, *, values: bool) -> tuple[Page, bytes]:
        """See `api.Store`.  Raises Unavailable."""
        least, most = bounds(pattern)
        asked = self._asked()
        begin = b"(" + after if after else least
        page, last = await self._page(begin, most, PAGE_KEYS, records=True, values=values, expired=True)
        if last and self._asked() != asked:
            await pause(PAGE_PAUSE)
        return page, last

    async def records(self, keys: Sequence[bytes], *, values: bool) -> Page:
        """See `api.Store`.  Raises Unavailable."""
        packed = script("records", [DATA, BIG, META], [PAGE_BYTES, int(values), *keys])
        revision, store, clock, *flat = await self._channel.call(packed)
        self._clock.see(int(clock))
        pairs = zip(keys, flat[::2], flat[1::2], strict=False)
        items = [(key, unpack(raw, value) if raw else None) for key, raw, value in pairs]
        return Page(Position(int(revision), store), items)

    async def _page(
        self, least: bytes, most: bytes, limit: int, *, records: bool, expired: bool, values: bool = True,
        reverse: bool = False, fold: bytes = b"", prefix: int = 0, owner: bytes = b"",
    ) -> tuple[Page, bytes]:  # fmt: skip
        """One page, and the place after which the next begins, b"" at the end.

        expired: also expired keys whose end is not in the change log yet.  values: of records, also large ones.
        prefix: bytes that are not folded.  owner: of what lives with it, b"" for all.
        """

        def packed() -> bytes:
            arguments: list[Argument] = [least, most, limit, PAGE_BYTES, int(records), int(expired), self._clock.now,
                                         int(reverse), fold, prefix, int(values), owner]  # fmt: skip
            return script("page", [DATA, BIG, INDEX, TTL, META, OWNED], arguments)

        revision, store, last, clock, *flat = await self._channel.call(packed)
        self._clock.see(int(clock))
        items: list[tuple[bytes, Any]]
        if records:
            triples = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
            items = [(key, unpack(raw, value) if raw else None) for key, raw, value in triples]
        else:
            items = [(key, None) for key in flat]
        return Page(Position(int(revision), store), items), last

    async def count(self, pattern: bytes) -> int:
        """How many keys match.  Raises Unavailable."""
        least, most = bounds(pattern)
        return await self._counting.count(least, most, pattern.removesuffix(b"*"))


def _within(wanted: KeyRange) -> tuple[bytes, bytes]:
    """A range of keys as ZRANGEBYLEX takes it."""
    least, most = bounds(wanted.pattern)
    after, prefix = wanted.after, len(wanted.pattern.removesuffix(b"*"))
    if wanted.fold and after.find(wanted.fold, prefix) == len(after) - len(wanted.fold) >= prefix:
        # It stands for all keys that begin with it.
        after += b"\xff"
    if after and after >= least[1:]:
        least = b"(" + after
    if wanted.before and wanted.before <= most[1:]:
        most = b"(" + wanted.before
    return least, most


def bounds(pattern: bytes) -> tuple[bytes, bytes]:
    """A pattern as the range that ZRANGEBYLEX takes.  0xFF comes after every byte of UTF-8."""
    if pattern.endswith(b"*"):
        return b"[" + pattern[:-1], b"(" + pattern[:-1] + b"\xff"
    return b"[" + pattern, b"[" + pattern
