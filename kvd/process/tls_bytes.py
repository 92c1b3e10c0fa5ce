"""TLS without I/O: what comes from the socket in, and out what goes there, over `ssl.SSLObject`.

Bytes go through OpenSSL's buffers in pieces, for these keep the size that they had once.
"""

import ssl
from collections.abc import Callable
from typing import Any

PIECE = 16 * 1024
"""Bytes that go to OpenSSL at once, either way: a record."""
RECORD_HEADER = 5
"""Bytes: a type, a version, and the length of what follows."""
LARGEST_HELLO = RECORD_HEADER + 16 * 1024
"""Bytes that a client may send before it has heard anything: a record."""
HANDSHAKE_RECORD = b"\x16"
"""What every connection begins with, since SSL 3."""


class TlsBytes:
    """One side of one connection.

    waiting: bytes that came and that OpenSSL was not given yet.
    peer: the peer, as `ssl` has it, once it has begun.
    """

    def __init__(self) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.waiting = b""
        # Made by `begin`: who only connects takes little.
        self.peer: Any = None

    def begin(self, wrap: Callable[[ssl.MemoryBIO, ssl.MemoryBIO], ssl.SSLObject]) -> None:
        """The first step of the handshake is due.  wrap: makes what encrypts."""
        self.peer = wrap(self._incoming, self._outgoing)

    @property
    def has_begun(self) -> bool:
        """Whether the handshake has."""
        return self.peer is not None

    @property
    def began_plain(self) -> bool:
        """Whether what the peer sent first cannot be TLS."""
        return self.peer is None and self.waiting[:1] not in (b"", HANDSHAKE_RECORD)

    @property
    def has_hello(self) -> bool:
        """Whether enough came for the first step, before which nothing is kept but what came."""
        length = int.from_bytes(self.waiting[3:RECORD_HEADER])
        is_whole = RECORD_HEADER + length <= len(self.waiting) and len(self.waiting) >= RECORD_HEADER
        return is_whole or self.began_plain

    @property
    def is_too_long(self) -> bool:
        """Whether more came than any first message has."""
        return len(self.waiting) > LARGEST_HELLO

    def shake_hands(self) -> bool:
        """Go on with the handshake, as far as what came goes; whether it is done.  Raises SSLError."""
        while True:
            try:
                self.peer.do_handshake()
            except ssl.SSLWantReadError:
                if not self._feed():
                    return False
            else:
                return True

    def _feed(self) -> bool:
        """Give OpenSSL a piece of what came; False: there is nothing."""
        piece, self.waiting = self.waiting[:PIECE], self.waiting[PIECE:]
        self._incoming.write(piece)
        return bool(piece)

    def decrypt(self, parts: list[bytes]) -> bool:
        """Add what came to some parts; whether the peer has said that it ends.  Raises SSLError."""
        while True:
            try:
                while part := self.peer.read(PIECE):
                    parts.append(part)
            except ssl.SSLWantReadError:
                if not self._feed():
                    return False
            except ssl.SSLZeroReturnError:
                return True
            else:
                return True

    def encrypt(self, piece: memoryview) -> None:
        """Send bytes, PIECE at the most."""
        self.peer.write(piece)

    def end(self) -> None:
        """Say that no more will come.  Raises SSLError: it does not wait for the peer's."""
        self.peer.unwrap()

    def take(self) -> bytes:
        """What is to go to the socket."""
        return self._outgoing.read()


def reason_of(error: Exception) -> str:
    """What OpenSSL says, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return str(error.reason or error).lower().replace("_", " ")
    return str(error)
