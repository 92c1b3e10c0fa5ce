"""The lanes of single-key reads: one HMGET for all that wait, and large values one by one on another connection."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from kvd.errors import KvdError, StoreLost, Unavailable
from kvd.model import TEXT, Record
from kvd.store.lanes import BATCH_ITEMS, Batch, Done, Job, Lane
from kvd.store.link import BIG, DATA, Dialer, Link, Rejected, command

_LARGE = {b"T": b"t", b"B": b"b"}
"""Kinds of records whose value stands apart, to the kind of the value."""

_TIME = command("TIME")
_MULTI, _EXEC = command("MULTI"), command("EXEC")


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


def _is_large_text(raw: bytes | None) -> bool:
    return raw is not None and raw.split(b" ", 3)[2] == b"T"


class ReadLane(Lane):
    """Items are keys; results are records as the store packs them, None for no such key.

    Of a plain job, results are what `plain_values` makes of them.
    """

    REPLIES = 2

    def __init__(self, dialer: Dialer, clock: Clock, fetch: Callable[[Job], None]) -> None:
        """fetch: does a plain job of one key whose value is a large text."""
        super().__init__(dialer, "reads")
        self._clock = clock
        self._fetch = fetch

    def _encode(self, batch: Batch) -> bytes:
        # The clock is asked after the records: a key that it finds alive was alive when it was read.
        return command("HMGET", DATA, *batch.items()) + _TIME

    def _take_replies(self, *replies: Any) -> None:
        raws, time = replies
        now = self._clock.see(milliseconds(time))
        batch = self._under_way.popleft()
        if isinstance(raws, Rejected):
            batch.fail(Unavailable(f"the store says: {raws}"))
        else:
            self._give(batch, raws, now)

    def _give(self, batch: Batch, raws: Sequence[bytes | None], now: int) -> None:
        values = plain_values(raws, now)
        start = 0
        for job in batch.jobs:
            end = start + job.results
            if not job.plain:
                job.done(raws[start:end])
            elif values is not None:
                job.done(values[start:end])
            elif job.count == 1 and _is_large_text(raws[start]):
                self._fetch(job)
            else:
                job.done(plain_values(raws[start:end], now))
            start = end

    def _lost(self, lost: StoreLost) -> None:
        # Reading again does no harm.
        while self._under_way:
            self._waiting.extendleft(reversed(self._under_way.pop().jobs))
        super()._lost(lost)

    async def _recover(self, link: Link) -> None:
        """Nothing is unknown."""


class LargeLane(ReadLane):
    """Items are single keys; results are records with their values, however large, None for no such key."""

    REPLIES = 5

    def __init__(self, dialer: Dialer, clock: Clock) -> None:
        super().__init__(dialer, clock, self.put_plain)
        self._name = "large reads"

    def read(self, key: bytes) -> Awaitable[list[Record | None]]:
        """The result for one key.  Raises Unavailable."""
        return self.submit([key], 0, BATCH_ITEMS)

    def put_plain(self, job: Job) -> None:
        """Do a plain job of one key."""
        self.put(Job(job.items, BATCH_ITEMS, 0, 1, partial(_give_plain, job.done)))

    def _encode(self, batch: Batch) -> bytes:
        (key,) = batch.items()
        # Together: the value is that of the record.
        return _MULTI + command("HGET", DATA, key) + command("HGET", BIG, key) + _EXEC + _TIME

    def _take_replies(self, *replies: Any) -> None:
        *_, found, time = replies
        now = self._clock.see(milliseconds(time))
        batch = self._under_way.popleft()
        if isinstance(found, Rejected):
            batch.fail(Unavailable(f"the store says: {found}"))
        else:
            raw, value = found
            batch.settle([living(raw, now, value or b"")])


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
