"""A connection of a client of a failover run."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count

PAUSE = 0.02
"""Seconds until a client connects again."""
LONGEST_LINE = 1 << 20


class Peer:
    """One connection; it gives lines.  Raises OSError, asyncio.IncompleteReadError when it is lost."""

    _numbers = count(1)

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = next(self._numbers)
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, address: str) -> "Peer":
        """address: of a daemon, as --follow takes it."""
        host, _, place = address.partition(":")
        if host == "unix":
            return cls(*await asyncio.open_unix_connection(place, limit=LONGEST_LINE))
        return cls(*await asyncio.open_connection(host, int(place), limit=LONGEST_LINE))

    def send(self, text: str) -> None:
        self._writer.write(text.encode())

    async def drain(self) -> None:
        await self._writer.drain()

    async def words(self) -> list[str]:
        """Those of the next line."""
        return (await self._reader.readuntil(b"\n")).decode().rstrip("\n").split(" ")

    async def ask(self, *requests: str) -> tuple[float, list[list[str]], float]:
        """The words of each reply of one line, with when it was asked and answered."""
        start = time.monotonic()
        self.send("".join(f"{request}\n" for request in requests))
        await self.drain()
        return start, [await self.words() for _ in requests], time.monotonic()

    def close(self) -> None:
        self._writer.transport.abort()

    async def end(self) -> None:
        """Close it in order, and wait for that."""
        self._writer.close()
        await self._writer.wait_closed()


async def keep_connected(address: str, work: Callable[[Peer], Awaitable[None]], ends: Callable[[], bool]) -> None:
    """Work on a connection, and on another one when that is lost, until it ends."""
    while not ends():
        with suppress(OSError, asyncio.IncompleteReadError):
            peer = await Peer.open(address)
            try:
                await work(peer)
            finally:
                peer.close()
        await asyncio.sleep(PAUSE)
