"""What an edge answers from its copy: single keys, and ranges of them."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence

from kvd.edge.copy import Copy, within
from kvd.edge.feed import Feed
from kvd.edge.freshness import Freshness
from kvd.errors import Unavailable
from kvd.model import TEXT, Position, Record
from kvd.requests import KeyRange
from kvd.store.api import Found, Page, ReadDone

LARGE = 16 * 1024
"""Bytes of a value that is sent alone, so that the peer may read it first."""
EVERYTHING = 2**53
"""More keys than there can be."""


class Reading:
    """The part of an edge's store that reads its copy, as long as that may be shown."""

    batch_items = 512
    batch_bytes = 512 * 1024

    def __init__(self, feed: Feed, freshness: Freshness) -> None:
        self.feed = feed
        self._freshness = freshness

    @property
    def known(self) -> Position:
        """Where the copy is."""
        return self.feed.position or Position(0, b"")

    @property
    def _copy(self) -> Copy:
        """Raises Unavailable if it must not be shown."""
        self._freshness.check()
        return self.feed.copy

    # ---- single keys

    @property
    def kept(self) -> Callable[[bytes], Record | None]:
        """See `api.Store`."""
        feed, freshness, now = self.feed, self._freshness, time.monotonic

        def kept(key: bytes) -> Record | None:
            record = feed.copy.get(key) if now() < freshness.until else None
            # A large one is sent by and by: all may ask for it at once.
            return None if record and len(record.value) > LARGE else record

        return kept

    def kept_all(self, keys: Sequence[bytes]) -> list[Record] | None:
        """See `api.Store`."""
        if time.monotonic() >= self._freshness.until:
            return None
        records = [record for record in map(self.feed.copy.get, keys) if record]
        fits = len(records) == len(keys) and sum([len(record.value) for record in records]) <= self.batch_bytes
        return records if fits else None

    def kept_texts(self, keys: Sequence[bytes]) -> list[bytes] | None:
        """See `api.Store`."""
        values = [record.value for record in self.kept_all(keys) or [] if record.kind == TEXT]
        return values if len(values) == len(keys) else None

    def read_then(self, keys: Sequence[bytes], done: ReadDone, *, fetch: bool = False) -> None:
        """See `api.Store`."""
        try:
            found = self.found(keys, fetch=fetch)
        except Unavailable as error:
            done(error)
        else:
            done((found, 0))

    def ask_then(self, keys: Sequence[bytes], done: ReadDone, *, fetch: bool = False) -> None:
        """See `api.Store`."""
        self.read_then(keys, done, fetch=fetch)

    def found(self, keys: Sequence[bytes], *, fetch: bool) -> list[Record | None]:
        """The records of keys.  fetch: also of large values, or of many.  Raises Unavailable."""
        records = [*map(self._copy.get, keys)]
        if fetch:
            return records
        found: list[Record | None] = []
        left = self.batch_bytes
        for record in records:
            size = len(record.value) if record else 0
            left -= size
            # What goes over a batch is sent by and by, as large values are.
            found.append(record._replace(large=True) if record and (size > LARGE or left < 0) else record)
        return found

    def lacks(self, keys: Sequence[bytes], revision: int) -> bool:
        """Whether the copy has none of some keys as they were at a revision."""
        records = [*filter(None, map(self.feed.copy.get, keys))]
        return all(int(record.revision) > revision for record in records)

    async def read(self, keys: Sequence[bytes]) -> Found:
        """See `api.Store`."""
        return self.found(keys, fetch=False), 0

    async def fetch(self, key: bytes) -> Record | None:
        """See `api.Store`."""
        return self._copy.get(key)

    # ---- ranges of keys

    async def pages(self, wanted: KeyRange, *, records: bool) -> AsyncIterator[Page]:
        """See `api.Store`."""
        least, most = within(wanted)
        left = wanted.limit or EVERYTHING
        while left > 0:
            items, last = self._copy.page(wanted, least, most, left, records=records)
            yield Page(self.known, items)
            if not last:
                return
            left -= len(items)
            least, most = (least, (last, False)) if wanted.reverse else ((last, False), most)
            await asyncio.sleep(0)

    async def page(self, pattern: bytes, after: bytes, *, values: bool = True) -> tuple[Page, bytes]:
        """See `api.Store`."""
        wanted = KeyRange(pattern, after)
        items, last = self._copy.page(wanted, *within(wanted), EVERYTHING, records=True)
        # Where the copy was when they were read, and not when others have had their turn.
        position = self.known
        await asyncio.sleep(0)
        return Page(position, items if values else [(key, _without_value(record)) for key, record in items]), last

    async def records(self, keys: Sequence[bytes], *, values: bool = True) -> Page:
        """See `api.Store`."""
        items = self._copy.records(keys)
        if not values:
            items = [(key, record and _without_value(record)) for key, record in items]
        return Page(self.known, items)

    async def count(self, pattern: bytes) -> int:
        """See `api.Store`."""
        return self._copy.count(pattern)


def _without_value(record: Record) -> Record:
    return record._replace(value=b"", apart=len(record.value))
