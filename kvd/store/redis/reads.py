"""The batchers of single-key reads: one HMGET for all that wait, and large values one by one on another connection."""

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any

from kvd.errors import KvdError, StoreLost, Unavailable
from kvd.model import Record
from kvd.store.redis.batching import BATCH_ITEMS, Batcher
from kvd.store.redis.cache import Cache
from kvd.store.redis.clock import Clock
from kvd.store.redis.connection import BIG, DATA, META, TTL, Connection, Connector, Rejected, command, script
from kvd.store.redis.jobs import Batch, Done, Job
from kvd.store.redis.records import is_expired, lasting, unexpired, unpack

_CLOCK = command("TIME") + command("HGET", META, "clock")
"""Asks for what the store's clock is the later one of: its machine's, and the one of its last write."""


class ReadingBatcher(Batcher):
    """What both batchers have in common: to read again does no harm.

    The store's clock is asked before its records, and these are judged as of then.  A record that is found although its
    deadline had passed by then was there all the time, and expired; one whose deadline had not passed was unexpired
    then, or when it was written.  A clock that was asked after the records would be compared with one that has been
    replaced since, and a key that was always there be found absent.
    """

    def __init__(self, connector: Connector, name: str, clock: Clock, cache: Cache) -> None:
        super().__init__(connector, name)
        self._clock = clock
        self._cache = cache
        self._interrupted: list[Job] = []

    def _encode(self, batch: Batch) -> bytes:
        items = batch.items()
        batch.mark = self._cache.begin_read(self._keys(items))
        batch.clock = self._clock.now
        return _CLOCK + self._ask(items)

    @abstractmethod
    def _keys(self, items: list[Any]) -> Iterable[bytes]:
        """Those of the items."""

    @abstractmethod
    def _ask(self, items: list[Any]) -> bytes:
        """The reading commands."""

    def _take_replies(self, *replies: Any) -> None:
        batch = self._in_flight.popleft()
        rejected = next((reply for reply in replies if isinstance(reply, Rejected)), None)
        if rejected:
            self._cache.end_read(batch.mark)
            batch.fail(Unavailable(f"the store says: {rejected}"))
        else:
            time, kept, *found = replies
            now = max(milliseconds(time), int(kept or 0))
            self._clock.see(now)
            self._give(batch, max(now, batch.clock), *found)

    @abstractmethod
    def _give(self, batch: Batch, now: int, *found: Any) -> None:
        """Settle a batch by the replies to its reading commands.

        now: int, milliseconds of the store's clock when it was asked, before the records.
        """

    def _lost(self, lost: StoreLost) -> None:
        self._cache.clear()
        while self._in_flight:
            batch = self._in_flight.pop()
            self._cache.end_read(batch.mark)
            self._waiting.extendleft(reversed(batch.jobs))
            self._interrupted += batch.jobs
        super()._lost(lost)

    async def _recover(self, connection: Connection) -> None:
        """Nothing is unknown; but the store may have been set back."""
        self._cache.clear()
        await self._clock.resume(connection)
        died = await self._look_whether_died(connection)
        interrupted, self._interrupted = self._interrupted, []
        self._found()
        if died:
            self._count_death(interrupted)


class ReadBatcher(ReadingBatcher):
    """Items are keys; results are a pair: the records, None for no such key, and the clock now.

    A job that finds a key that lives with another is done once more, by a script that looks at both at once.
    """

    REPLIES = 3

    def __init__(
        self, connector: Connector, clock: Clock, cache: Cache, fetch: Callable[[bytes, Record, Done], None]
    ) -> None:
        """fetch: gives a list of a large record with its value."""
        super().__init__(connector, "reads", clock, cache)
        self._fetch = fetch
        self._with_owners = False

    def _keys(self, items: list[bytes]) -> Iterable[bytes]:
        return items

    def _encode(self, batch: Batch) -> bytes:
        self._with_owners = any(job.with_owners for job in batch.jobs)
        return super()._encode(batch)

    def _ask(self, items: list[bytes]) -> bytes:
        return _living(items) if self._with_owners else command("HMGET", DATA, *items)

    def _give(self, batch: Batch, now: int, *found: Any) -> None:
        (raws,) = found
        try:
            records = [None if raw is None else unpack(raw) for raw in raws]
        except Unavailable:
            records = _without_damaged(batch, raws)
        kept = [(key, record) for key, record in zip(batch.items(), records, strict=True) if lasting(record)]
        self._cache.end_read(batch.mark, kept)
        owned = False
        if len(kept) < len(records):
            owned = any(record and record.owner for record in records)
            records = [None if record is None or is_expired(record, now) else record for record in records]
        # What is left of a time to live is told as of now: the record may be younger than the clock before it.
        clock = self._clock.now
        start = 0
        again = []
        for job in batch.jobs:
            found_here = records[start : start + job.results]
            start += job.results
            if owned and not job.with_owners and any(record and record.owner for record in found_here):
                job.with_owners = True
                again.append(job)
            elif job.fetch and (record := found_here[0]) and record.large:
                self._fetch(job.items[0], record, partial(_with_clock, job.finish, clock))
            else:
                job.finish((found_here, clock))
        self._waiting.extendleft(reversed(again))


def _without_damaged(batch: Batch, raws: Sequence[bytes | None]) -> list[Record | None]:
    """The records of a batch, once the jobs that asked for one that cannot be read are refused, and out of it."""
    left, records, start = [], [], 0
    for job in batch.jobs:
        asked = raws[start : start + job.results]
        start += job.results
        try:
            records += [None if raw is None else unpack(raw) for raw in asked]
        except Unavailable as damaged:
            job.finish(damaged)
        else:
            left.append(job)
    batch.jobs = left
    return records


def _with_clock(done: Done, clock: int, records: list[Record | None] | KvdError) -> None:
    done(records if isinstance(records, KvdError) else (records, clock))


class LargeValueBatcher(ReadingBatcher):
    """Items are keys, each with the large record that was found there; results are records with their values.

    A value is found by its record's revision.  The record that is found last decides, by its own deadline.  If that is
    another one, the first one is still the result, unless it is expired or its value has gone: then what replaced it
    is.  None means a key that has gone, or is expired.
    """

    REPLIES = 4

    def __init__(self, connector: Connector, clock: Clock, cache: Cache) -> None:
        super().__init__(connector, "large reads", clock, cache)

    def read(self, key: bytes, record: Record) -> Awaitable[list[Record | None]]:
        """The result for one key.  Raises Unavailable."""
        return self.submit([(key, record)], 0, BATCH_ITEMS)

    def read_then(self, key: bytes, record: Record, done: Done) -> None:
        """Have `done` called with a list of that, or with Unavailable."""
        self.put(Job([(key, record)], BATCH_ITEMS, 0, 1, done))

    def _keys(self, items: list[tuple[bytes, Record]]) -> Iterable[bytes]:
        return [key for key, _ in items]

    def _ask(self, items: list[tuple[bytes, Record]]) -> bytes:
        ((key, record),) = items
        # The record last: if it is still the one that was found, its value was there before.
        return command("HGET", BIG, record.revision) + (_living([key]) if record.owner else command("HMGET", DATA, key))

    def _give(self, batch: Batch, now: int, *found: Any) -> None:
        value, (raw,) = found
        (job,) = batch.jobs
        ((key, record),) = job.items
        try:
            latest = unexpired(raw, now)
        except Unavailable as damaged:
            self._cache.end_read(batch.mark)
            job.finish(damaged)
            return
        if latest and latest.revision == record.revision:
            whole = None if value is None else latest._replace(value=value, large=False, apart=0)
            self._cache.end_read(batch.mark, [(key, whole and lasting(whole))])
            job.finish([whole] if whole else _damaged(latest))
            return
        self._cache.end_read(batch.mark)
        if latest and latest.owner and not record.owner:
            # It is not known whether that one is expired: both are to be looked at.
            job.items = [(key, record._replace(owner=latest.owner))]
            self._waiting.appendleft(job)
            return
        if latest and value is not None and not is_expired(record, now):
            job.finish([record._replace(value=value, large=False, apart=0)])
        elif latest and latest.large:
            job.items = [(key, latest)]
            self._waiting.appendleft(job)
        else:
            job.finish([latest])

    async def _recover(self, connection: Connection) -> None:
        """A store that was set back may give a revision to another value: what waits is looked for anew."""
        await super()._recover(connection)
        for job in self._waiting:
            job.items = [(key, record._replace(revision=b"")) for key, record in job.items]


def _living(keys: Sequence[bytes]) -> bytes:
    """Asks for the records of keys, those that live with others under these ones' deadlines."""
    return script("living", [DATA, TTL, META], keys)


def _damaged(record: Record) -> Unavailable:
    return Unavailable(f"the store is damaged: it has a record, but no value, of revision {int(record.revision)}")


def milliseconds(time: list[Any]) -> int:
    """TIME's reply, [seconds, microseconds], in milliseconds."""
    return int(time[0]) * 1000 + int(time[1]) // 1000
