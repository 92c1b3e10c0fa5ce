"""One server that is asked over and over, on a connection that is kept."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from kvd.backoff import Backoff
from kvd.errors import StoreLost, Superseded
from kvd.store.redis.connection import Connection, Rejected, command, open_by
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
        self._why = "it was not asked yet"

    async def ask(self, *commands: bytes) -> list[Any]:
        """The replies, of which each may be a Rejected.  Raises StoreLost."""
        if self._connection is None or self._connection.lost.done():
            self._open_soon()
            # One that is away is waited for by a task of its own.
            await self._tried.wait()
        connection = self._connection
        if connection is None:
            raise StoreLost(self._why)
        try:
            async with asyncio.timeout(PATIENCE):
                if len(commands) == 1:
                    # This is asked fifty times a second: a task for it would cost as much as all else.
                    return [await _ask(connection, commands[0])]
                return await asyncio.gather(*(_ask(connection, packed) for packed in commands))
        except TimeoutError:
            self._why = f"no answer within {PATIENCE} s"
        except StoreLost as lost:
            self._why = str(lost)
        await self._drop(connection)
        raise StoreLost(self._why)

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
            except (StoreLost, Superseded) as lost:
                self._why = str(lost)
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
            with suppress(asyncio.CancelledError):
                await self._opening
        if self._connection:
            await self._drop(self._connection)


async def _greet(connection: Connection) -> None:
    await connection.call(_PING)


async def _ask(connection: Connection, packed: bytes) -> Any:
    try:
        return await connection.call(packed)
    except Rejected as error:
        return error


async def ask_all(witnesses: Sequence[Witness], *commands: bytes) -> list[list[Any]]:
    """The replies of those who answer."""
    asked = await asyncio.gather(*(one.ask(*commands) for one in witnesses), return_exceptions=True)
    answers = []
    for found in asked:
        if isinstance(found, list):
            answers.append(found)
        elif not isinstance(found, StoreLost):
            raise found
    return answers
