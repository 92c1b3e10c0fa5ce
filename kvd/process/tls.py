"""The server's side of TLS: its certificates, and the handshakes in flight.

A handshake has a deadline, and only so many at once take OpenSSL's memory, the oldest of which makes way: one who stops
in the middle holds little, and not for long.  The costly step of each, the signature, has a turn of the event loop of
its own, so that a crowd that comes at once does not keep others from theirs.
"""

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from kvd.certificates import Certificates, name_in
from kvd.errors import Usage
from kvd.process.limited_log import LimitedLog
from kvd.process.tls_transport import TlsTransport
from kvd.wire import replies

logger = logging.getLogger("kvd")

PLAIN = replies.refused(Usage("this address takes TLS only; expected a TLS handshake"))
"""For who begins with a line of the protocol."""


class Tls:
    """`load` it, give each connection that comes a `transport`, `close` it."""

    def __init__(self, seconds: float, most: int, limited: Callable[[], object]) -> None:
        """seconds: float, from the connection to the end of the handshake, 0 for any: three round trips take ten on the
        slowest line.

        most: handshakes that were begun, and wait for the peer: they take some 40 KB each, and one does not wait for
        long.  A connection that has said nothing takes a tenth of that.
        limited: called for each that is ended for one of the two.
        """
        self._seconds, self._most, self._limited = seconds, most, limited
        self._context: ssl.SSLContext | None = None
        self._in_flight: dict[TlsTransport, asyncio.TimerHandle | None] = {}
        self._begun: dict[TlsTransport, None] = {}
        self._ready: deque[TlsTransport] = deque()
        self._failed = LimitedLog(logger, logging.WARNING, "no TLS with %s: %s", "handshakes failed")
        self._left = LimitedLog(logger, logging.DEBUG, "no TLS with %s: %s", "handshakes were left by the peer")

    def load(self, certificates: Certificates) -> None:
        """Use these for all that connects from now on.  Raises ssl.SSLError, ValueError."""
        self._context = certificates.context()

    def transport(self, protocol: asyncio.Protocol) -> TlsTransport:
        """The transport of a connection that comes; `protocol` is told of it when the handshake is done."""
        return TlsTransport(self, protocol)

    @property
    def in_flight(self) -> int:
        """How many handshakes are."""
        return len(self._in_flight)

    def make_room(self) -> bool:
        """End the oldest handshake in flight, which is likely to have been given up; False: there is none."""
        for transport in self._in_flight:
            self._cut(transport, "others needed its place")
            return True
        return False

    def close(self) -> None:
        """End all handshakes."""
        for transport in list(self._in_flight):
            transport.cut("the daemon stops")

    def _cut(self, transport: TlsTransport, why: str) -> None:
        self._limited()
        transport.cut(why)

    def flush(self) -> None:
        """Write what the log was not told yet."""
        self._failed.flush()
        self._left.flush()

    # ---- called by transports

    def begun(self, transport: TlsTransport) -> None:
        """A connection has come."""
        loop = asyncio.get_running_loop()
        why = f"its handshake was not done within {self._seconds:g} s (--handshake-time)"
        timer = loop.call_later(self._seconds, self._cut, transport, why) if self._seconds else None
        self._in_flight[transport] = timer

    def began(self, transport: TlsTransport) -> None:
        """It has begun to speak: its first step is due."""
        self._ready.append(transport)
        if len(self._ready) == 1:
            asyncio.get_running_loop().call_soon(self._take_turn)

    def failed(self, transport: TlsTransport, why: str, *, left: bool) -> None:
        """There will be no connection.  left: whether the peer has gone."""
        log = self._left if left else self._failed
        log.write(_name_of(transport), why)

    def ended(self, transport: TlsTransport) -> None:
        """It is over, or its socket is closed."""
        self._begun.pop(transport, None)
        timer = self._in_flight.pop(transport, None)
        if timer:
            timer.cancel()

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        """What encrypts a connection."""
        assert self._context  # noqa: S101
        return self._context.wrap_bio(incoming, outgoing, server_side=True)

    def name(self, peer: ssl.SSLObject) -> str | None:
        """The name in a peer's certificate.  Raises ValueError if it is to be refused."""
        return name_in(peer)

    def _take_turn(self) -> None:
        transport = self._ready.popleft()
        if self._ready:
            asyncio.get_running_loop().call_soon(self._take_turn)
        if transport not in self._in_flight:
            return
        if transport.began_plain:
            transport.refuse("it does not speak TLS", told=PLAIN)
            return
        if len(self._begun) >= self._most:
            self._cut(next(iter(self._begun)), "others needed its place (--handshakes)")
        self._begun[transport] = None
        transport.step()


def _name_of(transport: TlsTransport) -> str:
    peer = None
    # uvloop raises ValueError when the peer is gone.
    with suppress(OSError, ValueError):
        peer = transport.get_extra_info("peername")
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "a peer"
