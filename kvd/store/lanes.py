"""Group commit: what waits when a connection to Redis has room goes as one command.

A lane is one connection that is always read, a queue of jobs before it, and up to DEPTH batches under way.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from random import random
from typing import Any

from kvd.errors import KvdError, StoreLost, Unavailable
from kvd.store.link import NOSCRIPT, Dialer, Link, Rejected

log = logging.getLogger("kvd.store")

DEPTH = 2
"""Batches under way: one that Redis works on while the next is made; a third gained nothing (measured)."""
BATCH_ITEMS = 256
"""Requests in a batch, and
BATCH_BYTES: bytes of values in it: together they keep Redis from blocking more than 5 ms."""
BATCH_BYTES = 512 * 1024
GRACE = 1.0
"""Seconds that requests wait for a store that is away; longer than a restart of the embedded one takes."""
REPLY_TIMEOUT = 10.0
"""Seconds without a reply after which a connection is given up."""
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 1.0
"""Seconds between attempts to connect; each pause doubles, up to the longest."""


Done = Callable[[Any], None]
"""Takes the results of a job, or the KvdError."""


@dataclass(slots=True, eq=False)
class Job:
    """Requests of one session, and where their results go.

    count: int, how many they are for BATCH_ITEMS, a transaction as many as it has writes.
    results: int, how many results they have.
    plain: whether its requests are of the plainest kind, which the lane does in a shorter way.
    """

    items: Sequence[Any]
    count: int
    size: int
    results: int
    done: Done
    plain: bool = False


@dataclass(slots=True, eq=False)
class Batch:
    """Jobs that went in one command; number is set by lanes that number theirs."""

    jobs: list[Job]
    sent: float
    number: int = 0

    def items(self) -> list[Any]:
        """All items, in order."""
        return list(chain.from_iterable(job.items for job in self.jobs))

    def results(self) -> int:
        """How many results all jobs have."""
        return sum(job.results for job in self.jobs)

    def settle(self, results: Sequence[Any]) -> None:
        """Give each job the results of its requests."""
        start = 0
        for job in self.jobs:
            end = start + job.results
            job.done(results[start:end])
            start = end

    def fail(self, error: KvdError) -> None:
        """Give each job the error."""
        fail(self.jobs, error)


def fail(jobs: Sequence[Job], error: KvdError) -> None:
    """Give jobs an error."""
    for job in jobs:
        job.done(error)


def resolve(future: asyncio.Future[Any], result: Any) -> None:
    """Give a future, unless nobody waits for it any more, what a job came to."""
    if future.done():
        return
    if isinstance(result, KvdError):
        future.set_exception(result)
    else:
        future.set_result(result)


class Lane(ABC):
    """One kind of requests on one connection, which comes back when it is lost."""

    def __init__(self, dialer: Dialer, name: str) -> None:
        self._dialer = dialer
        self._name = name
        self._waiting: deque[Job] = deque()
        self._under_way: deque[Batch] = deque()
        self._wake = asyncio.Event()
        self._down = False
        self._refusing = False
        self._timers: list[asyncio.TimerHandle] = []

    def submit(self, items: Sequence[Any], size: int, count: int = 0) -> asyncio.Future[Any]:
        """Queue at most BATCH_ITEMS requests; the future gives their results, or raises a `Refusal`.

        size: int, bytes of values, for BATCH_BYTES; a larger job goes alone.
        count: int, if that is not the number of items.
        """
        future = asyncio.get_running_loop().create_future()
        self.put(Job(items, count or len(items), size, len(items), partial(resolve, future)))
        return future

    def put(self, job: Job) -> None:
        """Queue a job of at most BATCH_ITEMS requests."""
        if self._refusing:
            job.done(self._unavailable())
        else:
            self._waiting.append(job)
            self._wake.set()

    async def run(self) -> None:
        """Connect, serve, and begin again when the connection is lost, for ever."""
        pause = FIRST_PAUSE
        while True:
            try:
                link = await self._dialer.open()
                try:
                    await self._recover(link)
                    self._up()
                    pause = FIRST_PAUSE
                    await self._serve(link)
                finally:
                    await link.close()
            except StoreLost as lost:
                self._lost(lost)
            await asyncio.sleep(pause * (0.5 + random() / 2))  # noqa: S311
            pause = min(pause * 2, LONGEST_PAUSE)

    # ---- while it is there

    async def _serve(self, link: Link) -> None:
        """Send and receive until the connection is lost.  Raises StoreLost."""
        tasks = [asyncio.create_task(part) for part in (self._send(link), self._receive(link), self._watch_time())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, link: Link) -> None:
        while True:
            while not self._waiting or not self._has_room():
                self._wake.clear()
                await self._wake.wait()
            batch = self._take()
            if batch.jobs:
                packed = self._encode(batch)
                self._under_way.append(batch)
                await link.send(packed)

    def _has_room(self) -> bool:
        return len(self._under_way) < DEPTH

    def _take(self) -> Batch:
        jobs: list[Job] = []
        items = size = 0
        while self._waiting:
            job = self._waiting[0]
            items += job.count
            size += job.size
            if jobs and (items > BATCH_ITEMS or size > BATCH_BYTES):
                break
            jobs.append(self._waiting.popleft())
        return Batch(jobs, asyncio.get_running_loop().time())

    @abstractmethod
    def _encode(self, batch: Batch) -> bytes:
        """The commands for a batch."""

    @abstractmethod
    async def _receive(self, link: Link) -> None:
        """Settle batches as their replies come.  Raises StoreLost."""

    async def _watch_time(self) -> None:
        while True:
            await asyncio.sleep(REPLY_TIMEOUT / 4)
            if self._under_way and asyncio.get_running_loop().time() - self._under_way[0].sent > REPLY_TIMEOUT:
                raise StoreLost(f"no answer within {REPLY_TIMEOUT:.0f} s")

    # ---- while it is away

    @abstractmethod
    async def _recover(self, link: Link) -> None:
        """Find out what became of what was under way.  Raises StoreLost."""

    def _lost(self, lost: StoreLost) -> None:
        if self._down:
            return
        self._down = True
        log.warning("%s: lost the store: %s", self._name, lost)
        self._after(GRACE, self._give_up_waiting)

    def _up(self) -> None:
        if self._down:
            log.info("%s: the store is back", self._name)
        self._down = self._refusing = False
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _after(self, seconds: float, callback: Callable[[], None]) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(seconds, callback))

    def _give_up_waiting(self) -> None:
        self._refusing = True
        fail(self._waiting, self._unavailable())
        self._waiting.clear()

    @staticmethod
    def _unavailable() -> Unavailable:
        return Unavailable("the store is away; nothing was done; try again")


class Channel:
    """A connection for one call at a time.  Only for calls that may be repeated."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self._lock = asyncio.Lock()
        self._link: Link | None = None

    async def call(self, packed: bytes) -> Any:
        """The reply to a command.  Raises Unavailable, and Rejected as Redis answers it."""
        loop = asyncio.get_running_loop()
        asked = loop.time()
        async with self._lock:
            if loop.time() > asked + REPLY_TIMEOUT:
                raise Unavailable("the store answers too slowly; nothing was done; try again")
            give_up = loop.time() + GRACE
            while True:
                with suppress(StoreLost, TimeoutError):
                    return await self._try(packed)
                await self.close()
                if loop.time() > give_up:
                    raise Unavailable("the store is away; nothing was done; try again")
                await asyncio.sleep(FIRST_PAUSE)

    async def _try(self, packed: bytes) -> Any:
        if self._link is None:
            self._link = await self._dialer.open()
        try:
            async with asyncio.timeout(REPLY_TIMEOUT):
                return await self._link.call(packed)
        except Rejected as error:
            if error.word == NOSCRIPT:
                # A new connection loads the scripts.
                raise StoreLost(str(error)) from None
            raise

    async def close(self) -> None:
        """Close the connection; the next call opens another."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()
