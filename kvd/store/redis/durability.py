"""Whether the engine still has writes on disk before it answers: that can be changed while it runs (CONFIG SET).

What is noted at its start would vouch for writes that it loses later, when it is back under its old settings.
"""

import logging
from collections.abc import Callable
from contextlib import suppress

from kvd.errors import Refusal, Superseded, Unavailable
from kvd.process.activity import Activity
from kvd.store.redis.attach import Attaching
from kvd.store.redis.channel import Channel
from kvd.store.redis.connection import META, Rejected, command, info_of, script
from kvd.store.redis.engine import FSYNC_COMMAND, UNREADABLE, Engine, engine_from, fsync_from, warn_of

logger = logging.getLogger("kvd.store")

LOOK_INTERVAL = 1.0
"""Seconds between looks."""


class Durability:
    """Of one store that is somebody else's; keep `run` running."""

    def __init__(
        self, channel: Channel, attaching: Attaching, activity: Activity, fit_into: Callable[[int], None]
    ) -> None:
        """activity: of this process.  fit_into: told the engine's maxmemory, which can be changed as well."""
        self._channel, self._attaching, self._activity = channel, attaching, activity
        self._fit_into = fit_into

    async def run(self) -> None:
        """Serve until cancelled.  Raises Superseded."""
        while True:
            await self._activity.pause(LOOK_INTERVAL)
            try:
                await self._look()
            except Superseded:
                raise
            except Refusal as error:
                logger.debug("whether the store syncs was not seen: %s", error)

    async def _look(self) -> None:
        """Raises Unavailable, Superseded."""
        info = info_of(await self._channel.call(command("INFO")))
        self._fit_into(int(info.get("maxmemory", 0)))
        before = self._attaching.engine
        # Another run is looked at before anything is written to it.  Where the run is told by something else, of
        # several servers, no run is taken to have all that it acknowledged.
        if before is None or info.get("run_id") != before.run:
            return
        found = self._attaching.judged(engine_from(info, await self._fsync(before)))
        # It may be another one meanwhile.
        if self._attaching.engine is not before or found.synced == before.synced:
            return
        await self._note(found)

    async def _fsync(self, before: Engine) -> str:
        if before.fsync == UNREADABLE:
            return UNREADABLE
        try:
            return fsync_from(await self._channel.call(FSYNC_COMMAND))
        except Unavailable as error:
            if isinstance(error.__cause__, Rejected):
                return UNREADABLE
            raise

    async def _note(self, found: Engine) -> None:
        """Raises Unavailable, Superseded."""
        packed = script("synced", [META], [found.run, int(found.synced)])
        if found.synced:
            await self._channel.call(packed)
            self._attaching.engine = found
            self._attaching.unsynced.put(is_set=False)
            logger.info("the store acknowledges writes when they are on disk again")
            return
        # First where it is kept even if the store loses it.
        self._attaching.engine = found
        self._attaching.unsynced.put(is_set=True)
        warn_of(found)
        with suppress(Refusal):
            await self._channel.call(packed)
