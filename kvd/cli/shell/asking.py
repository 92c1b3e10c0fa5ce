"""A second connection, for what the shell wants to know itself: it disturbs no transaction and no reply."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from kvd.client.line_connection import STATUS, Connect, LineConnection, word_of
from kvd.errors import KvdError

PATIENCE = 2.0
"""Seconds: nobody waits longer for a completion."""


class Asking:
    """Asks one thing after another; what is not answered in time is not known."""

    def __init__(self, connect: Connect, login: Callable[[], bytes]) -> None:
        """login: gives the AUTH that is to be sent first, b"" for none."""
        self._connect, self._login = connect, login
        self._lines: LineConnection | None = None
        self._said = b""
        self._lock = asyncio.Lock()

    async def ask(self, request: bytes) -> list[bytes] | None:
        """The items of the reply; None: it was refused, or there is none."""
        try:
            async with asyncio.timeout(PATIENCE), self._lock:
                if self._login() != self._said:
                    await self.close()
                if not self._lines:
                    self._lines = await self._connect()
                    self._said = self._login()
                    if self._said:
                        await self._answer(self._lines, self._said)
                return await self._answer(self._lines, request)
        except BaseException as error:
            await self.close()  # a reply that comes later is none to the next request
            if isinstance(error, KvdError | TimeoutError):
                return None
            raise

    async def _answer(self, lines: LineConnection, request: bytes) -> list[bytes] | None:
        lines.send(request)
        items = []
        while word_of(line := await lines.next()) not in STATUS:
            items.append(line)
        return items if word_of(line) == b"OK" else None

    async def close(self) -> None:
        """Close the connection."""
        lines, self._lines = self._lines, None
        if lines:
            with suppress(KvdError):
                await lines.close()
