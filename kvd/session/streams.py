"""asyncio's streams of one connection, whose input is taken as it arrives: no task is woken for it."""

import asyncio
from collections.abc import Callable
from typing import Protocol


class Receiver(Protocol):
    """Who takes the input."""

    def receive(self, data: bytes) -> None:
        """The next bytes."""

    def end(self, error: Exception | None) -> None:
        """Nothing more will come.  error: why the connection was lost, None if the peer has ended its side."""


class Streams(asyncio.StreamReaderProtocol):
    """As `asyncio.start_server` makes them; until somebody is attached, and from `detach` on, input goes to the reader.

    has_early: bool, whether input came before anybody was attached; it is in the reader.
    """

    receiver: Receiver | None = None
    receive: Callable[[bytes], None] | None = None
    has_early = False

    def attach(self, receiver: Receiver) -> None:
        """Have all that comes taken."""
        self.receiver = receiver
        self.receive = receiver.receive

    def detach(self) -> None:
        """Leave all that comes to the reader."""
        self.receiver = self.receive = None

    def data_received(self, data: bytes) -> None:
        """Called by the transport."""
        if self.receive:
            self.receive(data)
        else:
            self.has_early = True
            super().data_received(data)

    def eof_received(self) -> bool | None:
        """Called by the transport."""
        stays_open = super().eof_received()
        if self.receiver:
            self.receiver.end(None)
        return stays_open

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport."""
        super().connection_lost(exc)
        if self.receiver:
            self.receiver.end(exc)
            self.detach()
