"""In-memory streams: sessions without a network, on a real store and in the test's own loop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from kvd.access.users import Users
from kvd.embedded.server import EmbeddedServer
from kvd.service import Service
from kvd.session.connection import Connection
from kvd.session.kept_input import READ_BYTES
from kvd.session.streams import Streams
from kvd.settings import Settings
from kvd.store.redis.store import Store
from tests.support.async_peers import AsyncPeer
from tests.support.processes import PATIENCE

FULL, DRAINED = 64 * 1024, 16 * 1024
"""asyncio's own marks for a socket's buffer: above the first the writer is told to wait, below the other to go on."""


class MemoryTransport(asyncio.Transport):
    """The daemon's end of a connection.

    What the daemon writes is with the peer at once, unless the peer has stopped reading: then it waits here, and
    the daemon is told to wait as a full socket would tell it.
    """

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._protocol = protocol
        self._waiting = bytearray()
        self._incoming = bytearray()
        self._is_read = True
        self._takes = True
        self._has_eof = False
        self._paused = False
        self._closing = False
        self._shut = False
        self._lost = False
        self.written = asyncio.StreamReader(limit=1 << 26)
        """What the peer gets."""

    # ---- what asyncio's streams, and sessions, ask of a transport

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert protocol is self._protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or self._shut:
            # As uvloop's do; asyncio's own say nothing.
            raise RuntimeError("the transport is closed")
        self._waiting += data
        self._pass_on()

    def get_write_buffer_size(self) -> int:
        return len(self._waiting)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._pass_on()

    def abort(self) -> None:
        self._waiting.clear()
        self.close()

    def write_eof(self) -> None:
        self._shut = True
        self._pass_on()

    def pause_reading(self) -> None:
        self._takes = False

    def resume_reading(self) -> None:
        self._takes = True
        self._deliver()

    # ---- what tests ask

    @property
    def waiting(self) -> bytes:
        """What the daemon has written and the peer has not taken."""
        return bytes(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether the daemon waits for the peer to read."""
        return self._paused

    @property
    def is_stopped(self) -> bool:
        """Whether neither side goes on: the daemon waits for the peer to read, and reads nothing itself."""
        return self._paused and not self._takes

    # ---- what the peer does

    def receive(self, data: bytes) -> None:
        """The peer sends."""
        self._incoming += data
        self._deliver()

    def receive_eof(self) -> None:
        """The peer shuts down its sending side: the daemon sees that after all that was sent."""
        self._has_eof = True
        self._deliver()

    def stop_reading(self) -> None:
        """The peer takes nothing more."""
        self._is_read = False

    def go_on_reading(self) -> None:
        """The peer takes what waits, and what comes."""
        self._is_read = True
        self._pass_on()

    def lose(self) -> None:
        """The peer is gone."""
        self._closing = True
        self._waiting.clear()
        self._end(ConnectionResetError("the peer is gone"))

    def _deliver(self) -> None:
        # In pieces, for the reader pauses by what it has.
        while self._incoming and self._takes and not self._closing:
            data = bytes(self._incoming[:READ_BYTES])
            del self._incoming[:READ_BYTES]
            self._protocol.data_received(data)
        if self._has_eof and not self._incoming:
            self._has_eof = False
            self._protocol.eof_received()

    def _pass_on(self) -> None:
        if self._is_read and self._waiting:
            self.written.feed_data(bytes(self._waiting))
            self._waiting.clear()
        if not self._paused and len(self._waiting) > FULL:
            self._paused = True
            self._protocol.pause_writing()
        elif self._paused and len(self._waiting) <= DRAINED:
            self._paused = False
            self._protocol.resume_writing()
        if self._shut and not self._waiting:
            self.written.feed_eof()
        if self._closing and not self._waiting:
            self._end(None)

    def _end(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = True
            self.written.feed_eof()
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, error)


class MemoryPeer(AsyncPeer):
    """A client's end: lines in both directions."""

    def __init__(self, transport: MemoryTransport, session: Connection, task: asyncio.Task[None]) -> None:
        super().__init__(transport.written, transport.receive, transport.receive_eof, transport.lose)
        self.transport = transport
        self.session = session
        self.task = task

    async def close(self) -> None:
        """Go away; returns when the session has ended."""
        self.transport.lose()
        async with asyncio.timeout(PATIENCE):
            await self.task


class MemoryService(Service):
    """A daemon without its sockets, whose sessions are over memory."""

    def __init__(self, store: Store, settings: Settings, users: Users | None = None) -> None:
        super().__init__(store, settings, embedded=True, users=users)
        self._peers: list[MemoryPeer] = []

    def connect(self) -> MemoryPeer:
        """A new connection and its session."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=READ_BYTES)
        protocol = Streams(reader)
        protocol.is_strict = self._settings.first_line == "strict"
        transport = MemoryTransport(protocol)
        protocol.connection_made(transport)
        session = self.open_session(reader, asyncio.StreamWriter(transport, protocol, reader, loop))
        peer = MemoryPeer(transport, session, asyncio.create_task(_run(session)))
        self._peers.append(peer)
        return peer

    async def lose(self, peer: MemoryPeer) -> None:
        """Lose one connection, and forget it."""
        await peer.close()
        self._peers.remove(peer)

    def stop(self) -> None:
        """Have all sessions end in order, as the daemon does that is told to."""
        for peer in self._peers:
            peer.session.stop(len(self._peers))

    async def end_sessions(self) -> None:
        """Each must end by itself."""
        for peer in self._peers:
            await peer.close()


async def _run(session: Connection) -> None:
    """As the server does."""
    await session.run()
    await session.linger()


@asynccontextmanager
async def serving(
    data: Path, make_store: Callable[[str], Store] = Store, *, follow: bool = True, push_limit: int = 1 << 20,
    users: Users | None = None,
) -> AsyncIterator[MemoryService]:  # fmt: skip
    """A service on a new embedded store.  follow: whether the store's change log is read."""
    async with AsyncExitStack() as stack:
        embedded = EmbeddedServer(data, "no")
        stack.push_async_callback(embedded.stop)
        await embedded.start()
        settings = Settings(watch_buffer=push_limit)
        yield await stack.enter_async_context(
            serving_on(make_store(embedded.url), settings, follow=follow, users=users)
        )


@asynccontextmanager
async def serving_on(
    store: Store, settings: Settings, *, follow: bool = True, users: Users | None = None
) -> AsyncIterator[MemoryService]:
    """The same on a store that is there."""
    async with AsyncExitStack() as stack:
        service = MemoryService(store, settings, users)
        await service.store.start()
        stack.push_async_callback(service.close)
        stack.push_async_callback(_cancel, asyncio.create_task(service.run() if follow else service.store.run()))
        stack.push_async_callback(service.end_sessions)
        yield service


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
