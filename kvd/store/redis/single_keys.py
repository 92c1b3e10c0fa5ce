"""The part of a store that reads and writes single keys."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from kvd.model import Kept, Outcome, Record
from kvd.requests import AnyWrite, Limited, Simple, Transaction
from kvd.store.api import Found, ReadDone, WriteDone
from kvd.store.redis.batching import BATCH_BYTES, BATCH_ITEMS
from kvd.store.redis.cache import Cache
from kvd.store.redis.connection import answer
from kvd.store.redis.jobs import Job
from kvd.store.redis.reads import LargeValueBatcher, ReadBatcher
from kvd.store.redis.writes import WriteBatcher


class SingleKeys:
    """Records by their keys, and what changes them.

    kept: gives what is kept of a key here.
    """

    batch_items = BATCH_ITEMS
    batch_bytes = BATCH_BYTES
    kept: Callable[[bytes], Kept | None]

    def __init__(self, cache: Cache, reads: ReadBatcher, large: LargeValueBatcher, writes: WriteBatcher) -> None:
        """cache: of records that were read; reads: fills it."""
        self._cache = cache
        self.kept = cache.get
        self._reads, self._large, self._writes = reads, large, writes

    async def read(self, keys: Sequence[bytes]) -> Found:
        """The records of at most BATCH_ITEMS keys, None for those that are not there, and the clock (ms).

        Values of large records are left out; `fetch` gets one.  Raises Unavailable.
        """
        future: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self.read_then(keys, partial(answer, future))
        return await future

    def read_then(self, keys: Sequence[bytes], done: ReadDone, *, fetch: bool = False) -> None:
        """Have `done` called with what `read` gives or raises; at once, if all of it is kept here.

        fetch: with its value, however large, if it is one key.
        """
        kept = self.kept_all(keys)
        if kept is None:
            self.ask_then(keys, done, fetch=fetch)
        else:
            # Nothing that is kept has a time to live, for which alone the clock is asked.
            done(([one.record() for one in kept], 0))

    def ask_then(self, keys: Sequence[bytes], done: ReadDone, *, fetch: bool = False) -> None:
        """The same for keys that are not kept here."""
        self._reads.put(Job(keys, len(keys), 0, len(keys), done, fetch=fetch))

    def kept_all(self, keys: Sequence[bytes]) -> list[Kept] | None:
        """What is kept of keys here, if that is all of them, and not too much for one reply."""
        found = self._cache.get_all(keys)
        return found if found and sum([len(kept.value) for kept in found]) <= BATCH_BYTES else None

    def kept_texts(self, keys: Sequence[bytes]) -> list[bytes] | None:
        """The values of keys, if all of them are kept here, are texts, and are not too much for one reply."""
        values = self._cache.texts(keys)
        return values if values and sum(map(len, values)) <= BATCH_BYTES else None

    async def fetch(self, key: bytes) -> Record | None:
        """One record with its value, however large.  Raises Unavailable."""
        (record,), _ = await self.read([key])
        if record and record.large:
            (record,) = await self._large.read(key, record)
        return record

    async def write(self, writes: Sequence[AnyWrite] | Simple, size: int) -> list[Outcome]:
        """Apply at most BATCH_ITEMS writes in their order; other writes may come between them.

        size: int, bytes of their values.  Raises Unavailable, Uncertain.
        """
        future: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        self.write_then(writes, size, partial(answer, future))
        return await future

    def write_then(self, writes: Sequence[AnyWrite] | Simple, size: int, done: WriteDone) -> None:
        """Have `done` called with what `write` gives or raises."""
        simple = isinstance(writes, Simple)
        count = len(writes.keys) if isinstance(writes, Simple) else len(writes)
        self._writes.put(Job(writes, count, size, count, done, simple=simple))

    async def transact(self, transaction: Transaction | Limited, size: int) -> Outcome:
        """Apply all of a transaction, or nothing.  Raises Unavailable, Uncertain."""
        (outcome,) = await self._writes.submit([transaction], size, len(transaction.touches()))
        return bytes(outcome)

    def _asked(self) -> int:
        """How often single keys were read or written."""
        return self._cache.asked + self._reads.asked + self._writes.asked
