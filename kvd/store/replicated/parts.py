"""What a store on several servers is made of."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from kvd.errors import StoreLost, Unavailable
from kvd.group_url import CLUSTER, parse
from kvd.model import Record
from kvd.store.redis.attach import Attaching
from kvd.store.redis.cache import Cache
from kvd.store.redis.channel import Channel
from kvd.store.redis.clock import Clock
from kvd.store.redis.connection import Connection
from kvd.store.redis.disk_space import FreeSpace
from kvd.store.redis.jobs import Done
from kvd.store.redis.log import ChangeLogConnection
from kvd.store.redis.parts import Parts
from kvd.store.redis.reads import LargeValueBatcher, ReadBatcher
from kvd.store.redis.writes import WriteBatcher
from kvd.store.replicated.attaching import ConfirmedAttaching, GuardedAttaching
from kvd.store.replicated.calls import FencedChannel, FencedLogConnection, GuardedChannel
from kvd.store.replicated.checks import check_replicas, check_servers
from kvd.store.replicated.cluster import Cluster
from kvd.store.replicated.confirmed import TOO_FEW, Confirmed
from kvd.store.replicated.connecting import PrimaryConnector
from kvd.store.replicated.guard import Guard
from kvd.store.replicated.logs import ReplicaLogs
from kvd.store.replicated.reads import (
    FencedLargeValueBatcher,
    FencedReadBatcher,
    GuardedLargeValueBatcher,
    GuardedReadBatcher,
)
from kvd.store.replicated.replicas import Replicas
from kvd.store.replicated.sentinels import Sentinels
from kvd.store.replicated.writes import GRACE, ConfirmedWriteBatcher, GuardedWriteBatcher

ALL = 0
"""In place of a number of replicas: as many as there are."""


class GuardedParts(Parts):
    """Those for a primary that alone has what it acknowledges, as long as it is one."""

    def __init__(self, url: str, *, reads_replicas: bool) -> None:
        """url: of a group.  reads_replicas: whether the change log is.  Raises StartError if the URL is none."""
        self._url = parse(url)
        self._guard = Guard(Cluster(self._url) if self._url.kind == CLUSTER else Sentinels(self._url))
        connectors = [PrimaryConnector(self._url, self._guard, attaches=attaches) for attaches in (False, True)]
        super().__init__(*connectors)
        self._replica_logs = ReplicaLogs(Replicas(self._url, self._guard), self._guard) if reads_replicas else None

    def reads(self, clock: Clock, cache: Cache, fetch: Callable[[bytes, Record, Done], None]) -> ReadBatcher:
        """See `Parts`."""
        return GuardedReadBatcher(self.connector, clock, cache, fetch)

    def large_reads(self, clock: Clock, cache: Cache) -> LargeValueBatcher:
        """See `Parts`."""
        return GuardedLargeValueBatcher(self.connector, clock, cache)

    def writes(self, clock: Clock, cache: Cache, free_space: FreeSpace, owner_keys: int) -> WriteBatcher:
        """See `Parts`."""
        return GuardedWriteBatcher(self.attacher, clock, cache, free_space, owner_keys, self._guard)

    def attaching(self, clock: Clock, daemon: str, fsync: str, is_full: Callable[[], bool]) -> Attaching:
        """See `Parts`."""
        return GuardedAttaching(clock, daemon, fsync, is_full)

    def control(self, clock: Clock) -> Channel:
        """See `Parts`."""
        return GuardedChannel(self.connector, clock)

    async def log(
        self, is_written: Callable[[], bool], seen: Callable[[int], None], wants_value: Callable[[bytes], bool]
    ) -> ChangeLogConnection:
        """See `Parts`."""
        connection = await self.connector.open()
        log = self._log_at(connection, is_written, seen, wants_value)
        return await self._replica_logs.open(connection, log, seen, wants_value) if self._replica_logs else log

    def _log_at(
        self, connection: Connection, is_written: Callable[[], bool], seen: Callable[[int], None],
        wants_value: Callable[[bytes], bool],
    ) -> ChangeLogConnection:  # fmt: skip
        """That of the primary at the other end."""
        return ChangeLogConnection(connection, is_written, seen, wants_value)

    async def is_nothing_due(self, now: int) -> bool:
        """See `Parts`."""
        return self._replica_logs is not None and await self._replica_logs.is_nothing_due(now)

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """See `Parts`."""
        return (self._guard.run(),)

    async def check(self, connection: Connection) -> None:
        """See `Parts`."""
        await self._guard.witnesses.check()
        await check_servers(connection, self._guard.address_of(connection), self._url)

    async def close(self) -> None:
        """See `Parts`."""
        await self._guard.close()


class ConfirmedParts(GuardedParts):
    """Those for writes that are acknowledged, and seen, when replicas have them."""

    def __init__(self, url: str, replicas: int, *, reads_replicas: bool) -> None:
        """url: of a group.  replicas: how many, or ALL.  Raises StartError if the URL is none."""
        super().__init__(url, reads_replicas=reads_replicas)
        self._replicas = replicas
        self._confirmed = Confirmed(self.connector, self._guard, self._needed)
        if self._replica_logs:
            self._replica_logs.confirmed = self._confirmed

    def _needed(self) -> int:
        # Of a group without replicas nothing is confirmed.
        return self._replicas or max(self._guard.replicas, 1)

    def reads(self, clock: Clock, cache: Cache, fetch: Callable[[bytes, Record, Done], None]) -> ReadBatcher:
        """See `Parts`."""
        return FencedReadBatcher(self.connector, clock, cache, fetch, self._confirmed)

    def large_reads(self, clock: Clock, cache: Cache) -> LargeValueBatcher:
        """See `Parts`."""
        return FencedLargeValueBatcher(self.connector, clock, cache, self._confirmed)

    def writes(self, clock: Clock, cache: Cache, free_space: FreeSpace, owner_keys: int) -> WriteBatcher:
        """See `Parts`."""
        writes = ConfirmedWriteBatcher(
            self.attacher, clock, cache, free_space, owner_keys, self._guard, self._confirmed
        )
        logs = self._replica_logs
        self._confirmed.is_moving = lambda: writes.is_busy() or (logs is not None and logs.is_read())
        return writes

    def attaching(self, clock: Clock, daemon: str, fsync: str, is_full: Callable[[], bool]) -> Attaching:
        """See `Parts`."""
        return ConfirmedAttaching(clock, daemon, fsync, is_full, self._confirmed)

    def calls(self, clock: Clock) -> Channel:
        """See `Parts`."""
        return FencedChannel(self.connector, clock, self._confirmed)

    def _log_at(
        self, connection: Connection, is_written: Callable[[], bool], seen: Callable[[int], None],
        wants_value: Callable[[bytes], bool],
    ) -> ChangeLogConnection:  # fmt: skip
        return FencedLogConnection(connection, is_written, seen, wants_value, self._confirmed)

    async def check(self, connection: Connection) -> None:
        """See `Parts`."""
        await super().check(connection)
        needed = self._replicas or self._guard.replicas
        await check_replicas(connection, needed, self._guard.replicas)

    async def confirm(self, revision: int) -> None:
        """See `Parts`."""
        if revision <= self._confirmed.revision:
            return
        try:
            async with asyncio.timeout(GRACE):
                await self._confirmed.reach(revision)
        except (TimeoutError, StoreLost):
            raise Unavailable(TOO_FEW) from None

    def learn_servers(self) -> None:
        """See `Parts`."""
        if not self._replicas:
            self._guard.learn_replicas()

    async def close(self) -> None:
        """See `Parts`."""
        await self._confirmed.close()
        await super().close()


def parts_of(url: str, durability: str, *, reads_replicas: bool) -> Parts:
    """What --durability asks for.  reads_replicas: whether the change log is.  Raises StartError if the URL is none."""
    if durability == "async":
        return GuardedParts(url, reads_replicas=reads_replicas)
    number = durability.partition("=")[2]
    return ConfirmedParts(url, ALL if number == "all" else int(number or 1), reads_replicas=reads_replicas)
