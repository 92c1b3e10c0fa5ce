"""Group commit: what waits when a connection to Redis has room goes as one command.

A batcher is one connection, a queue of jobs before it, and up to DEPTH batches in flight.  It wakes no task: a batch is
sent when all sockets that were ready have been read, and settled as its reply arrives.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import Any, ClassVar

from kvd.backoff import Backoff
from kvd.counts import Counts, Tally
from kvd.errors import StoreLost, StoreUnusable, Superseded, Unavailable
from kvd.metrics import BATCHES, ROUND_TRIPS
from kvd.store.redis.connection import Connection, Connector, Rejected, answer, command, info_of
from kvd.store.redis.jobs import Batch, Job, fail
from kvd.store.redis.patience import Patience

logger = logging.getLogger("kvd.store")

DEPTH = 2
"""Batches in flight: one that Redis works on while the next is made; a third gained nothing (measured)."""
BATCH_ITEMS = 256
"""Requests in a batch, and
BATCH_BYTES: bytes of values in it: together they keep Redis from blocking more than 5 ms."""
BATCH_BYTES = 512 * 1024
GRACE = 1.0
"""Seconds that requests wait for a store that is away; longer than a restart of the embedded one takes."""
REPLY_TIMEOUT = 10.0
"""Seconds without a reply after which a connection is given up."""
MOST_DEATHS = 2
"""Deaths of the store in a row under which a request was in flight before it is given up: it may be what kills it."""
LEAST_PAUSE = 0.02
"""Seconds between two attempts to connect, whatever is expected; half of it the first time."""
KILLED = "the store died twice in a row while it did this; nothing was done, and it is not tried again"


class Batcher(ABC):
    """One kind of requests on one connection, which comes back when it is lost.

    asked: int, jobs that were ever queued.  others: to be set; the batchers of the same store.
    """

    others: Sequence["Batcher"] = ()
    REPLIES: ClassVar[int] = 1
    """Of Redis to a batch."""

    def __init__(self, connector: Connector, name: str) -> None:
        self._connector = connector
        self._name = name
        self.asked = 0
        self._waiting: deque[Job] = deque()
        self._in_flight: deque[Batch] = deque()
        self._connection: Connection | None = None
        self._flushing = False
        self._down = False
        self._refusing = False
        self._expected = asyncio.Event()
        self._unusable = ""
        self._superseded: Superseded | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._giving_up: asyncio.TimerHandle | None = None
        self._store_run = ""
        self._patience = Patience(REPLY_TIMEOUT, self._waits_since)
        self.count_in(Counts())

    def count_in(self, counts: Counts) -> None:
        """Count batches in a process's row."""
        self._sizes, self._round_trips = Tally(BATCHES, counts), Tally(ROUND_TRIPS, counts)
        self._place = self._sizes.place(self._name)

    def submit(self, items: Sequence[Any], size: int, count: int = 0) -> asyncio.Future[Any]:
        """Queue at most BATCH_ITEMS requests; the future gives their results, or raises a `Refusal`.

        size: int, bytes of values, for BATCH_BYTES; a larger job goes alone.
        count: int, if that is not the number of items.
        """
        future = asyncio.get_running_loop().create_future()
        self.put(Job(items, count or len(items), size, len(items), partial(answer, future)))
        return future

    def put(self, job: Job) -> None:
        """Queue a job of at most BATCH_ITEMS requests."""
        self.asked += 1
        if self._refusing:
            job.finish(self._unavailable())
        else:
            self._waiting.append(job)
            self._flush_soon()

    def is_busy(self) -> bool:
        """Whether anything is in flight."""
        return bool(self._in_flight)

    @property
    def is_there(self) -> bool:
        """Whether the store is there, and was looked at."""
        return self._connection is not None

    async def run(self) -> None:
        """Connect, serve, and begin again when the connection is lost, for ever.  Raises Superseded."""
        backoff = self._backoff()
        while True:
            self._expected.clear()
            try:
                connection = await self._connector.open()
                try:
                    async with asyncio.timeout(REPLY_TIMEOUT):
                        await self._recover(connection)
                    self._up()
                    backoff.reset()
                    await self._serve(connection)
                finally:
                    await connection.close()
            except TimeoutError:
                self._lost(StoreLost(f"no answer within {REPLY_TIMEOUT:.0f} s"))
            except StoreLost as lost:
                self._lost(lost)
            pause = backoff.next()
            # A store may be found again and again, and lost at once.
            await asyncio.sleep(min(pause, LEAST_PAUSE))
            with suppress(TimeoutError):
                async with asyncio.timeout(pause - LEAST_PAUSE):
                    await self._expected.wait()

    def expect(self) -> None:
        """Another batcher has found the store: who is answered there, and asks here, waits for this one to find it."""
        if self._down and not self._superseded:
            self._refusing = False
            self._begin_grace()
            self._expected.set()

    def retire(self, error: Superseded) -> None:
        """Refuse all that waits or is in flight, and all that comes: `run` runs no more."""
        self._superseded = error
        self._give_up_waiting()
        self._give_up_in_flight()

    # ---- while it is there

    async def _serve(self, connection: Connection) -> None:
        """Send and settle until the connection is lost.  Raises StoreLost."""
        connection.deliver(self._settle, self.REPLIES)
        self._connection = connection
        self._patience.begin(connection.fail)
        try:
            self._flush()
            await connection.lost
        finally:
            self._connection = None
            self._patience.end()
            connection.lost.cancel()

    def _waits_since(self) -> float | None:
        """When that was sent which is to be answered next; None: nothing was."""
        return self._in_flight[0].sent if self._in_flight else None

    def _flush_soon(self) -> None:
        """Send when all that has arrived by now is queued."""
        if self._connection and not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Send what waits, as far as there is room."""
        self._flushing = False
        try:
            while self._connection and self._waiting and self._may_send():
                batch = self._take()
                if batch.jobs:
                    packed = self._encode(batch)
                    self._in_flight.append(batch)
                    self._connection.write(packed)
                    self._patience.keep()
        except Exception as error:  # unforeseen: `run` raises it
            if self._connection:
                self._connection.fail(error)

    def _settle(self, *replies: Any) -> None:
        """The replies to the oldest batch in flight."""
        oldest = self._in_flight[0]
        self._sizes.observe(self._place, oldest.count)
        self._round_trips.observe(self._place, perf_counter() - oldest.began)
        self._take_replies(*replies)
        self._flush()

    def _may_send(self) -> bool:
        """Whether the next batch may be sent."""
        return len(self._in_flight) < DEPTH

    def _take(self) -> Batch:
        jobs: list[Job] = []
        items = size = count = 0
        while self._waiting:
            job = self._waiting[0]
            items += job.count
            size += job.size
            if jobs and (items > BATCH_ITEMS or size > BATCH_BYTES):
                break
            self._waiting.popleft()
            # What was given up must not be done after all.
            if not job.finished:
                jobs.append(job)
                count += job.results
        return Batch(jobs, asyncio.get_running_loop().time(), count=count)

    @abstractmethod
    def _encode(self, batch: Batch) -> bytes:
        """The commands for a batch."""

    @abstractmethod
    def _take_replies(self, *replies: Any) -> None:
        """Settle the oldest batch in flight.  A reply may be a Rejected.  Raises StoreLost."""

    # ---- while it is away

    def _grace(self) -> float:
        """Seconds that requests wait for a store that is away."""
        return GRACE

    def _backoff(self) -> Backoff:
        """The pauses between attempts to connect."""
        return Backoff(jitter=True)

    @abstractmethod
    async def _recover(self, connection: Connection) -> None:
        """Find out what became of what was in flight.  Raises StoreLost."""

    async def _look_whether_died(self, connection: Connection) -> bool:
        """Whether the store was started anew since the last connection.  Raises StoreLost."""
        try:
            run = info_of(await connection.call(command("INFO", "server"))).get("run_id", "")
        except Rejected as error:
            raise StoreLost(str(error)) from None
        before, self._store_run = self._store_run, run
        return bool(before) and run != before

    def _count_death(self, jobs: Iterable[Job]) -> None:
        """The store died while it did these; who was in flight too often is given up.  They certainly were not done."""
        given_up = 0
        for job in jobs:
            job.deaths += 1
            if job.deaths >= MOST_DEATHS:
                job.finish(Unavailable(KILLED))
                given_up += job.count
        if given_up:
            logger.error("%s: the store died twice in a row under %d requests; they are given up", self._name, given_up)

    def _lost(self, lost: StoreLost) -> None:
        if isinstance(lost, StoreUnusable) and str(lost) != self._unusable:
            self._unusable = str(lost)
            logger.error("%s: the store cannot be used: %s", self._name, lost)
        if self._down:
            return
        self._down = True
        logger.warning("%s: lost the store: %s", self._name, lost)
        self._begin_grace()

    def _found(self) -> None:
        """The store is there, and nobody was answered yet: who is may ask for the next thing at once."""
        self._refusing = False
        for other in self.others:
            other.expect()

    def _up(self) -> None:
        if self._down:
            logger.info("%s: the store is back", self._name)
        self._down = self._refusing = False
        self._unusable = ""
        self._expected.clear()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _begin_grace(self) -> None:
        if self._giving_up in self._timers:
            self._giving_up.cancel()
            self._timers.remove(self._giving_up)
        self._giving_up = self._after(self._grace(), self._give_up_waiting)

    def _after(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        self._timers.append(asyncio.get_running_loop().call_later(seconds, callback))
        return self._timers[-1]

    def _give_up_waiting(self) -> None:
        self._refusing = True
        fail(self._waiting, self._unavailable())
        self._waiting.clear()

    def _give_up_in_flight(self) -> None:
        for batch in self._in_flight:
            batch.fail(self._unavailable())

    def _unavailable(self) -> Unavailable:
        if self._superseded:
            return self._superseded
        if self._unusable:
            return Unavailable(f"the store cannot be used: {self._unusable}")
        return Unavailable("the store is unreachable; nothing was done; try again")
