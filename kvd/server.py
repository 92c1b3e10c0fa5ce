"""The daemon put together: listeners, sessions, the store and its change log; and its orderly end."""

import asyncio
import logging
import socket
from collections.abc import Iterable
from contextlib import suppress

from kvd import __version__
from kvd.changes import Follower
from kvd.embedded.server import EmbeddedServer
from kvd.errors import StartError
from kvd.hub import Hub
from kvd.session.answers import Context
from kvd.session.express import Streams
from kvd.session.session import READ_BYTES, Session
from kvd.settings import Address, Settings
from kvd.store.room import on_disk
from kvd.store.store import History, Store
from kvd.wire import words
from kvd.wire.lines import max_line

log = logging.getLogger("kvd")

PROTOCOL = 1
FEATURES = "resume sync progress transactions"
BACKLOG = 1024
"""Connections that may wait to be accepted."""
KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""Seconds of silence before the kernel asks a peer whether it is there, seconds between further questions, and
how many of them.  A peer that only watches, and is gone, is found by nothing else."""
DRAIN_TIMEOUT = 2.0
"""Seconds that connections have to take their last replies when the daemon stops."""


class Daemon:
    """One kvd: `start` it, keep `run` running, `drain` it, `close` it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._max_line = max_line(settings.max_value)
        self._listeners: list[asyncio.Server] = []
        self._sessions: set[Session] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.embedded = None if settings.store else EmbeddedServer(settings.data, settings.fsync, settings.max_value)
        self.addresses: list[Address] = []

    async def start(self) -> None:
        """Start the store, then listen.  Raises StartError; `close` cleans up in any case."""
        if self.embedded:
            await self.embedded.start()
        history = History(self._settings.history_changes, self._settings.history_bytes)
        if self.embedded:
            self._store = Store(self.embedded.url, history, on_disk(self._settings.data))
        else:
            self._store = Store(self._settings.store, history)
        doubt = self.embedded.doubt if self.embedded else ""
        if doubt:
            log.warning("the store's history is taken for another: of %s, %s", self._settings.data, doubt)
        await self._store.start(doubtful=bool(doubt))
        hub = Hub()
        self._log = Follower(self._store.open_log, hub)
        self._context = Context(
            self._store, self._log, hub, self._settings.max_value, self._max_line,
            self._settings.watch_buffer, self._describe,
        )  # fmt: skip
        for address in self._settings.listen:
            await self._listen(address)

    async def run(self) -> None:
        """Serve until cancelled; what fails here for a reason unforeseen ends the daemon."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._store.run())
            group.create_task(self._log.run())
            if self.embedded:
                group.create_task(self.embedded.supervise())

    async def drain(self) -> None:
        """Accept nothing more, answer what is being done, tell the watchers, close the connections."""
        for listener in self._listeners:
            listener.close()
        for session in list(self._sessions):
            session.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=DRAIN_TIMEOUT)
        for session in list(self._sessions):
            session.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Let go of the store, and end the embedded one."""
        if hasattr(self, "_store"):
            await self._store.close()
        if self.embedded:
            await self.embedded.stop()

    async def _listen(self, address: Address) -> None:
        try:
            listener = await asyncio.get_running_loop().create_server(
                self._streams, address.host, address.port, backlog=BACKLOG
            )
        except (OSError, UnicodeError) as error:  # UnicodeError: the name cannot be a host's
            reason = getattr(error, "strerror", None) or str(error)
            raise StartError(f"cannot listen on {address}: {reason}; choose another with --listen HOST:PORT") from None
        self._listeners.append(listener)
        for bound in listener.sockets:
            host, port, *_ = bound.getsockname()
            self.addresses.append(Address(host, port))

    def _streams(self) -> Streams:
        loop = asyncio.get_running_loop()
        return Streams(asyncio.StreamReader(READ_BYTES, loop), self._accept, loop)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task  # noqa: S101
        _keep_alive(writer.get_extra_info("socket"))
        session = Session(self._context, reader, writer)
        self._sessions.add(session)
        self._tasks.add(task)
        try:
            # Cancelled by `drain` only; asyncio would log that as an error.
            with suppress(asyncio.CancelledError):
                await session.run()
        finally:
            self._sessions.discard(session)
            self._tasks.discard(task)

    async def _describe(self) -> Iterable[str]:
        position, floor = await self._store.history()
        facts = {
            "protocol": PROTOCOL,
            "version": __version__,
            "features": FEATURES,
            "store": position.store.decode(),
            "revision": position.revision,
            "oldest": floor,
            "max-key": words.MAX_KEY,
            "max-value": self._settings.max_value,
            "max-line": self._max_line,
        }
        return [f"{name} {value}" for name, value in facts.items()]


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
