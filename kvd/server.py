"""One process that serves, on sockets that are given; and its orderly end."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from kvd.addresses import is_loopback
from kvd.counts import Start
from kvd.edge.location import EdgeLocation
from kvd.errors import Refusal, Superseded, Unavailable
from kvd.process import freed_memory, limits
from kvd.process.activity import Activity
from kvd.process.addresses import Addresses
from kvd.process.half_open import Peers, keep_alive
from kvd.process.limited_log import LimitedLog
from kvd.process.sockets import BACKLOG, Listener, cannot_listen
from kvd.process.tasks import run_together
from kvd.process.tls import Tls
from kvd.process.tls_transport import TlsTransport
from kvd.reloadable import NOTHING, Reloadable
from kvd.service import Service
from kvd.session.clients import Answer, Others, Question
from kvd.session.kept_input import READ_BYTES
from kvd.session.limits import Limit
from kvd.session.linger import Linger
from kvd.session.streams import CountingStreams, Streams
from kvd.settings import Settings
from kvd.store.location import StoreLocation
from kvd.watch.spread import retry_hint
from kvd.wire import replies

if TYPE_CHECKING:
    from kvd.http.serving import Serving

logger = logging.getLogger("kvd")

DRAIN_TIMEOUT = 5.0
"""Seconds that connections have to take their last replies when the daemon stops; all of it must be over within the
ten that Docker gives."""
LINGER_COUNT, LINGER_TIME = 16, 1.0
"""Refused connections that may wait at once for their peers to have read why, each on a descriptor of the reserve, and
seconds that one may wait; others are closed at once."""


class Session(Protocol):
    """A connection, whatever is spoken on it."""

    async def run(self) -> None:
        """Serve until its end, or until `stop`."""

    async def linger(self) -> None:
        """Close it, when the peer has what it was sent."""

    def has_sent_all(self) -> bool:
        """While it lingers: whether it may be cut."""

    def stop(self, crowd: int = 1) -> None:
        """Finish what is being done, and end.  crowd: how many end with it."""

    def abort(self) -> None:
        """End at once."""


class Way(NamedTuple):
    """How those are served who come to one address.  open: a session.  refusal: what is sent to who is not let in."""

    open: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Session]
    refusal: Callable[[Refusal], bytes]


Accept = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Serves one who comes."""


class Server:
    """`start` it, keep `run` running, `drain` it, `close` it."""

    def __init__(
        self, settings: Settings, location: StoreLocation | EdgeLocation, listeners: Sequence[Listener],
        loaded: Reloadable = NOTHING,
        start: Start | None = None, others: Others | None = None,
    ) -> None:  # fmt: skip
        """listeners: bound; from now on they are the server's.  loaded: until `reload` gives other.

        start, others: as Service takes them.  Raises StartError if the store's URL is none.
        """
        self._settings = settings
        self._http: Serving | None = None
        self._bound = listeners
        self._listeners: list[asyncio.Server] = []
        self._sessions: set[Session] = set()
        self._peers = Peers()
        self._tasks: set[asyncio.Task[None]] = set()
        self._most = limits.connections()
        self._lingering: dict[Session, None] = {}
        self._draining = False
        self._is_strict, self._is_wary = settings.first_line == "strict", settings.first_line == "auto"
        self._has_idle_time = settings.idle_time > 0
        self._refused = LimitedLog(
            logger, logging.WARNING,
            "refused connections (there are %d, as many as the limit of open files allows); %s",
            "connections were refused", few=1,
        )  # fmt: skip
        self._refused_linger = asyncio.Semaphore(LINGER_COUNT)
        self._activity = Activity(settings.workers)
        self._service = Service(
            location.open(settings, self._activity), settings, embedded=location.disk is not None, start=start,
            users=loaded.users, others=others, activity=self._activity,
        )  # fmt: skip
        sizes = self._service.limits.sizes
        self._tls = Tls(sizes.handshake, sizes.handshakes, partial(self._service.limits.reached, Limit.HANDSHAKES))
        self._load(loaded)
        self._addresses = Addresses(self._service.limits.sizes.address)

    async def start(self) -> None:
        """Listen.  Raises StartError."""
        self._count()
        loop = asyncio.get_running_loop()
        for listener in self._bound:
            bound = listener.socket
            try:
                # Not left to uvloop, which says nothing when it fails.
                bound.listen(BACKLOG)
            except OSError as error:
                raise cannot_listen(listener.address, error) from None
            create = loop.create_unix_server if bound.family == socket.AF_UNIX else loop.create_server
            is_strict = self._is_strict or (self._is_wary and not is_loopback(listener.address))
            admit = partial(self._accept, self._way(listener))
            protocol = partial(self._tls_streams if listener.is_tls else self._streams, is_strict, admit)
            self._listeners.append(await create(protocol, sock=bound, backlog=BACKLOG))

    async def run(self) -> None:
        """Serve until cancelled; what fails here for a reason unforeseen ends the daemon.

        Raises Superseded, after an end in order, when the store is no longer for this version.
        """
        try:
            await run_together(self._service.run(), self._peers.run(), freed_memory.give_back(self._activity))
        except Superseded:
            await self.drain()
            raise

    async def reload(self, loaded: Reloadable) -> None:
        """Take what was read anew, all of it at one moment."""
        self._load(loaded)
        self._service.change_users(loaded.users)

    def answer(self, question: Question) -> Answer:
        """What another process of the daemon asks of this one's connections."""
        return self._service.clients.answer(question)

    def _load(self, loaded: Reloadable) -> None:
        if loaded.certificates:
            self._tls.load(loaded.certificates)
            self._service.measuring.certificate_expiry = loaded.certificates.expiry

    async def drain(self) -> None:
        """Accept nothing more, answer what is being done, tell the watchers, close the connections."""
        self._draining = True
        if self._http:
            self._http.stop()
        for listener in self._listeners:
            listener.close()
        self._tls.close()
        crowd = len(self._sessions)
        for session in list(self._sessions):
            session.stop(crowd)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=DRAIN_TIMEOUT)
        for session in list(self._sessions):
            session.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Let go of the store."""
        self._refused.flush()
        self._tls.flush()
        await self._service.close()

    def _way(self, listener: Listener) -> Way:
        """How those are served who come to a listener."""
        if not listener.is_http:
            return Way(self._service.open_session, replies.refused)
        # What only HTTP needs is not there unless it was asked for.
        from kvd.http import serving

        if self._http is None:
            self._http = serving.Serving(self._service, self._settings)
        return Way(self._http.opener(listener.address), serving.refusal)

    def _streams(self, is_strict: bool, accept: Accept) -> Streams:
        loop = asyncio.get_running_loop()
        kind = CountingStreams if self._has_idle_time else Streams
        streams = kind(asyncio.StreamReader(READ_BYTES, loop), accept, loop)
        streams.is_strict = is_strict
        return streams

    def _tls_streams(self, is_strict: bool, accept: Accept) -> TlsTransport:
        # Those beyond are to hear that there are too many.
        if len(self._sessions) + self._tls.in_flight >= self._most + LINGER_COUNT:
            self._tls.make_room()
        return self._tls.transport(self._streams(is_strict, accept))

    async def _accept(self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task  # noqa: S101
        self._tasks.add(task)
        try:
            # Cancelled by `drain` only; asyncio would log that as an error.
            with suppress(asyncio.CancelledError):
                address = _address_of(writer)
                if not self._addresses.take(address):
                    await self._refuse_address(address, way, reader, writer)
                    return
                try:
                    await self._admit(way, reader, writer)
                finally:
                    self._addresses.give_back(address)
        finally:
            self._tasks.discard(task)

    async def _admit(self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._has_room() or self._make_room():
            await self._serve(way, reader, writer)
        else:
            # The descriptors that are left are for the daemon itself: without them it would lose the store.
            self._refused.write(self._most, limits.REMEDY)
            text = f"{retry_hint(self._most)} there are too many connections; try again later"
            await self._refuse(way, reader, writer, Unavailable(text))

    async def _refuse_address(
        self, address: str, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        error = self._service.limits.reached(Limit.ADDRESS)
        self._service.limits.ended(address, error)
        await self._refuse(way, reader, writer, error)

    async def _serve(self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        keep_alive(connection)
        session = way.open(reader, writer)
        self._sessions.add(session)
        self._service.counts.opened += 1
        self._count()
        peer = self._peers.add(connection, session.abort)
        if self._draining:
            session.stop(len(self._sessions))
        try:
            await session.run()
            self._lingering[session] = None
            await session.linger()
        finally:
            self._lingering.pop(session, None)
            self._sessions.discard(session)
            self._count()
            self._peers.discard(peer)
            writer.close()

    def _count(self) -> None:
        self._service.counts.connections = len(self._sessions)
        self._activity.count(len(self._sessions))

    def _has_room(self) -> bool:
        """Whether there may be one more connection; a handshake in flight makes way for it."""
        if len(self._sessions) + self._tls.in_flight >= self._most:
            self._tls.make_room()
        return len(self._sessions) < self._most

    def _make_room(self) -> bool:
        """Cut a connection that has ended but for its peer's end; False: there is none."""
        for session in self._lingering:
            if session.has_sent_all():
                session.abort()
                del self._lingering[session]
                self._sessions.discard(session)
                return True
        return False

    async def _refuse(
        self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, error: Refusal
    ) -> None:
        if not writer.is_closing():
            writer.write(way.refusal(error))
        try:
            if not self._refused_linger.locked():
                async with self._refused_linger:
                    await Linger(reader, writer).close(amid=True, longest=LINGER_TIME)
        finally:
            writer.close()


def _address_of(writer: asyncio.StreamWriter) -> str:
    """The peer's address without its port, "" for a unix socket's."""
    # uvloop raises ValueError for a peer that is gone.
    with suppress(OSError, ValueError):
        name = writer.get_extra_info("peername")
        return str(name[0]) if isinstance(name, tuple) else ""
    return ""
