"""Calls that go one at a time."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from kvd.backoff import Backoff
from kvd.errors import StoreLost, Unavailable
from kvd.store.redis.batching import GRACE, KILLED, MOST_DEATHS, REPLY_TIMEOUT
from kvd.store.redis.clock import Clock
from kvd.store.redis.connection import NOSCRIPT, Connection, Connector, Rejected, command, info_of, lost_by
from kvd.store.redis.scripts import REFUSED

LONGEST_PAUSE = 0.1
"""Seconds between attempts to connect at the most: short beside GRACE, for which a call waits."""


class Channel:
    """A connection for one call at a time.  Only for calls that may be repeated."""

    def __init__(self, connector: Connector, clock: Clock) -> None:
        self._connector = connector
        self._clock = clock
        self._lock = asyncio.Lock()
        self._connection: Connection | None = None
        self._losses = 0
        self._run = ""
        self._answered = 0.0

    async def call(self, packed: bytes | Callable[[], bytes]) -> Any:
        """The reply to a command.  Raises Unavailable, also for an error that Redis answers, and Superseded.

        packed: or what gives it when it is sent, for a command that says what the store's clock is.
        """
        loop = asyncio.get_running_loop()
        asked = loop.time()
        async with self._lock:
            # A crowd waits in order, as long as any of it is answered.
            if loop.time() > asked + REPLY_TIMEOUT and self._answered < asked:
                raise Unavailable("the store answers too slowly; nothing was done; try again")
            # Nor does each of it wait anew for a store that answered none of those before it.
            give_up = (asked if self._answered < asked else loop.time()) + self._grace()
            self._losses = 0
            backoff = Backoff(longest=LONGEST_PAUSE, jitter=True)
            while True:
                with suppress(StoreLost, TimeoutError):
                    return await self._try(packed)
                await self.close()
                if self._losses >= MOST_DEATHS:
                    raise Unavailable(KILLED)
                if loop.time() > give_up:
                    raise self._unavailable()
                await asyncio.sleep(backoff.next())

    def _unavailable(self) -> Unavailable:
        """Why a call is given up."""
        return Unavailable("the store is unreachable; nothing was done; try again")

    def _grace(self) -> float:
        """Seconds that a call waits for a store that is away."""
        return GRACE

    async def _try(self, packed: bytes | Callable[[], bytes]) -> Any:
        try:
            connection = self._connection
            if connection is None:
                # In a task of its own: on Python 3.12 redis-py's connection keeps the frames of those who opened it,
                # and so what they read.
                connection = await asyncio.create_task(self._open())
            async with asyncio.timeout(REPLY_TIMEOUT):
                reply = await self._ask(connection, packed() if callable(packed) else packed)
            self._answered = asyncio.get_running_loop().time()
            return reply
        except Rejected as error:
            if error.word == NOSCRIPT:
                # A new connection loads the scripts.
                raise StoreLost(str(error)) from None
            if error.word == REFUSED:
                raise lost_by(error) from None
            raise Unavailable(f"the store says: {error}") from error

    async def _open(self) -> Connection:
        connection = await self._connector.open()
        try:
            async with asyncio.timeout(REPLY_TIMEOUT):
                await self._clock.resume(connection)
                await self._look_whether_died(connection)
        except BaseException:
            await connection.close()
            raise
        # Kept at once: the task that waits for it may be cancelled at the moment when it is open.
        self._connection = connection
        return connection

    async def _look_whether_died(self, connection: Connection) -> None:
        """A connection that was lost while the store lived on is no death of it.  Raises StoreLost, Rejected."""
        run = info_of(await connection.call(command("INFO", "server"))).get("run_id", "")
        if run and run == self._run:
            self._losses = 0
        self._run = run

    async def _ask(self, connection: Connection, packed: bytes) -> Any:
        """The reply.  Connections that are lost meanwhile are counted: perhaps it is this that kills the store."""
        if connection.lost.done():
            raise StoreLost("the connection was closed")
        try:
            return await connection.call(packed)
        except StoreLost:
            self._losses += 1
            raise

    async def close(self) -> None:
        """Close the connection; the next call opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
