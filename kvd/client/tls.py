"""TLS to a daemon: what is given for it, the handshake for asyncio, and a socket for threads."""

import asyncio
import os
import socket
import ssl
import threading
from typing import Any

from kvd.process.tls_bytes import reason_of
from kvd.process.tls_transport import TlsTransport

File = str | os.PathLike[str]


def tls_context(
    tls: bool | ssl.SSLContext, ca: File | None, cert: File | None, key: File | None
) -> ssl.SSLContext | None:
    """What was given, for a connection; None: no TLS.

    tls: True, which any of the others stands for, or what is to be used as it is.  ca: PEM, who may have signed the
    daemon's certificate; None: the authorities that this machine trusts.  cert, key: PEM, what is shown to the daemon.

    Raises TypeError, and ValueError if a file cannot be used.
    """
    if not isinstance(tls, bool | ssl.SSLContext):
        raise TypeError(f"tls must be bool or ssl.SSLContext, not {type(tls).__name__}")
    files = (ca, cert, key)
    for name, file in zip(("ca", "cert", "key"), files, strict=True):
        if file is not None and not isinstance(file, str | os.PathLike):
            raise TypeError(f"{name} must be a path, not {type(file).__name__}")
    if isinstance(tls, ssl.SSLContext):
        if files != (None, None, None):
            raise ValueError("tls is an SSLContext: expected ca, cert and key in it, not beside it")
        return tls
    if not tls and files == (None, None, None):
        return None
    if (cert is None) != (key is None):
        raise ValueError("cert and key: one of them is given; expected both")
    return _context(ca, cert, key)


def _context(ca: File | None, cert: File | None, key: File | None) -> ssl.SSLContext:
    what, path = "ca", ca
    try:
        made = ssl.create_default_context(cafile=ca)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        if cert is not None:
            what, path = "cert and key", cert
            # Without an answer OpenSSL would ask for the key's passphrase on the terminal.
            made.load_cert_chain(cert, key, password="")
    except ssl.SSLError as error:
        raise ValueError(f"{what}: {str(path)!r} cannot be used: {reason_of(error)}; expected PEM") from None
    except OSError as error:
        raise ValueError(f"{what}: cannot read {str(path)!r}: {error.strerror}; expected PEM") from None
    return made


class Handshake:
    """The one of a client.  done: raises OSError if it fails."""

    def __init__(self, made: ssl.SSLContext, host: str) -> None:
        """host: whom the daemon's certificate must name."""
        self._context, self._host = made, host
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def begun(self, transport: TlsTransport) -> None:
        """The client speaks first."""
        transport.step()

    def began(self, transport: TlsTransport) -> None:
        """Only a server waits for its turn."""

    def failed(self, transport: TlsTransport, why: str, *, left: bool) -> None:  # noqa: ARG002
        """There will be no connection."""
        if not self.done.done():
            self.done.set_exception(OSError(f"no TLS: {why}"))

    def ended(self, transport: TlsTransport) -> None:  # noqa: ARG002
        """It is over."""
        if not self.done.done():
            self.done.set_result(None)

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        """What encrypts the connection."""
        return self._context.wrap_bio(incoming, outgoing, server_hostname=self._host)

    def name(self, peer: ssl.SSLObject) -> None:
        """The daemon's name has been compared already."""


async def connect(
    streams: asyncio.Protocol, connection: socket.socket, made: ssl.SSLContext, host: str
) -> TlsTransport:
    """Have a protocol speak TLS on a socket.  Raises OSError."""
    handshake = Handshake(made, host)
    transport = TlsTransport(handshake, streams)
    await asyncio.get_running_loop().create_connection(lambda: transport, sock=connection)
    try:
        await handshake.done
    except BaseException:
        transport.abort()
        raise
    return transport


class TlsSocket:
    """A socket that does not block, for one thread that sends and one that receives: OpenSSL takes one at a time."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        """connection: after its handshake."""
        self._socket: Any = connection
        self._lock = threading.Lock()
        self.family = connection.family
        self.fileno = connection.fileno
        self.getsockopt, self.setsockopt = connection.getsockopt, connection.setsockopt

    def send(self, data: memoryview) -> int:
        """Send what can be sent now.  Raises BlockingIOError, OSError."""
        with self._lock:
            try:
                return int(self._socket.send(data))
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise BlockingIOError from None

    def recv(self, size: int) -> bytes:
        """Receive what is there.  Raises BlockingIOError, OSError."""
        with self._lock:
            try:
                return bytes(self._socket.recv(size))
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise BlockingIOError from None

    def shutdown(self, how: int) -> None:
        """End the connection, without a word of TLS, so that the receiving thread is woken."""
        socket.socket.shutdown(self._socket, how)

    def close(self) -> None:
        """Close it."""
        with self._lock:
            self._socket.close()
