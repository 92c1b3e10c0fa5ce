"""Which connections are let in: as many as the limit of open files allows. The others are told why, and closed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple, Protocol

from kvd.errors import Refusal, Unavailable
from kvd.process import limits
from kvd.process.activity import Activity
from kvd.process.addresses import Addresses
from kvd.process.half_open import Peers, keep_alive
from kvd.process.limited_log import LimitedLog
from kvd.process.tls import Tls
from kvd.service import Service
from kvd.session.limits import Limit
from kvd.session.linger import Linger
from kvd.watch.spread import retry_hint

logger = logging.getLogger("kvd")

DRAIN_TIMEOUT = 5.0
"""Seconds that connections have to take their last replies when the daemon stops; all of it must be over within the
ten that Docker gives."""
ANSWER_TIME = 2.0
"""Seconds of these after which nothing more is begun of what has come: thousands of requests of one connection may take
longer than all of them on a busy machine, and the replies of those that were done would be lost."""
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

    def begin_no_more(self) -> None:
        """It was told to stop a while ago: answer what was begun, and end."""

    def abort(self) -> None:
        """End at once."""


class Way(NamedTuple):
    """How the connections to one address are served.  open: makes a session.  refusal: says why there is none."""

    open: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Session]
    refusal: Callable[[Refusal], bytes]


Accept = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""Serves one connection until its end."""


class Admission:
    """The connections of one process: `accept` each, until `drain`."""

    def __init__(self, service: Service, peers: Peers, tls: Tls, activity: Activity) -> None:
        self._service = service
        self._peers = peers
        self._tls = tls
        self._activity = activity
        self._most = limits.connections()
        self._addresses = Addresses(service.limits.sizes.address)
        self._sessions: set[Session] = set()
        # Sessions that have ended, and wait only until their peers have read the last replies.
        self._lingering: dict[Session, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False
        self._refused = LimitedLog(
            logger, logging.WARNING,
            "refused connections (there are %d, as many as the limit of open files allows); %s",
            "connections were refused", few=1,
        )  # fmt: skip
        self._refused_linger = asyncio.Semaphore(LINGER_COUNT)

    async def drain(self) -> None:
        """Answer what is being done, tell the watchers, close the connections."""
        self._draining = True
        crowd = len(self._sessions)
        for session in list(self._sessions):
            session.stop(crowd)
        await self._wait(ANSWER_TIME)
        for session in list(self._sessions):
            session.begin_no_more()
        await self._wait(DRAIN_TIMEOUT - ANSWER_TIME)
        for session in list(self._sessions):
            session.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _wait(self, seconds: float) -> None:
        """Wait for the end of all connections, so long at the most."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    def flush(self) -> None:
        """Write what the log was not told yet."""
        self._refused.flush()

    def make_room_for_handshake(self) -> None:
        """Before a TLS handshake: end an older one if, with it, a refusal could not be sent any more."""
        if len(self._sessions) + self._tls.in_flight >= self._most + LINGER_COUNT:
            self._tls.make_room()

    async def accept(self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until its end."""
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
        self.count()
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
            self.count()
            self._peers.discard(peer)
            writer.close()

    def count(self) -> None:
        """Note how many connections there are, for the metrics."""
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
