"""What a store is made of: the parts that another set of them replaces where there are several servers."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from kvd.model import Record
from kvd.store.redis.attach import Attaching
from kvd.store.redis.cache import Cache
from kvd.store.redis.channel import Channel
from kvd.store.redis.clock import Clock
from kvd.store.redis.connection import Connection, Connector
from kvd.store.redis.disk_space import FreeSpace
from kvd.store.redis.jobs import Done
from kvd.store.redis.log import ChangeLogConnection
from kvd.store.redis.reads import LargeValueBatcher, ReadBatcher
from kvd.store.redis.writes import WriteBatcher


class Parts:
    """Those for one Redis.

    connector: opens connections.  attacher: opens those on which a store is looked at before anybody uses it.
    """

    def __init__(self, connector: Connector, attacher: Connector | None = None) -> None:
        self.connector = connector
        self.attacher = attacher or connector

    def reads(self, clock: Clock, cache: Cache, fetch: Callable[[bytes, Record, Done], None]) -> ReadBatcher:
        """The batcher of reads; fetch: as that takes it."""
        return ReadBatcher(self.connector, clock, cache, fetch)

    def large_reads(self, clock: Clock, cache: Cache) -> LargeValueBatcher:
        """The batcher of reads of large values."""
        return LargeValueBatcher(self.connector, clock, cache)

    def writes(self, clock: Clock, cache: Cache, free_space: FreeSpace, owner_keys: int) -> WriteBatcher:
        """The batcher of writes."""
        return WriteBatcher(self.attacher, clock, cache, free_space, owner_keys)

    def attaching(self, clock: Clock, daemon: str, fsync: str, is_full: Callable[[], bool]) -> Attaching:
        """What looks at a store before it is used."""
        return Attaching(clock, daemon, fsync, is_full)

    def control(self, clock: Clock) -> Channel:
        """For calls that show nobody what the store holds."""
        return Channel(self.connector, clock)

    def calls(self, clock: Clock) -> Channel:
        """For calls whose replies are shown."""
        return self.control(clock)

    async def log(
        self, is_written: Callable[[], bool], seen: Callable[[int], None], wants_value: Callable[[bytes], bool]
    ) -> ChangeLogConnection:
        """A connection for the follower.  Raises StoreLost."""
        return ChangeLogConnection(await self.connector.open(), is_written, seen, wants_value)

    async def is_nothing_due(self, now: int) -> bool:  # noqa: ARG002
        """Whether no key's deadline has passed, as far as that is known without asking the store.  now: its clock."""
        return False

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """What else is to be kept running."""
        return ()

    async def check(self, connection: Connection) -> None:
        """Whether the store is set up as it must be.  Raises StoreLost, StoreUnusable, Rejected, TimeoutError."""

    def learn_servers(self) -> None:
        """Forget what is gone for good, as the operator says."""

    async def confirm(self, revision: int) -> None:
        """Returns when a revision is where no loss of one server can undo it.  Raises Unavailable."""

    async def close(self) -> None:
        """Close what the parts share."""
