"""A daemon that follows a script, for tests of clients where the wire must be odd."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from kvd.client import Client, connect

PATIENCE = 30  # seconds until a script that waits for nothing fails its test


class Peer:
    """The daemon's end of one connection, as a script sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def expect(self, *requests: str) -> None:
        for request in requests:
            assert await self.reader.readuntil(b"\n") == request.encode() + b"\n"

    def say(self, *lines: str) -> None:
        self.writer.write("".join(line + "\n" for line in lines).encode())

    async def expect_end(self) -> None:
        assert await self.rest() == b""

    async def rest(self) -> bytes:
        """What comes until the client is gone."""
        try:
            return await self.reader.read()
        except ConnectionResetError:  # as watchers end
            return b""


Script = Callable[[Peer], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(script: Script, greeting: str = "OK") -> AsyncIterator[str]:
    """Serve one connection by a script; yield the address, and fail if the script failed."""
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        try:
            await peer.expect("PING")
            peer.say(greeting)
            await script(peer)
            ended.set_result(None)
        except Exception as error:
            ended.set_exception(error)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 26)
    async with server:
        host, port = server.sockets[0].getsockname()
        try:
            yield f"{host}:{port}"
        finally:  # its failure explains that of the test
            await asyncio.wait_for(ended, PATIENCE)


@contextlib.asynccontextmanager
async def talking(script: Script) -> AsyncIterator[Client]:
    """A client of a scripted daemon."""
    async with serving(script) as address, await connect(address, reconnect=0) as kv:
        yield kv


def answering(request: str, *reply: str) -> Script:
    async def script(peer: Peer) -> None:
        await peer.expect(request)
        peer.say(*reply)

    return script
