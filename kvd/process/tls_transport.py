"""TLS between a socket's transport and a protocol, so that the protocol need not know of it.

asyncio's own TLS, and uvloop's, have no half-closing: when the peer ends its side (`close_notify`), theirs is closed as
well, with the replies that are still to come, and `write_eof` does not exist.  A kvd client may shut its sending side
down and goes on reading, with TLS as without; and the daemon ends a connection by shutting its own side down, without a
loss of what the peer has not read (`session.linger`).  Hence this transport:

    socket's transport  <->  TlsTransport, over TlsBytes  <->  protocol

All that waits for the peer waits in the socket's transport, whose marks for a full buffer are passed on.
"""

import asyncio
import ssl
from contextlib import suppress
from typing import Any, Protocol

from kvd.process.over_transport import OverTransport
from kvd.process.tls_bytes import PIECE, TlsBytes, reason_of

LINGER = 1.0
"""Seconds that a peer may take to read why there is no connection."""
MOST_UNASKED = 16 * 1024
"""Bytes that a peer may have OpenSSL answer by itself after the handshake: no client asks for new keys that often, and
what tries to renegotiate, which is refused, might not read the refusals."""


class Handshakes(Protocol):
    """Who counts the handshakes in flight, and decides about them."""

    def begun(self, transport: "TlsTransport") -> None:
        """There is a connection; a client calls `step`."""

    def began(self, transport: "TlsTransport") -> None:
        """The peer has begun to speak: a server is to call `step`, soon."""

    def failed(self, transport: "TlsTransport", why: str, *, left: bool) -> None:
        """It is over, and there will be no connection.  left: whether the peer has gone."""

    def ended(self, transport: "TlsTransport") -> None:
        """It is over, or its socket is closed; called once or more."""

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        """What encrypts a connection."""

    def name(self, peer: ssl.SSLObject) -> str | None:
        """The name in a peer's certificate.  Raises ValueError if it is to be refused."""


class TlsTransport(OverTransport):
    """A side of a connection."""

    def __init__(self, handshakes: Handshakes, protocol: asyncio.Protocol) -> None:
        """protocol: it is told of the connection when the handshake is done."""
        super().__init__(protocol)
        self._handshakes = handshakes
        self._tls = TlsBytes()
        self._certificate: str | None = None
        self._has_begun = False
        self._paused = False
        self._peer_ended = self._raw_ended = self._shut = self._closing = False
        self._unasked = 0
        self._lingering: asyncio.TimerHandle | None = None
        self._error: Exception | None = None

    # ---- the socket's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the socket's transport."""
        self._raw = transport
        self._handshakes.begun(self)

    def data_received(self, data: bytes) -> None:
        """Called by the socket's transport."""
        if self._peer_ended or self._closing:
            # Nothing can follow.
            return
        self._tls.waiting += data
        self._go_on()

    def eof_received(self) -> bool:
        """Called by the socket's transport."""
        self._raw_ended = True
        if self._lingering:
            self._raw.close()
        elif not (self._tls.has_begun or self._tls.waiting):
            self.refuse("it has ended the connection", left=True)
        else:
            self._go_on()
        return True

    def _go_on(self) -> None:
        if self._is_open:
            self._take()
        elif self._tls.has_begun:
            self.step()
        elif self._tls.is_too_long:
            self.refuse("it has sent too much before the handshake")
        elif not self._has_begun and (self._tls.has_hello or self._raw_ended):
            self._has_begun = True
            self._handshakes.began(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the socket's transport."""
        if self._is_open:
            self._is_open = False
            self._protocol.connection_lost(exc or self._error)
        else:
            self.refuse("it has gone", left=True)
            self._handshakes.ended(self)
        if self._lingering:
            self._lingering.cancel()
        self._tls.waiting = b""

    # ---- the handshake

    @property
    def began_plain(self) -> bool:
        """Whether what the peer sent first cannot be TLS: it is to be told so in plain text."""
        return self._tls.began_plain

    def step(self) -> None:
        """Go on with the handshake."""
        if self._closing or self._is_open:
            return
        if not self._tls.has_begun:
            self._tls.begin(self._handshakes.wrap)
        try:
            if not self._shake_hands():
                if self._raw_ended:
                    self.refuse("it has ended the connection", left=True)
                return
            self._certificate = self._handshakes.name(self._tls.peer)
        except (ssl.SSLError, ValueError) as error:
            self.refuse(reason_of(error))
            return
        self._open()

    def refuse(self, why: str, *, left: bool = False, told: bytes = b"") -> None:
        """End the connection before it is one.  left: whether the peer has gone.  told: to it, in plain text."""
        if self._closing or self._is_open:
            return
        self._closing = True
        self._tls.waiting = b""
        self._handshakes.failed(self, why, left=left)
        if told and not self._raw.is_closing():
            self._raw.write(told)
        self._hang_up(left)

    def cut(self, why: str) -> None:
        """End the connection now, before it is one."""
        self.refuse(why)
        self._handshakes.ended(self)
        self._raw.abort()

    def _hang_up(self, left: bool = False) -> None:
        """Close the socket, when the peer has had a moment to read why: what it sends meanwhile would lose that."""
        if left or self._raw.is_closing() or self._raw.get_write_buffer_size():
            self._raw.abort()
        else:
            self._end_raw()
            self._lingering = asyncio.get_running_loop().call_later(LINGER, self._raw.abort)

    def _shake_hands(self) -> bool:
        """Whether it is done; else it wants more bytes.  Raises SSLError."""
        try:
            return self._tls.shake_hands()
        finally:
            self._send()

    def _open(self) -> None:
        self._is_open = True
        self._handshakes.ended(self)
        self._protocol.connection_made(self)
        if self._full:
            self._protocol.pause_writing()
        self._take()

    # ---- what comes

    def _take(self) -> None:
        """Hand on what has come, unless the protocol wants nothing now."""
        if not self._is_open or self._paused or self._peer_ended:
            return
        parts: list[bytes] = []
        try:
            # A peer that ends without a word of TLS may have been cut off: what is no whole line is dropped.
            self._peer_ended = self._tls.decrypt(parts) or self._raw_ended
        except ssl.SSLError as error:
            self._fail(error)
        self._send(unasked=True)
        if parts and self._is_open:
            self._protocol.data_received(b"".join(parts))
        if self._peer_ended and self._is_open and not self._closing and not self._protocol.eof_received():
            self.close()

    def _fail(self, error: ssl.SSLError) -> None:
        """What came is no TLS, or the peer reports an error."""
        self._error = error
        # Its traceback would keep what is on the stack.
        error.__traceback__ = None
        self._closing = self._shut = True
        self._send()
        self._hang_up()

    # ---- what goes

    def _send(self, *, unasked: bool = False) -> None:
        """Hand the socket what OpenSSL has made.  unasked: the peer has caused it."""
        data = self._tls.take()
        if not data or self._raw.is_closing():
            return
        self._raw.write(data)
        if unasked:
            self._unasked += len(data)
            if self._unasked > MOST_UNASKED:
                self.abort()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes, unless the connection is closed."""
        if self._shut or self._raw.is_closing():
            return
        view = memoryview(data)
        for begin in range(0, len(view), PIECE):
            self._tls.encrypt(view[begin : begin + PIECE])
            self._send()

    def write_eof(self) -> None:
        """Send no more; what comes is still received."""
        if not self._shut and not self._raw.is_closing():
            self._say_goodbye()
            self._end_raw()

    def _say_goodbye(self) -> None:
        self._shut = True
        # It does not wait for the peer's.
        with suppress(ssl.SSLError):
            self._tls.end()
        self._send()

    # ---- the protocol's side

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """certificate: the name in the peer's certificate; the rest is the socket's transport's."""
        if name == "certificate":
            return self._certificate
        return super().get_extra_info(name, default)

    def is_closing(self) -> bool:
        """Whether it is closed, or will be."""
        return self._closing or bool(self._raw.is_closing())

    def close(self) -> None:
        """Close it when all is sent."""
        if self.is_closing():
            return
        if self._is_open and not self._shut:
            self._say_goodbye()
        self._closing = True
        self._raw.close()

    def abort(self) -> None:
        """Close it now."""
        if self._is_open:
            self._closing = self._shut = True
        else:
            self.cut("it was ended")
        self._raw.abort()

    def is_reading(self) -> bool:
        """Whether what comes is handed on."""
        return not self._paused and not self.is_closing()

    def pause_reading(self) -> None:
        """Hand on nothing more, and let it wait in the kernel."""
        if not self._paused and not self.is_closing():
            self._paused = True
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        """Hand on what comes."""
        if self._paused and not self.is_closing():
            self._paused = False
            self._raw.resume_reading()
            # Not now: who calls may not be done with what was handed on before.
            asyncio.get_running_loop().call_soon(self._take)
