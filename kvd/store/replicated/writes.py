"""Batches of writes that are acknowledged when they are confirmed.

A batch goes with a WAIT in one piece.  Its reply is kept until enough replicas have it, and no failover had begun by
then.  If they are too few, only a write that changes nothing is sent, with another WAIT, until they are enough.
"""

import asyncio
import logging
from collections import deque
from contextlib import suppress
from itertools import chain
from typing import Any

from kvd.backoff import Backoff
from kvd.errors import StoreLost, Superseded, Unavailable, Uncertain
from kvd.requests import Increment
from kvd.store.redis.cache import Cache
from kvd.store.redis.clock import Clock
from kvd.store.redis.connection import Connection, Connector, Rejected
from kvd.store.redis.disk_space import FreeSpace
from kvd.store.redis.general import writes_of
from kvd.store.redis.jobs import Batch
from kvd.store.redis.writes import UNCERTAIN_AFTER, WriteBatcher
from kvd.store.replicated.confirmed import Confirmed, wait_command
from kvd.store.replicated.guard import Guard

logger = logging.getLogger("kvd.store")

GRACE = 5.0
"""Seconds that requests wait for a primary; longer than an ordinary failover takes."""
LONGEST_PAUSE = 0.1
"""Seconds between attempts to connect: a failover costs so much more at the most."""
MOST_UNCONFIRMED = 4
"""Batches that are replied to and not confirmed; with those in flight less than the eight whose replies are kept."""


def backoff() -> Backoff:
    """The pauses between attempts to connect."""
    return Backoff(longest=LONGEST_PAUSE, jitter=True)


class GuardedWriteBatcher(WriteBatcher):
    """Looks at a primary before others use it; acknowledges what that one alone has."""

    def __init__(
        self, connector: Connector, clock: Clock, cache: Cache, free_space: FreeSpace, owner_keys: int, guard: Guard
    ) -> None:
        super().__init__(connector, clock, cache, free_space, owner_keys)
        self._guard = guard

    def _grace(self) -> float:
        return GRACE

    def _backoff(self) -> Backoff:
        return backoff()

    async def _recover(self, connection: Connection) -> None:
        await super()._recover(connection)
        self._guard.serve(connection)

    def expect(self) -> None:
        """Nothing: others find only a primary that was found here; what is waited for from then on are replicas."""

    def _lost(self, lost: StoreLost) -> None:
        self._guard.pause()
        super()._lost(lost)


class ConfirmedWriteBatcher(GuardedWriteBatcher):
    """Acknowledges what is confirmed."""

    REPLIES = 2

    def __init__(
        self, connector: Connector, clock: Clock, cache: Cache, free_space: FreeSpace, owner_keys: int, guard: Guard,
        confirmed: Confirmed,
    ) -> None:  # fmt: skip
        super().__init__(connector, clock, cache, free_space, owner_keys, guard)
        self._confirmed = confirmed
        # Batches with their replies, the first so many of which enough replicas have.
        self._unconfirmed: deque[tuple[Batch, bytes]] = deque()
        self._replicated = 0
        self._verifying: asyncio.Task[None] | None = None
        self._is_short = False
        self._asked_again: float | None = None

    def is_busy(self) -> bool:
        """Whether anything is in flight, or not confirmed."""
        return super().is_busy() or bool(self._unconfirmed)

    def _may_send(self) -> bool:
        return not self._is_short and len(self._unconfirmed) < MOST_UNCONFIRMED and super()._may_send()

    def _encode(self, batch: Batch) -> bytes:
        return super()._encode(batch) + wait_command(self._confirmed.needed())

    def _settle(self, *replies: Any) -> None:
        if self._asked_again is None:
            super()._settle(*replies)
        else:
            # No batch is in flight then.
            self._take_replies(*replies)
            self._flush()

    def _take_replies(self, *replies: Any) -> None:
        reply, replicas = replies
        if isinstance(replicas, Rejected):
            raise StoreLost(str(replicas))
        if self._asked_again is not None:
            self._asked_again = None
        elif isinstance(reply, Rejected):
            self._reject(reply)
        else:
            self._unconfirmed.append((self._in_flight.popleft(), reply))
        if replicas >= self._confirmed.needed():
            # It counts for all that this connection has written.
            self._replicated = len(self._unconfirmed)
            self._have_enough()
        elif self._unconfirmed and not self._in_flight:
            self._ask_again(replicas)

    # ---- while replicas are too few

    def _ask_again(self, replicas: int) -> None:
        if not self._is_short:
            self._is_short = True
            needed = self._confirmed.needed()
            logger.warning("writes wait: %d replicas have them, and %d are to (--durability)", replicas, needed)
            self._after(self._grace(), self._give_up_waiting)
            self._after(UNCERTAIN_AFTER, self._give_up_in_flight)
        assert self._connection  # noqa: S101
        self._asked_again = asyncio.get_running_loop().time()
        self._connection.write(self._confirmed.note() + wait_command(self._confirmed.needed()))

    def _have_enough(self) -> None:
        if self._is_short:
            self._is_short = False
            logger.info("enough replicas have all writes")
            self._up()
        if self._replicated and self._verifying is None and self._connection:
            self._verifying = asyncio.get_running_loop().create_task(self._verify(self._connection))

    def _waits_since(self) -> float | None:
        return super()._waits_since() if self._asked_again is None else self._asked_again

    def _unavailable(self) -> Unavailable:
        # Also of a primary that was found again: it is not used before enough replicas have what is there.
        if (self._is_short or self._confirmed.is_short) and not (self._superseded or self._unusable):
            return self._confirmed.too_few()
        return super()._unavailable()

    # ---- when they are enough

    async def _verify(self, connection: Connection) -> None:
        """Acknowledge what enough replicas have, as long as nothing speaks against the primary."""
        try:
            with suppress(StoreLost):
                while count := self._replicated:
                    await self._guard.verify(connection)
                    for _ in range(count):
                        self._replicated -= 1
                        self._confirm(*self._unconfirmed.popleft())
                    self._flush()
        except Exception as error:  # unforeseen: `run` raises it
            connection.fail(error)
        finally:
            if self._verifying is asyncio.current_task():
                self._verifying = None

    def _confirm(self, batch: Batch, reply: bytes) -> None:
        self._confirmed.advance(_last_revision(batch, reply))
        self._acknowledge(batch, reply)

    # ---- while the primary is away

    def _lost(self, lost: StoreLost) -> None:
        self._stop_verifying()
        self._is_short, self._asked_again = False, None
        super()._lost(lost)

    def _stop_verifying(self) -> None:
        if self._verifying:
            self._verifying.cancel()
            self._verifying = None
        self._replicated = 0

    def _unresolved(self) -> deque[Batch]:
        return deque([*(batch for batch, _ in self._unconfirmed), *super()._unresolved()])

    async def _confirm_resolved(self, connection: Connection) -> None:
        # What was confirmed before is there: it may be read while replicas are too few.
        self._guard.serve(connection)
        self._confirmed.begin(await self._confirmed.confirm(connection))
        self._stop_verifying()
        self._unconfirmed.clear()

    def _give_up_in_flight(self) -> None:
        super()._give_up_in_flight()
        for batch, _ in self._unconfirmed:
            batch.fail(Uncertain("too few replicas confirm this write, which is done unless its primary is replaced"))

    def retire(self, error: Superseded) -> None:
        """See `Batcher`; what was done and is not confirmed may be undone."""
        self._stop_verifying()
        for batch, _ in self._unconfirmed:
            batch.fail(Uncertain(str(error)))
        super().retire(error)


def _last_revision(batch: Batch, reply: bytes) -> int:
    """Up to which revision the change log is there for certain, when this batch is; 0 if it does not tell."""
    if reply.startswith(b"="):
        return int(reply[1:]) + batch.results() - 1
    last = 0
    writes = chain.from_iterable(map(writes_of, batch.jobs))
    for write, outcome in zip(writes, reply.split(b" "), strict=False):
        # Of INCR it is the sum.
        if outcome.isdigit() and not isinstance(write, Increment):
            last = int(outcome)
    return last
