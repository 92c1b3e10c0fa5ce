"""One process that serves, on sockets that are given; and its orderly end."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from kvd.addresses import is_loopback
from kvd.admission import Accept, Admission, Way
from kvd.counts import Start
from kvd.errors import Superseded
from kvd.process import freed_memory
from kvd.process.accepting import Acceptor
from kvd.process.activity import Activity
from kvd.process.half_open import Peers
from kvd.process.sockets import BACKLOG, Listener, cannot_listen
from kvd.process.tasks import run_together
from kvd.process.tls import Tls
from kvd.process.tls_transport import TlsTransport
from kvd.reloadable import NOTHING, Reloadable
from kvd.service import Service
from kvd.session.clients import Answer, Others, Question
from kvd.session.kept_input import READ_BYTES
from kvd.session.limits import Limit
from kvd.session.streams import CountingStreams, Streams
from kvd.settings import Settings
from kvd.store.location import StoreLocation
from kvd.wire import replies

if TYPE_CHECKING:
    from kvd.edge.location import EdgeLocation
    from kvd.http.serving import Serving


class Server:
    """`start` it, keep `run` running, `drain` it, `close` it."""

    def __init__(
        self, settings: Settings, location: "StoreLocation | EdgeLocation", listeners: Sequence[Listener],
        loaded: Reloadable = NOTHING,
        start: Start | None = None, others: Others | None = None,
    ) -> None:  # fmt: skip
        """listeners: bound; from now on they are the server's.  loaded: until `reload` gives other.

        start, others: as Service takes them.  Raises StartError if the store's URL is none.
        """
        self._settings = settings
        self._http: Serving | None = None
        self._bound = listeners
        self._acceptors: list[Acceptor] = []
        self._peers = Peers()
        self._is_strict, self._is_wary = settings.first_line == "strict", settings.first_line == "auto"
        self._has_idle_time = settings.idle_time > 0
        self._activity = Activity(settings.workers)
        self._service = Service(
            location.open(settings, self._activity), settings, embedded=location.disk is not None, start=start,
            users=loaded.users, others=others, activity=self._activity,
        )  # fmt: skip
        sizes = self._service.limits.sizes
        self._tls = Tls(sizes.handshake, sizes.handshakes, partial(self._service.limits.reached, Limit.HANDSHAKES))
        self._load(loaded)
        self._admission = Admission(self._service, self._peers, self._tls, self._activity)

    async def start(self) -> None:
        """Listen.  Raises StartError."""
        self._admission.count()
        for listener in self._bound:
            bound = listener.socket
            try:
                bound.listen(BACKLOG)
            except OSError as error:
                raise cannot_listen(listener.address, error) from None
            is_strict = self._is_strict or (self._is_wary and not is_loopback(listener.address))
            admit = partial(self._admission.accept, self._way(listener))
            protocol = partial(self._tls_streams if listener.is_tls else self._streams, is_strict, admit)
            self._acceptors.append(Acceptor(bound, protocol))

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
        self._service.store.learn_servers()

    def answer(self, question: Question) -> Answer:
        """What another process of the daemon asks of this one's connections."""
        return self._service.clients.answer(question)

    def _load(self, loaded: Reloadable) -> None:
        if loaded.certificates:
            self._tls.load(loaded.certificates)
            self._service.measuring.certificate_expiry = loaded.certificates.expiry

    async def drain(self) -> None:
        """Accept nothing more, answer what is being done, tell the watchers, close the connections."""
        if self._http:
            self._http.stop()
        for acceptor in self._acceptors:
            acceptor.close()
        self._tls.close()
        await self._admission.drain()

    async def close(self) -> None:
        """Let go of the store."""
        self._admission.flush()
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
        self._admission.make_room_for_handshake()
        return self._tls.transport(self._streams(is_strict, accept))
