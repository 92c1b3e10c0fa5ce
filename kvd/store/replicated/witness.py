"""One server that is asked over and over, on a connection that is kept."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from kvd.backoff import Backoff
from kvd.errors import StoreLost, Superseded
from kvd.store.redis.connection import Connection, command, open_by
from kvd.store.redis.library import Library

PATIENCE = 0.5
"""Seconds that an answer, or a connection, may take.  Who took longer is not waited for until it is there again."""
LONGEST_PAUSE = 0.5
"""Seconds between attempts to connect to one that is away."""

_PING = command("PING")


class Witness:
    """One of them; `close` it."""

    def __init__(self, *urls: str) -> None:
        """urls: of one server, with different credentials, the likeliest first."""
        self._libraries = [Library(url, PATIENCE) for url in dict.fromkeys(urls)]
        self._connection: Connection | None = None
        self._opening: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()

    def wake(self) -> None:
        """Have it connected, if it is not."""
        if self._connection is None or self._connection.lost.done():
            self._open_soon()

    async def tried(self) -> None:
        """Returns when it was tried to connect: one that is away is waited for only once."""
        await self._tried.wait()

    def begin(self, commands: Sequence[bytes]) -> list[asyncio.Future[Any]]:
        """Ask; a future for each reply, none if it is away."""
        with suppress(StoreLost):
            return [self._connection.begin(packed) for packed in commands] if self._connection else []
        return []

    async def end(self, futures: list[asyncio.Future[Any]]) -> list[Any] | None:
        """The replies, of which each may be a Rejected; None if it did not answer in time."""
        if all(future.done() and not isinstance(future.exception(), StoreLost) for future in futures):
            return [future.exception() or future.result() for future in futures]
        for future in futures:
            future.cancel()
        if self._connection:
            await self._drop(self._connection)
        return None

    def _open_soon(self) -> None:
        if self._opening is None:
            self._connection = None
            self._opening = asyncio.create_task(self._open())

    async def _open(self) -> None:
        backoff = Backoff(longest=LONGEST_PAUSE, jitter=True)
        try:
            while not await self._open_once():
                self._tried.set()
                await asyncio.sleep(backoff.next())
        finally:
            self._opening = None
            self._tried.set()

    async def _open_once(self) -> bool:
        for place, library in enumerate(self._libraries):
            try:
                self._connection = await open_by(library, library.make(), Connection, _greet, PATIENCE)
            except (StoreLost, Superseded):
                continue
            # What it was opened by is likely to do the next time, too.
            self._libraries.insert(0, self._libraries.pop(place))
            return True
        return False

    async def _drop(self, connection: Connection) -> None:
        if self._connection is connection:
            self._connection = None
        await connection.close()

    async def close(self) -> None:
        """Ask no longer."""
        if self._opening:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        if self._connection:
            await self._drop(self._connection)


async def _greet(connection: Connection) -> None:
    await connection.call(_PING)


async def ask_all(witnesses: Sequence[Witness], *commands: bytes) -> list[list[Any]]:
    """The replies of those who answer.

    It is asked fifty times a second, and for each batch of writes: so it makes no tasks.
    """
    for one in witnesses:
        one.wake()
    for one in witnesses:
        await one.tried()
    asked = [(one, its) for one in witnesses if (its := one.begin(commands))]
    futures = [future for _, its in asked for future in its]
    try:
        if futures:
            await asyncio.wait(futures, timeout=PATIENCE)
        ended = [await one.end(its) for one, its in asked]
    finally:
        for future in futures:
            # Nobody waits for it any more, if this is cancelled, and asyncio logs an error that nobody has seen.
            _ = future.cancel() or future.cancelled() or future.exception()
    return [replies for replies in ended if replies is not None]
