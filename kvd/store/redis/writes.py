"""The batcher of writes: one script call and one log entry for all that wait, each batch applied at most once.

Batches are numbered.  The write script applies a number only after the one before it and keeps its reply;
after a lost connection the resolve script gives the kept replies and fences the numbers that were not applied,
so that bytes still in the old socket never run.  What was fenced was certainly not applied, and is sent anew.
"""

import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import chain
from typing import Any, NoReturn

from kvd.errors import StoreLost, Superseded, Unavailable, Uncertain
from kvd.memory import FULL as MEMORY_FULL
from kvd.store.redis.batching import BATCH_BYTES, BATCH_ITEMS, Batcher
from kvd.store.redis.cache import Cache
from kvd.store.redis.clock import Clock
from kvd.store.redis.connection import ALL, META, NOSCRIPT, Argument, Connection, Connector, Rejected, lost_by, script
from kvd.store.redis.disk_space import DELETES_SHARE, FULL, FreeSpace
from kvd.store.redis.general import arguments_of, begun, keys_of, only_deletes
from kvd.store.redis.jobs import Batch, fail
from kvd.store.redis.simple import call_of

UNCERTAIN_AFTER = 10.0
"""Seconds that writes in flight wait for a lost store to come back and say what became of them."""
FENCED = "FENCED"
"""First word of the write script's error for a batch that is not the next one."""
UNWRITABLE = "MISCONF"
"""First word of Redis's error for a write while it cannot write to its file, and does not end because of that."""
OOM = "OOM"
"""First word of Redis's error for a write that would need memory when that is full, and
NO_MEMORY: the outcome of one in a batch of which others go on."""
NO_MEMORY = b"f"


class WriteBatcher(Batcher):
    """Items are writes; results are outcomes.

    attach: to be set; looks at a store before it is written to, with the number of the last acknowledged batch; gives
    that of the last one of those that it has, and raises StoreLost.
    """

    attach: Callable[[Connection, int], Awaitable[int]]

    def __init__(
        self, connector: Connector, clock: Clock, cache: Cache, free_space: FreeSpace, owner_keys: int
    ) -> None:
        """free_space: on the store's disk.  owner_keys: that may live with one."""
        super().__init__(connector, "writes")
        self._clock = clock
        self._cache = cache
        self._free_space = free_space
        self._owner_keys = owner_keys
        self.refused_for_space = False
        self.daemon = secrets.token_hex(4)
        self._number = 0
        self._acknowledged = 0
        # Refused by the store, and what was sent after it and so could not be applied either.
        self._refused = 0
        self._behind: deque[Batch] = deque()

    def _may_send(self) -> bool:
        # Redis syncs once a batch: one that is smaller than the one before it had better wait for it, and grow.
        return not self._refused and super()._may_send() and self._is_worth_it()

    def _is_worth_it(self) -> bool:
        """Whether what waits fills a batch, or is as much as what is in flight.

        As much will do, so that few writers who take turns do not wait for each other.
        """
        most = min(BATCH_ITEMS, sum(job.count for batch in self._in_flight for job in batch.jobs))
        items = size = 0
        for job in self._waiting:
            items += job.count
            size += job.size
            if items >= most or size >= BATCH_BYTES:
                return True
        return False

    def _take(self) -> Batch:
        batch = super()._take()
        share = self._free_space(sum(job.size for job in batch.jobs))
        if share < 1:
            self.refused_for_space = True
            self._refuse(batch, Unavailable(FULL), spare_deletes=share >= DELETES_SHARE)
        return batch

    @staticmethod
    def _refuse(batch: Batch, error: Unavailable, *, spare_deletes: bool) -> None:
        """Refuse the jobs of a batch, but for those that only delete; these stay in it."""
        spared = [job for job in batch.jobs if spare_deletes and only_deletes(job)]
        fail([job for job in batch.jobs if job not in spared], error)
        batch.jobs = spared

    def _encode(self, batch: Batch) -> bytes:
        self._number += 1
        batch.number = self._number
        numbered: list[Argument] = [self.daemon, batch.number, self._clock.now]
        batch.mark = self._cache.begin_write(chain.from_iterable(map(keys_of, batch.jobs)))
        if all(job.simple for job in batch.jobs):
            return call_of(numbered, [job.items for job in batch.jobs])  # type: ignore[misc]  # as simple says
        writes = chain.from_iterable(chain.from_iterable(map(arguments_of, batch.jobs)))
        return script("write", ALL, [*numbered, self._owner_keys, *writes])

    def _take_replies(self, *replies: Any) -> None:
        (reply,) = replies
        if isinstance(reply, Rejected):
            self._reject(reply)
        else:
            self._acknowledge(self._in_flight.popleft(), reply)

    def _acknowledge(self, batch: Batch, reply: bytes) -> None:
        self._acknowledged = batch.number
        self._cache.end_write(batch.mark)
        # What waits goes first: Redis works on it while these are answered.
        self._flush()
        if reply.startswith(b"="):
            # All are revisions, and only the first one is told.
            first = int(reply[1:])
            batch.settle([b"%d" % revision for revision in range(first, first + batch.results())])
        else:
            outcomes = reply.split(b" ") if reply else []
            if len(outcomes) < batch.results():
                outcomes = self._leave(batch, outcomes)
            if NO_MEMORY in outcomes:
                fail([job for job in batch.jobs if job.simple], Unavailable(MEMORY_FULL))
            batch.settle(outcomes)

    def _leave(self, batch: Batch, outcomes: list[bytes]) -> list[bytes]:
        """The store came to its end before the batch's: what is left goes again, before all that waits.

        Returns the outcomes of the jobs that are done, which alone stay in the batch.
        """
        done = 0
        for place, job in enumerate(batch.jobs):
            if done + job.results > len(outcomes):
                left = [begun(job, outcomes[done:]), *(begun(job, []) for job in batch.jobs[place + 1 :])]
                self._waiting.extendleft(reversed(left))
                del batch.jobs[place:]
                break
            done += job.results
        self._flush()
        return outcomes[:done]

    def _reject(self, error: Rejected) -> None:
        """The oldest batch in flight was not applied."""
        self.refused_for_space |= error.word == UNWRITABLE
        refusal = lost_by(error)
        if isinstance(refusal, Superseded):
            self._drop(refusal)
        behind = error.word == FENCED and self._refused
        if not behind and error.word in (NOSCRIPT, FENCED):
            raise StoreLost(str(error))
        batch = self._in_flight.popleft()
        if not behind:
            # Deletes were perhaps refused only because of the writes beside them.
            mixed = not all(map(only_deletes, batch.jobs))
            text = MEMORY_FULL if error.word == OOM else f"the store refuses writes: {error}"
            self._refuse(batch, Unavailable(text), spare_deletes=mixed)
            self._refused = batch.number
        self._behind.append(batch)
        if not self._in_flight:
            self._number = self._refused - 1
            self._again(self._behind)

    def _drop(self, error: Superseded) -> NoReturn:
        """None of what is in flight was applied, nor will be."""
        for batch in (*self._behind, *self._in_flight):
            batch.fail(error)
        self._behind.clear()
        self._in_flight.clear()
        self.retire(error)
        raise error

    def _again(self, batches: deque[Batch]) -> None:
        """Send batches that were certainly not applied once more, before all that waits."""
        while batches:
            batch = batches.pop()
            self._cache.end_write(batch.mark)
            self._waiting.extendleft(reversed(batch.jobs))
        self._refused = 0

    async def _recover(self, connection: Connection) -> None:
        self._cache.clear()
        if self._free_space(0) < DELETES_SHARE:
            # To resolve is to write.
            self.refused_for_space = True
            raise StoreLost(FULL)
        self._acknowledged = await self.attach(connection, self._acknowledged)
        unknown = self._unresolved()
        first = unknown[0].number if unknown else self._number + 1
        answers = await self._resolve(connection, first) if self._number else []
        died = await self._look_whether_died(connection)
        await self._confirm_resolved(connection)
        self._behind.clear()
        self._in_flight.clear()
        self._found()
        for answer in answers:
            if answer is not None:
                self._acknowledge(unknown.popleft(), answer)
        if died:
            self._count_death(job for batch in unknown for job in batch.jobs)
        self._again(unknown)

    def _unresolved(self) -> deque[Batch]:
        """All that was sent and not settled, in the order of its numbers."""
        return deque([*self._behind, *self._in_flight])

    async def _confirm_resolved(self, connection: Connection) -> None:
        """Make sure that what has been found there stays there.  Raises StoreLost, TimeoutError."""

    async def _resolve(self, connection: Connection, first: int) -> list[bytes | None]:
        try:
            arguments: list[Argument] = [self.daemon, first, self._number, self._clock.now]
            answers: list[bytes | None] = await connection.call(script("resolve", [META], arguments))
        except Rejected as error:
            raise StoreLost(str(error)) from None
        return answers

    def _lost(self, lost: StoreLost) -> None:
        self._cache.clear()
        if not self._down:
            self._after(UNCERTAIN_AFTER, self._give_up_in_flight)
        super()._lost(lost)

    def _unavailable(self) -> Unavailable:
        return Unavailable(FULL) if self._free_space(0) < DELETES_SHARE else super()._unavailable()

    def _give_up_in_flight(self) -> None:
        for batch in self._behind:
            batch.fail(self._unavailable())
        for batch in self._in_flight:
            batch.fail(Uncertain("the store was lost under this write, which may have been done"))
