"""The lane of single-key reads: one HMGET for all that wait."""

from collections.abc import Sequence
from typing import Any

from kvd.errors import StoreLost, Unavailable
from kvd.model import TEXT, Record
from kvd.store.lanes import Batch, Lane
from kvd.store.link import DATA, Dialer, Link, Rejected, command

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


def living(raw: bytes | None, now: int) -> Record | None:
    """The record, unless there is none or its time is over."""
    if raw is None:
        return None
    record = unpack(raw)
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


class ReadLane(Lane):
    """Items are keys; results are records as the store packs them, None for no such key.

    Of a plain job, results are what `plain_values` makes of them.
    """

    REPLIES = 2

    def __init__(self, dialer: Dialer, clock: Clock) -> None:
        super().__init__(dialer, "reads")
        self._clock = clock

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

    @staticmethod
    def _give(batch: Batch, raws: Sequence[bytes | None], now: int) -> None:
        values = plain_values(raws, now)
        start = 0
        for job in batch.jobs:
            end = start + job.results
            if not job.plain:
                job.done(raws[start:end])
            elif values is not None:
                job.done(values[start:end])
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


def milliseconds(time: list[Any]) -> int:
    """TIME's reply, [seconds, microseconds], in milliseconds."""
    return int(time[0]) * 1000 + int(time[1]) // 1000
