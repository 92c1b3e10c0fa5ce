"""The change log, read from a replica: the primary is asked only where it ends."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from kvd.errors import GivenUp, StoreLost
from kvd.model import Entry, Position
from kvd.store.redis.connection import Connection
from kvd.store.redis.engine import ask
from kvd.store.redis.log import ChangeLogConnection
from kvd.store.replicated.confirmed import REVISION, Confirmed
from kvd.store.replicated.guard import Guard
from kvd.store.replicated.primary import shown
from kvd.store.replicated.replicas import AVOIDED, Replica, Replicas

logger = logging.getLogger("kvd.store")

LOOK = 0.5
"""Seconds between looks whether the replica has what its primary has."""

Confirm = Callable[[Connection, Entry], Awaitable[None]]
"""Returns when an entry may be shown that was read on a connection.  Raises StoreLost."""


async def unconfirmed(_: Connection, __: Entry) -> None:
    """What may be shown in any case."""


class Confirming:
    """Confirms what replicas have without asking the primary: they are asked themselves."""

    def __init__(self, confirmed: Confirmed, guard: Guard, replicas: Sequence[Replica]) -> None:
        """replicas: the first of them is the one that is read from."""
        self._confirmed = confirmed
        self._guard = guard
        self._replicas = replicas

    async def __call__(self, connection: Connection, entry: Entry) -> None:
        """See `Confirm`."""
        revision = entry.changes[-1].revision
        if self._confirmed.revision < revision:
            others = self._replicas[1 : self._confirmed.needed()]
            if len(others) + 1 < self._confirmed.needed():
                raise StoreLost("more replicas are to have what is confirmed")
            if others:
                await asyncio.gather(*(one.reach(revision) for one in others))
            await self._guard.verify(connection)
            self._confirmed.advance(revision)
        if connection.lost.done():
            raise StoreLost("the connection was closed")
        self._confirmed.tag = (revision, entry.tag)


class ReplicaLogConnection(ChangeLogConnection):
    """Reads the change log of a replica, as long as that keeps up."""

    def __init__(
        self, connection: Connection, is_written: Callable[[], bool], seen: Callable[[int], None],
        wants_value: Callable[[bytes], bool], primary: ChangeLogConnection, at_primary: Connection,
        replicas: Sequence[Replica], confirm: Confirm,
    ) -> None:  # fmt: skip
        """connection: to the first of the replicas, of which the others confirm.  primary: its log, on at_primary."""
        super().__init__(connection, is_written, lambda _: None, wants_value)
        self._seen_confirmed = seen
        self._primary = primary
        self._at_primary = at_primary
        self._replicas = replicas
        self._confirm = confirm
        self._watching = asyncio.create_task(self._watch())

    async def read_log(self, after: int, count: int, block: int) -> list[Entry]:
        """See `ChangeLogConnection`."""
        entries = await super().read_log(after, count, block)
        if entries:
            # Asked after it was read: what was read before that is of the same history.
            await self._replicas[0].check()
            await self._confirm(self._connection, entries[-1])
            self._seen_confirmed(entries[-1].changes[-1].revision)
        return entries

    async def tag_at(self, revision: int) -> bytes | None:
        """See `ChangeLogConnection`."""
        return await self._primary.tag_at(revision)

    async def where(self) -> Position:
        """See `ChangeLogConnection`: that of the primary."""
        return await self._primary.where()

    async def replace_history(self, store: bytes) -> None:
        """See `ChangeLogConnection`."""
        await self._primary.replace_history(store)

    async def _watch(self) -> None:
        """Give the replica up when it lacks what the primary had some time ago."""
        try:
            while True:
                await asyncio.sleep(LOOK)
                await self._replicas[0].reach(int(await ask(self._at_primary, REVISION) or 0))
        except Exception as error:  # read_log raises it
            self._connection.fail(StoreLost(str(error)) if isinstance(error, TimeoutError) else error)

    async def close(self) -> None:
        """See `ChangeLogConnection`."""
        self._watching.cancel()
        try:
            await asyncio.wait([self._watching])  # whose end does not hide that who closes is itself to end
        finally:
            await _close(self._primary, self._replicas)
            await super().close()


class ReplicaLogs:
    """Opens the change log of a replica, or that of the primary while there is none that will do.

    confirmed: what must be confirmed to be shown; None if all may be.
    """

    def __init__(self, replicas: Replicas, guard: Guard) -> None:
        self.confirmed: Confirmed | None = None
        self._replicas = replicas
        self._guard = guard
        self._reading: Connection | None = None
        self._replica: Replica | None = None
        self._source = ""

    def is_read(self) -> bool:
        """Whether that of a replica is being read."""
        return self._reading is not None and not self._reading.lost.done()

    async def is_nothing_due(self, now: int) -> bool:
        """Whether the replica that is read from has no key whose deadline has passed; False if there is none."""
        return self._replica is not None and self.is_read() and await self._replica.is_nothing_due(now)

    async def open(
        self, at_primary: Connection, primary: ChangeLogConnection, seen: Callable[[int], None],
        wants_value: Callable[[bytes], bool],
    ) -> ChangeLogConnection:  # fmt: skip
        """primary: the log of the primary, on at_primary; closed with the one that is returned, or if this fails.

        Raises StoreLost.
        """
        found: list[Replica] = []
        count = self.confirmed.needed() if self.confirmed else 1
        try:
            found = await self._replicas.find(at_primary, count)
            if len(found) == count:
                connection = self._reading = await found[0].open_more()
                self._replica = found[0]
                self._say(f"the replica {shown(found[0].address)}")
                confirm = Confirming(self.confirmed, self._guard, found) if self.confirmed else unconfirmed
                return ReplicaLogConnection(
                    connection, primary.is_written, seen, wants_value, primary, at_primary, found, confirm
                )
        except BaseException:
            await _close(primary, found)
            raise
        await _close(None, found)
        self._say("the primary, for too few replicas can be read from")
        asyncio.get_running_loop().call_later(AVOIDED, at_primary.fail, GivenUp("replicas are looked for again"))
        return primary

    def _say(self, source: str) -> None:
        if source != self._source:
            self._source = source
            logger.info("the change log is read from %s", source)


async def _close(primary: ChangeLogConnection | None, replicas: Sequence[Replica]) -> None:
    for one in replicas:
        await one.connection.close()
    if primary:
        await primary.close()
