"""Input that came while a connection was busy."""

from collections.abc import Callable
from typing import Any

READ_BYTES = 64 * 1024
"""Bytes that are looked at in one piece, and that may be kept before reading pauses."""


class KeptInput:
    """Bytes that have come and were not looked at yet.  While they are many, no more are read.

    data: bytes, all of it.
    """

    def __init__(self, transport: Any, note: Callable[[], None]) -> None:
        """note: called when reading pauses."""
        self._transport = transport
        self._note = note
        self.data = b""
        self._paused = False

    def add(self, data: bytes) -> None:
        """Keep more."""
        self.data += data
        if len(self.data) > READ_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()
            self._note()

    def take(self) -> bytes:
        """The next piece, which is kept no longer."""
        data, self.data = self.data[:READ_BYTES], self.data[READ_BYTES:]
        if len(self.data) <= READ_BYTES:
            self._read_on()
        return data

    def drop(self) -> None:
        """Forget all of it."""
        self.data = b""
        self._read_on()

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
