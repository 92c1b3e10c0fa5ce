"""Single keys, given when what was found is confirmed.

With the records goes the revision of the store, asked after them: what was found is not newer.  If that is confirmed,
so is all; else a record is if its own revision is, and an absent key is not.  What is not is held until it is.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from kvd.backoff import Backoff
from kvd.errors import StoreLost, Unavailable
from kvd.model import Record
from kvd.store.redis.cache import Cache
from kvd.store.redis.clock import Clock
from kvd.store.redis.connection import Connector, Rejected
from kvd.store.redis.jobs import Batch, Done
from kvd.store.redis.reads import LargeValueBatcher, ReadBatcher, ReadingBatcher
from kvd.store.replicated.confirmed import REVISION, TOO_FEW, Confirmed
from kvd.store.replicated.writes import GRACE, LONGEST_PAUSE, backoff

MOST_HELD = 64
"""Batches that are held at the most."""


class Held(NamedTuple):
    """A batch whose replies are not confirmed up to `revision`."""

    batch: Batch
    revision: int
    replies: tuple[Any, ...]


class _PatientBatcher(ReadingBatcher):
    """Waits for a primary as long as a failover takes."""

    def _grace(self) -> float:
        return GRACE

    def _backoff(self) -> Backoff:
        return backoff()


class GuardedReadBatcher(_PatientBatcher, ReadBatcher):
    """Reads what the primary has."""


class GuardedLargeValueBatcher(_PatientBatcher, LargeValueBatcher):
    """Reads large values that the primary has."""


class _FencedBatcher(_PatientBatcher):
    """Gives what is confirmed."""

    _confirmed: Confirmed

    def _begin(self, confirmed: Confirmed) -> None:
        self._confirmed = confirmed
        self._held: deque[Held] = deque()
        self._confirming: asyncio.Task[None] | None = None

    def _may_send(self) -> bool:
        return len(self._held) < MOST_HELD and super()._may_send()

    def _encode(self, batch: Batch) -> bytes:
        return super()._encode(batch) + REVISION

    def _take_replies(self, *replies: Any) -> None:
        *found, newest = replies
        if not isinstance(newest, Rejected) and int(newest or 0) > self._confirmed.revision:
            revision = _needed(found[-1], int(newest))
            if revision > self._confirmed.revision:
                self._held.append(Held(self._in_flight.popleft(), revision, tuple(found)))
                if self._confirming is None:
                    self._confirming = asyncio.get_running_loop().create_task(self._confirm())
                return
        super()._take_replies(*found)

    async def _confirm(self) -> None:
        try:
            while self._held:
                await self._reach(self._held[0].revision)
                self._give_confirmed()
        except Exception as error:  # unforeseen: `run` raises it
            if self._connection:
                self._connection.fail(error)
        finally:
            self._confirming = None

    async def _reach(self, revision: int) -> None:
        """Returns when a revision is confirmed, or nothing is held any more."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + GRACE
        while self._held and revision > self._confirmed.revision:
            try:
                async with asyncio.timeout_at(give_up):
                    with suppress(StoreLost):
                        await self._confirmed.reach(revision)
                        return
                    await asyncio.sleep(LONGEST_PAUSE)
            except TimeoutError:
                while self._held:
                    batch = self._held.popleft().batch
                    self._cache.end_read(batch.mark)
                    batch.fail(Unavailable(TOO_FEW))

    def _give_confirmed(self) -> None:
        """Those of the held batches that are confirmed by now, if the store is still the one that was asked."""
        held, self._held = self._held, deque()
        for one in held:
            if one.revision > self._confirmed.revision:
                self._held.append(one)
            else:
                # Where the reply to it was taken from.
                self._in_flight.appendleft(one.batch)
                super()._take_replies(*one.replies)
        self._flush()

    def _lost(self, lost: StoreLost) -> None:
        # Another primary may have other records of these revisions.
        self._in_flight.extendleft(one.batch for one in reversed(self._held))
        self._held.clear()
        super()._lost(lost)


class FencedReadBatcher(_FencedBatcher, ReadBatcher):
    """Reads what is confirmed."""

    REPLIES = ReadBatcher.REPLIES + 1

    def __init__(
        self, connector: Connector, clock: Clock, cache: Cache, fetch: Callable[[bytes, Record, Done], None],
        confirmed: Confirmed,
    ) -> None:  # fmt: skip
        super().__init__(connector, clock, cache, fetch)
        self._begin(confirmed)


class FencedLargeValueBatcher(_FencedBatcher, LargeValueBatcher):
    """Reads large values that are confirmed."""

    REPLIES = LargeValueBatcher.REPLIES + 1

    def __init__(self, connector: Connector, clock: Clock, cache: Cache, confirmed: Confirmed) -> None:
        super().__init__(connector, clock, cache)
        self._begin(confirmed)


def _needed(raws: Any, newest: int) -> int:
    """The revision up to which the change log must be confirmed for records to be, of which None is an absent one."""
    if isinstance(raws, Rejected) or None in raws:
        return 0 if isinstance(raws, Rejected) else newest
    return max(int(raw.partition(b" ")[0]) for raw in raws)
