"""The sweep of expired keys, step by step, and exact counting while some are not swept yet.

However many keys are expired, the store does a bounded piece of work at a time, and between two pieces other requests
have their turn.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from kvd.counts import Counts, Tally
from kvd.errors import Refusal
from kvd.metrics import EXPIRY_LAG
from kvd.process.activity import Activity
from kvd.store.redis.channel import Channel
from kvd.store.redis.clock import Clock
from kvd.store.redis.connection import ALL, INDEX, META, TTL, Argument, answer, script
from kvd.store.redis.turns import TURN_PAUSE, Turns, pause

SWEEP_INTERVAL = 0.05
"""Seconds between looks for expired keys; a look that finds none costs Redis 8 us."""
SWEEP_KEYS = 64
"""Keys that one step deletes: it keeps Redis busy for 0.4 ms, and a sync to disk.  With 128, others' slowest GETs take
a third longer; with 32 they are hardly faster, for what is left is the sync, and catching up while others ask takes
twice as long again."""

COUNT_PATIENCE = 2.0
"""Seconds that a count leaves to the sweep to do away with what would have to be looked at."""
COUNT_PAUSE = 0.02
"""Seconds between two attempts to count meanwhile."""


class Sweep:
    """Deletes expired keys; keep `run` running.

    is_behind: whether more were expired than one step deletes, and this or another daemon is deleting them.
    is_needless: tells whether nothing is due, given the store's clock, by another way than asking the store; to be set.
    """

    def __init__(
        self,
        do: Callable[[Callable[[], bytes], Any], Awaitable[Any]],
        daemon: str,
        clock: Clock,
        turns: Turns,
        activity: Activity,
    ) -> None:
        """do: has a writing command made and sent, and gives its reply, or the second argument if it cannot be now.

        turns: of the store.  activity: of this process.
        """
        self._activity = activity
        self._do = do
        self._daemon = daemon
        self._clock = clock
        self._turns = turns
        self.is_behind = False
        self.is_needless: Callable[[int], Awaitable[bool]] = _never
        self.count_in(Counts())

    def count_in(self, counts: Counts) -> None:
        """Count what is deleted in a process's row."""
        self._counts, self._lags = counts, Tally(EXPIRY_LAG, counts)

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            if not (self.is_behind or self._activity.resting) and await self.is_needless(self._clock.now):
                await self._activity.pause(SWEEP_INTERVAL, at_rest=SWEEP_INTERVAL)
                continue
            found, now, behind, deadlines = await self._turns.take(self._step)
            self._clock.see(int(now))
            self.is_behind = behind == 1
            if found:
                self._count(found, int(now), deadlines)
            if found < SWEEP_KEYS:
                await self._activity.pause(SWEEP_INTERVAL, at_rest=until_next(found + behind, int(now), deadlines))

    def _step(self) -> Awaitable[Any]:
        """The reply of sweep.lua."""
        return self._do(lambda: script("sweep", ALL, [self._daemon, self._clock.now, SWEEP_KEYS]), (0, b"0", 0, ()))

    def _count(self, found: int, now: int, deadlines: Sequence[bytes]) -> None:
        self._counts.expired += found
        for deadline in deadlines:
            self._lags.observe(0, max(0, now - int(float(deadline))) / 1000)


async def _never(_: int) -> bool:
    return False


def until_next(more: int, now: int, deadlines: Sequence[bytes]) -> float | None:
    """Seconds until the next look of a process at rest; None: until there is something else to do.

    more: whether keys were due, of which this or another daemon deletes some.

    Nobody can give a key a shorter time to live then but through another process, which sweeps it.
    """
    if more:
        # When the next one is due was not told.
        return SWEEP_INTERVAL
    return max((int(float(deadlines[0])) - now) / 1000, SWEEP_INTERVAL) if deadlines else None


class Counting:
    """Counts the keys of ranges.  All who ask for the same range share the work."""

    def __init__(self, channel: Channel, clock: Clock, sweep: Sweep) -> None:
        self._channel = channel
        self._clock = clock
        self._sweep = sweep
        # Those who wait for a count of a range that takes more than one call, each range with its task.
        self._waiting: dict[tuple[bytes, bytes], list[asyncio.Future[int]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def count(self, least: bytes, most: bytes, beginning: bytes) -> int:
        """How many keys there are from `least` to `most`, as ZLEXCOUNT takes them.  Raises Unavailable.

        beginning: bytes, what all of them begin with, or the one key.
        """
        waiting = self._waiting.get((least, most))
        if waiting is None:
            found = await self._call(least, most, beginning, 0, ())
            if found is not None:
                return int(found)
            waiting = self._begin(least, most, beginning)
        future = asyncio.get_running_loop().create_future()
        waiting.append(future)
        return int(await future)

    def _begin(self, least: bytes, most: bytes, beginning: bytes) -> list[asyncio.Future[int]]:
        """Those who wait for the count of a range; it is begun if nobody waits yet."""
        if (least, most) not in self._waiting:
            self._waiting[least, most] = []
            task = asyncio.get_running_loop().create_task(self._serve(least, most, beginning))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return self._waiting[least, most]

    async def _serve(self, least: bytes, most: bytes, beginning: bytes) -> None:
        """Count a range until all who wait for it are answered."""
        waiting = self._waiting[least, most]
        patience = asyncio.get_running_loop().time() + COUNT_PATIENCE
        looked: tuple[Argument, ...] = ()
        try:
            while waiting:
                # Who comes while the call is in flight may have written what it does not see.
                served = len(waiting)
                leave = self._sweep.is_behind and asyncio.get_running_loop().time() < patience
                found = await self._call(least, most, beginning, int(not leave), looked)
                if isinstance(found, int):
                    for future in waiting[:served]:
                        answer(future, found)
                    del waiting[:served]
                    continue
                looked = tuple(found or ())
                await pause(COUNT_PAUSE if leave else TURN_PAUSE)
        except Refusal as error:
            for future in waiting:
                answer(future, error)
        finally:
            del self._waiting[least, most]
            for future in waiting:
                future.cancel()

    def _call(
        self, least: bytes, most: bytes, beginning: bytes, looking: int, looked: tuple[Argument, ...]
    ) -> Awaitable[Any]:
        """The reply of count.lua."""

        def packed() -> bytes:
            known: tuple[Argument, ...] = looked or (b"", b"", 0, 0)
            return script("count", [INDEX, TTL, META], [least, most, beginning, self._clock.now, looking, *known])

        return self._channel.call(packed)
