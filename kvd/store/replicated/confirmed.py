"""Up to which position enough replicas have the change log.

WAIT tells it of what its own connection has written: since Redis 7.2 it waits for nothing on one that only reads.  So
who wants to know it of what others have written writes something first.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from kvd.asked_once import AskedOnce
from kvd.errors import StoreLost, Unavailable
from kvd.store.redis.connection import META, Connection, Connector, Rejected, command
from kvd.store.replicated.guard import Guard

logger = logging.getLogger("kvd.store")

WAIT_MILLISECONDS = 1000
"""That the primary waits for replicas, after which it says how many there are."""
OWN_WRITES = 0.01
"""Seconds that the writes in flight of this daemon, and the change log that it reads from a replica, are given to bring
the position forward by themselves."""
TOO_FEW = "too few replicas confirm what is there; try again"

REVISION = command("HGET", META, "revision")


def wait_command(replicas: int) -> bytes:
    """Asks how many replicas have what this connection has written, once so many have, or time is up."""
    return command("WAIT", replicas, WAIT_MILLISECONDS)


class Confirmed:
    """The confirmed position of one daemon.

    revision: int, up to which the change log of the present store is confirmed.
    needed: gives how many replicas must have it.
    tag: of the entry that watchers were shown last, with its revision.
    is_short: whether replicas were too few when they were asked last.
    is_moving: gives whether something brings it forward soon without being asked: writes in flight, or a log reader.
    """

    def __init__(self, connector: Connector, guard: Guard, needed: Callable[[], int]) -> None:
        self.revision = 0
        self.needed = needed
        self.tag = (0, b"")
        self.is_short = False
        self.is_moving: Callable[[], bool] = lambda: False
        self._connector = connector
        self._guard = guard
        self._connection: Connection | None = None
        self._round = AskedOnce(self._ask)
        self._moved: list[asyncio.Future[None]] = []

    def note(self) -> bytes:
        """Writes something: the least that replicas are sent."""
        return command("HSET", META, "confirmed", self.revision)

    def too_few(self) -> Unavailable:
        """The refusal of a request that was to wait for replicas."""
        return Unavailable(f"fewer than {self.needed()} replicas confirm writes; nothing was done; try again")

    def advance(self, revision: int) -> None:
        """It was confirmed up to there."""
        if revision > self.revision:
            self.begin(revision)

    def begin(self, revision: int) -> None:
        """It stands there, whatever it was before."""
        self.revision = revision
        moved, self._moved = self._moved, []
        for future in moved:
            if not future.done():
                future.set_result(None)

    async def reach(self, revision: int, connection: Connection | None = None) -> None:
        """Returns when it is confirmed up to a revision.  Raises StoreLost.

        connection: on which that was read: what it gave counts for nothing once it is lost.
        """
        while self.revision < revision:
            if connection and connection.lost.done():
                break
            # Those writes that take no revision, such as TOUCH, move nothing.
            if not (self.is_moving() and await self._moves()):
                await self._round.ask()
        if connection and connection.lost.done():
            raise StoreLost("the connection was closed")

    async def _moves(self) -> bool:
        """Whether it is brought forward soon."""
        moved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._moved.append(moved)
        with suppress(TimeoutError):
            async with asyncio.timeout(OWN_WRITES):
                await moved
                return True
        return False

    async def _ask(self) -> None:
        if self._connection is None or self._connection.lost.done():
            self._connection = await self._connector.open()
        self.advance(await self.confirm(self._connection))

    async def confirm(self, connection: Connection) -> int:
        """The revision of a store, once all up to it is confirmed.  Raises StoreLost."""
        try:
            # The revision first: what is written between it and ours is not waited for.
            revision, _, found = await _call_all(connection, REVISION, self.note(), wait_command(self.needed()))
            self.is_short = found < self.needed()
            if self.is_short:
                logger.info(
                    "waiting for replicas: the primary has %d, and --durability asks for %d", found, self.needed()
                )
            while found < self.needed():
                _, found = await _call_all(connection, self.note(), wait_command(self.needed()))
            self.is_short = False
        except Rejected as error:
            self.is_short = False
            raise StoreLost(str(error)) from None
        except StoreLost:
            self.is_short = False
            raise
        await self._guard.verify(connection)
        return int(revision or 0)

    async def close(self) -> None:
        """Close its connection."""
        self._round.close()
        if self._connection:
            await self._connection.close()


async def _call_all(connection: Connection, *commands: bytes) -> list[Any]:
    """The replies to commands that are sent together.  Raises Rejected, StoreLost."""
    return await asyncio.gather(*(connection.call(packed) for packed in commands))
