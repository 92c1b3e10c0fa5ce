"""The plain client in the test's own loop, over TCP or anything else that gives a stream."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from tests.support.processes import PATIENCE


class AsyncPeer:
    """A stream and its lines."""

    def __init__(
        self, reader: asyncio.StreamReader, write: Callable[[bytes], object], write_eof: Callable[[], object],
        close: Callable[[], object],
    ) -> None:  # fmt: skip
        self._reader = reader
        self._write = write
        self._write_eof = write_eof
        self._close = close

    def send(self, data: bytes | str) -> None:
        """Send bytes as they are."""
        self._write(data.encode() if isinstance(data, str) else data)

    def shut_down(self) -> None:
        """End the sending side, after all that was sent."""
        self._write_eof()

    async def close(self) -> None:
        """Go away."""
        self._close()

    async def line(self) -> str:
        """The next line without its LF; "" at the end of the connection."""
        async with asyncio.timeout(PATIENCE):
            raw = await self._reader.readline()
        assert not raw or raw.endswith(b"\n"), raw
        return raw[:-1].decode()

    async def lines(self, count: int) -> list[str]:
        return [await self.line() for _ in range(count)]

    async def ask(self, request: bytes | str) -> str:
        """Send one line, read one line."""
        self.send((request.encode() if isinstance(request, str) else request) + b"\n")
        return await self.line()

    async def rest(self) -> list[str]:
        """All lines up to the end of the connection."""
        async with asyncio.timeout(PATIENCE):
            return [line.decode() for line in (await self._reader.read()).split(b"\n")[:-1]]


LONGEST_LINE = 1 << 21
"""Bytes: more than a line of a test has."""


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[AsyncPeer]:
    """A new connection to a daemon."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=LONGEST_LINE)
    try:
        yield AsyncPeer(reader, writer.write, writer.write_eof, writer.close)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
