"""The lanes of single-key reads: one HMGET for all that wait, and large values one by one on another connection."""

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from kvd.errors import KvdError, StoreLost, Unavailable
from kvd.model import TEXT, Record
from kvd.store.cache import Cache
from kvd.store.lanes import BATCH_ITEMS, Batch, Done, Job, Lane
from kvd.store.link import BIG, DATA, NOSCRIPT, Dialer, Link, Rejected, command, script

_LARGE = {b"T": b"t", b"B": b"b"}
"""Kinds of records whose value stands apart, to the kind of the value."""

_TIME = command("TIME")


class Clock:
    """The store's clock in milliseconds, as far as this daemon has seen it.  It never goes back."""

    def __init__(self) -> None:
        self.now = 0

    def see(self, now: int) -> int:
        """Take a reading; returns the clock."""
        self.now = max(self.now, now)
        return self.now


def unpack(raw: bytes, value: bytes = b"") -> Record:
    """A record as the store packs it: revision, deadline, kind, value; `value` if that stands apart."""
    revision, deadline, kind, payload = raw.split(b" ", 3)
    if kind in _LARGE:
        return Record(revision, deadline, _LARGE[kind], value, not value)
    return Record(revision, deadline, kind, payload)


def living(raw: bytes | None, now: int, value: bytes = b"") -> Record | None:
    """The record as `unpack` gives it, unless there is none or its time is over."""
    if raw is None:
        return None
    record = unpack(raw, value)
    return None if record.deadline != b"0" and int(record.deadline) <= now else record


def plain_values(raws: Sequence[bytes | None], now: int) -> list[bytes | None] | None:
    """The values of records, None for those that are not there; None for them all if any is no text or large."""
    values: list[bytes | None] = []
    for raw in raws:
        if raw is None:
            values.append(None)
            continue
        _, deadline, kind, value = raw.split(b" ", 3)
        if kind != TEXT:
            return None
        values.append(value if deadline == b"0" or int(deadline) > now else None)
    return values


def _lasting_text(raw: bytes | None) -> bytes | None:
    """The value of a record, if it is a text that stands in it and does not expire."""
    if raw is None:
        return None
    _, deadline, kind, value = raw.split(b" ", 3)
    return value if kind == TEXT and deadline == b"0" else None


def _is_large_text(raw: bytes | None) -> bool:
    return raw is not None and raw.split(b" ", 3)[2] == b"T"


class _ReadingLane(Lane):
    """What both lanes have in common: to read again does no harm.  The last reply to a batch is that of TIME."""

    def __init__(self, dialer: Dialer, name: str, clock: Clock, cache: Cache) -> None:
        super().__init__(dialer, name)
        self._clock = clock
        self._cache = cache

    def _encode(self, batch: Batch) -> bytes:
        batch.mark = self._cache.begin_read()
        # The clock is asked after the records: a key that it finds alive was alive when it was read.
        return self._ask(batch.items()) + _TIME

    @abstractmethod
    def _ask(self, keys: list[bytes]) -> bytes:
        """The reading command."""

    def _take_replies(self, *replies: Any) -> None:
        rejected = next((reply for reply in replies if isinstance(reply, Rejected)), None)
        if rejected and rejected.word == NOSCRIPT:
            # A new connection loads the scripts, and all is asked again.
            raise StoreLost(str(rejected))
        batch = self._under_way.popleft()
        if rejected:
            self._cache.end_read(batch.mark)
            batch.fail(Unavailable(f"the store says: {rejected}"))
        else:
            self._give(batch, replies[-2], self._clock.see(milliseconds(replies[-1])))

    @abstractmethod
    def _give(self, batch: Batch, found: list[Any], now: int) -> None:
        """Settle a batch by the reply to its reading command, as of `now`, milliseconds of the store's clock."""

    def _lost(self, lost: StoreLost) -> None:
        self._cache.clear()
        while self._under_way:
            batch = self._under_way.pop()
            self._cache.end_read(batch.mark)
            self._waiting.extendleft(reversed(batch.jobs))
        super()._lost(lost)

    async def _recover(self, link: Link) -> None:  # noqa: ARG002
        """Nothing is unknown; but the store may have been set back."""
        self._cache.clear()


class ReadLane(_ReadingLane):
    """Items are keys; results are a pair: records as the store packs them, None for no such key, and the clock then.

    Of a plain job, results are what `plain_values` makes of them.
    """

    REPLIES = 2

    def __init__(self, dialer: Dialer, clock: Clock, cache: Cache, fetch: Callable[[Job], None]) -> None:
        """fetch: does a plain job of one key whose value is a large text."""
        super().__init__(dialer, "reads", clock, cache)
        self._fetch = fetch

    def _ask(self, keys: list[bytes]) -> bytes:
        return command("HMGET", DATA, *keys)

    def _give(self, batch: Batch, found: list[bytes | None], now: int) -> None:
        self._cache.end_read(batch.mark, zip(batch.items(), map(_lasting_text, found), strict=True))
        values = plain_values(found, now) if all(job.plain for job in batch.jobs) else None
        start = 0
        for job in batch.jobs:
            end = start + job.results
            if not job.plain:
                job.finish((found[start:end], now))
            elif values is not None:
                job.finish(values[start:end])
            elif job.count == 1 and _is_large_text(found[start]):
                self._fetch(job)
            else:
                job.finish(plain_values(found[start:end], now))
            start = end


class LargeLane(_ReadingLane):
    """Items are single keys; results are records with their values, however large, None for no such key."""

    REPLIES = 2

    def __init__(self, dialer: Dialer, clock: Clock, cache: Cache) -> None:
        super().__init__(dialer, "large reads", clock, cache)

    def read(self, key: bytes) -> Awaitable[list[Record | None]]:
        """The result for one key.  Raises Unavailable."""
        return self.submit([key], 0, BATCH_ITEMS)

    def put_plain(self, job: Job) -> None:
        """Do a plain job of one key."""
        self.put(Job(job.items, BATCH_ITEMS, 0, 1, partial(_give_plain, job.finish)))

    def _ask(self, keys: list[bytes]) -> bytes:
        return script("large", [DATA, BIG], keys)

    def _give(self, batch: Batch, found: list[Any], now: int) -> None:
        raw, value = found
        record = living(raw, now, value or b"")
        lasting = record and record.deadline == b"0" and record.kind == TEXT
        self._cache.end_read(batch.mark, [(batch.jobs[0].items[0], record.value)] if record and lasting else ())
        batch.settle([record])


def _give_plain(done: Done, records: list[Record | None] | KvdError) -> None:
    """Give a plain job the value of its record: the text, or None if it is none by now."""
    if isinstance(records, KvdError):
        done(records)
    elif records[0] is None:
        done([None])
    else:
        done([records[0].value] if records[0].kind == TEXT else None)


def milliseconds(time: list[Any]) -> int:
    """TIME's reply, [seconds, microseconds], in milliseconds."""
    return int(time[0]) * 1000 + int(time[1]) // 1000
