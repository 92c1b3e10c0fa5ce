"""Calls, and the change log, whose replies are given when they are confirmed."""

import asyncio
from collections.abc import Callable
from typing import Any

from kvd.errors import Unavailable
from kvd.model import Entry, Position
from kvd.store.redis.channel import Channel
from kvd.store.redis.clock import Clock
from kvd.store.redis.connection import Connection, Connector
from kvd.store.redis.log import ChangeLogConnection
from kvd.store.replicated.confirmed import REVISION, Confirmed
from kvd.store.replicated.writes import GRACE


class GuardedChannel(Channel):
    """Waits for a primary as long as a failover takes."""

    def _grace(self) -> float:
        return GRACE


class FencedChannel(GuardedChannel):
    """Gives replies that are confirmed: the store's revision is asked after them, and they are not newer."""

    def __init__(self, connector: Connector, clock: Clock, confirmed: Confirmed) -> None:
        super().__init__(connector, clock)
        self._confirmed = confirmed

    def _unavailable(self) -> Unavailable:
        return self._confirmed.too_few() if self._confirmed.is_short else super()._unavailable()

    async def _ask(self, connection: Connection, packed: bytes) -> Any:
        reply, revision = await asyncio.gather(super()._ask(connection, packed), connection.call(REVISION))
        await self._confirmed.reach(int(revision or 0), connection)
        return reply


class FencedLogConnection(ChangeLogConnection):
    """The change log up to the confirmed position."""

    def __init__(
        self, connection: Connection, is_written: Callable[[], bool], seen: Callable[[int], None],
        wants_value: Callable[[bytes], bool], confirmed: Confirmed,
    ) -> None:  # fmt: skip
        super().__init__(connection, is_written, lambda _: None, wants_value)
        self._seen_confirmed = seen
        self._confirmed = confirmed

    async def read_log(self, after: int, count: int, block: int) -> list[Entry]:
        """See `ChangeLogConnection`."""
        entries = await super().read_log(after, count, block)
        if entries:
            last = entries[-1].changes[-1].revision
            await self._confirmed.reach(last, self._connection)
            self._confirmed.tag = (last, entries[-1].tag)
            self._seen_confirmed(last)
        return entries

    async def where(self) -> Position:
        """See `ChangeLogConnection`."""
        position = await super().where()
        await self._confirmed.reach(position.revision, self._connection)
        return position
