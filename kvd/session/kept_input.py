"""Input that came while a connection was busy, and when more of it is read."""

from collections.abc import Callable
from typing import Any

from kvd.process.over_transport import OverTransport
from kvd.session.background import Background
from kvd.session.budget import NOTED_BYTES

READ_BYTES = 64 * 1024
"""Bytes that are looked at in one piece, and that may be kept before reading pauses."""


class KeptInput:
    """Bytes that have come and were not looked at yet.  While they are many, no more are read.

    data: bytes, all of it.
    """

    def __init__(self, transport: Any, note: Callable[[], None], background: Background) -> None:
        """note: called when much is kept."""
        self._transport = transport
        self._background = background
        # The descriptor of the socket, while it waits in the background.
        self._descriptor: int | None = None
        self._note = note
        self.data = b""
        self._paused = False

    def add(self, data: bytes) -> None:
        """Keep more."""
        self.data += data
        if len(self.data) > READ_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        if len(self.data) >= NOTED_BYTES:
            self._note()

    def take(self) -> bytes:
        """The next piece, which is kept no longer."""
        data, self.data = self.data[:READ_BYTES], self.data[READ_BYTES:]
        if len(self.data) <= READ_BYTES:
            self._read_on()
        return data

    def drop(self) -> None:
        """Forget all of it, and read on."""
        self.data = b""
        self._read_on()
        if self._descriptor is not None:
            self._background.forget(self._descriptor, self._wake)
            self._wake()

    def give_way(self) -> None:
        """Read on when it is its turn; there must be nothing that is kept."""
        connection = self._transport.get_extra_info("socket")
        # What TLS has decrypted is not in the socket any more.
        is_socket = connection is not None and not isinstance(self._transport, OverTransport)
        if is_socket and self._descriptor is None and not self._transport.is_closing():
            self._descriptor = connection.fileno()
            self._transport.pause_reading()
            if not self._background.wait(self._descriptor, self._wake):
                self._wake()

    def _wake(self) -> None:
        self._descriptor = None
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """The connection has ended."""
        self.drop()
        self._note = _nothing

    def _read_on(self) -> None:
        if self._paused:
            self._paused = False
            self._transport.resume_reading()


def _nothing() -> None:
    """Takes the place of the connection, which would otherwise be kept until the garbage collector comes."""
