"""What a store does by itself: keys expire, the change log is kept within its retention, the file within its disk."""

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from kvd.errors import Refusal, Superseded, Unavailable
from kvd.memory import MemoryPlan
from kvd.process.activity import Activity
from kvd.process.tasks import run_together
from kvd.store.redis.channel import Channel
from kvd.store.redis.clock import Clock
from kvd.store.redis.connection import BIG, LOG, META, REPLACED, Argument, command, info_of, script
from kvd.store.redis.disk_space import DELETES_SHARE, FULL, FreeSpace, unlimited
from kvd.store.redis.expiry import Sweep
from kvd.store.redis.turns import Turns
from kvd.store.redis.writes import WriteBatcher

logger = logging.getLogger("kvd.store")

TRIM_INTERVAL = 1.0
"""Seconds between trims of the change log, and
TRIM_VALUES: large values that one step of a trim drops; each takes Redis 6 us, and more if it is very large."""
TRIM_VALUES = 200
CLOCK_INTERVAL = 1.0
"""Seconds between looks at how the store's clock and its machine's differ."""
PACE, SLOW_PACE = 10, 1
"""How often a second the engine looks after itself (hz): its own default; and while nobody is connected.  The slower it
is, the longer it takes it to see a signal that ends it."""
SHRINK_INTERVAL = 5.0
"""Seconds between looks whether the append-only file should be made smaller, and
LONG_FILE: times the store's memory that it is too long at, and
LEAST_FILE: bytes that are never too long.  Redis itself looks more often, but counts from the length at its start, and
begins later."""
LONG_FILE = 2
LEAST_FILE = 64 * 1024 * 1024
QUICK_TRIES = 10
"""Tries in a row to write the file anew, each of which may leave one more part of it, after which only every
RARE_TRIES: so many looks one is made."""
RARE_TRIES = 60
MOST_HALVINGS = 6
"""How often the retention is halved at the most, when the file with all of the change log does not fit on the disk."""


class Retention(NamedTuple):
    """How much of the change log is kept: a number of changes, bytes of keys and values, and milliseconds (0: any)."""

    changes: int = 100_000
    bytes: int = 64 * 1024 * 1024
    age: int = 0


DEFAULT_RETENTION = Retention()


class Housekeeping:
    """The tasks of one store; keep `run` running."""

    def __init__(
        self,
        channel: Channel,
        writes: WriteBatcher,
        clock: Clock,
        retention: Retention,
        free_space: FreeSpace,
        asked: Callable[[], int],
        activity: Activity,
    ) -> None:
        """retention: of the change log, where the disk has space for that.  asked: as `Turns` takes it.

        activity: of this process.
        """
        self._activity = activity
        self._channel = channel
        self._writes = writes
        self._clock = clock
        self._retention = retention
        self._free_space = free_space
        self._rested = False
        self._maxmemory = 0
        self._halvings = 0
        self._tries = 0
        self._turns = Turns(asked)
        self.sweep = Sweep(self._quietly, writes.daemon, clock, self._turns, activity)

    async def run(self) -> None:
        """Serve until cancelled.  Raises Superseded."""
        await run_together(self.sweep.run(), self._keep_clock(), self._trim(), self._shrink())

    def fit_into(self, maxmemory: int) -> None:
        """Have the change log leave memory to keys.  maxmemory: of a server that is somebody else's, 0 for no limit."""
        self._maxmemory = maxmemory

    async def _keep_clock(self) -> None:
        while True:
            if found := await self._quietly(lambda: script("clock", [META], self._clock.place()), None):
                machine, clock, place = found
                self._clock.join(place)
                self._clock.check(int(machine), int(clock))
            await self._set_pace()
            await self._activity.pause(CLOCK_INTERVAL)

    async def _set_pace(self) -> None:
        """Have an engine that is ours look after itself rarely while nobody is connected.

        Each time, for it may have been started again.
        """
        rests = self._activity.resting
        is_slow = rests and self._activity.all_rest()
        # Another process may have slowed it down while this one rested.
        if self._free_space is unlimited or not (rests or self._rested):
            return
        with suppress(Refusal):
            await self._channel.call(command("CONFIG", "SET", "hz", SLOW_PACE if is_slow else PACE))
            self._rested = rests

    async def _trim(self) -> None:
        while True:
            await self._activity.pause(TRIM_INTERVAL)
            await self._trim_now()

    async def _trim_now(self) -> None:
        # As much of a server's memory as of the embedded one's.
        changes, size = MemoryPlan(store=self._maxmemory).retention(self._retention.changes, self._retention.bytes)
        limits = (changes >> self._halvings, size >> self._halvings, self._retention.age)
        more = 1
        while more:
            arguments: list[Argument] = [*limits, self._writes.daemon, self._clock.now, TRIM_VALUES]
            packed = script("trim", [BIG, LOG, META, REPLACED], arguments)
            more = await self._turns.take(partial(self._quietly, packed, 0))

    async def _shrink(self) -> None:
        """Have Redis write its file anew: what was overwritten and trimmed takes space in it.

        That is, when writes were refused for want of space, and when an embedded store that was often restarted has let
        it grow.
        """
        if self._free_space is unlimited:
            return
        while True:
            await self._activity.pause(SHRINK_INTERVAL)
            with suppress(Refusal):
                info = info_of(await self._channel.call(command("INFO")))
                if info.get("aof_rewrite_in_progress") == "0":
                    await self._shrink_as(info)

    async def _shrink_as(self, info: dict[str, str]) -> None:
        refused, self._writes.refused_for_space = self._writes.refused_for_space, False
        failed = info["aof_last_bgrewrite_status"] != "ok"
        if refused and failed:
            await self._halve()
        elif self._free_space(self._retention.bytes) >= 1:
            self._halvings = 0
        if refused or int(info["aof_current_size"]) > max(LEAST_FILE, LONG_FILE * int(info["used_memory"])):
            self._tries = self._tries + 1 if failed else 0
            if self._tries <= QUICK_TRIES or self._tries % RARE_TRIES == 0:
                await self._channel.call(command("BGREWRITEAOF"))

    async def _halve(self) -> None:
        """Keep less of the change log: the file is written anew beside the old one, and did not fit there."""
        if self._halvings < MOST_HALVINGS and self._free_space(0) >= DELETES_SHARE:
            self._halvings += 1
            logger.warning("the store's disk is nearly full: only 1/%d of the change log is kept", 2**self._halvings)
            await self._trim_now()

    async def _quietly(self, packed: bytes | Callable[[], bytes], otherwise: Any) -> Any:
        """The reply to what writes; what cannot be done now is done in the next round."""

        def with_space() -> bytes:
            # Asked each time that it is sent: the store may have been lost because there was none.
            if self._free_space(0) < DELETES_SHARE:
                raise Unavailable(FULL)
            # The batcher of writes looks first at one that comes back: it may have lost the end of its change log.
            if not self._writes.is_there:
                raise Unavailable("the store was not looked at yet")
            return packed() if callable(packed) else packed

        try:
            return await self._channel.call(with_space)
        except Superseded:
            raise
        except Refusal as error:
            logger.debug("put off: %s", error)
            return otherwise
