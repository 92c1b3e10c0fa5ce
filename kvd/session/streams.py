"""asyncio's streams of one connection, whose input is taken as it arrives: no task is woken for it."""

import asyncio
from collections.abc import Callable


class Streams(asyncio.StreamReaderProtocol):
    """As `asyncio.start_server` makes them; until somebody is attached, and from `detach` on, input goes to the reader.

    has_early: bool, whether input came before anybody was attached; it is in the reader.
    heard: int, how often input came, if it is a `CountingStreams`.
    is_strict: bool, whether the first line must begin with a verb; to be set.
    """

    has_early = False
    heard = 0
    is_strict = False
    _receive: Callable[[bytes], None] | None = None
    _full: Callable[[], None] | None = None
    _end: Callable[[Exception | None], None] | None = None

    def tell(self, full: Callable[[], None] | None) -> None:
        """Have somebody called when the peer reads so slowly that much waits, and when that has become less."""
        self._full = full

    def pause_writing(self) -> None:
        """Called by the transport."""
        super().pause_writing()
        if self._full:
            self._full()

    def resume_writing(self) -> None:
        """Called by the transport."""
        super().resume_writing()
        if self._full:
            self._full()

    def attach(self, receive: Callable[[bytes], None], end: Callable[[Exception | None], None]) -> None:
        """Have all that comes taken.

        end: called when nothing more will come, with the error if the connection was lost by one.
        """
        self._receive, self._end = receive, end

    def detach(self) -> None:
        """Leave all that comes to the reader."""
        self._receive = self._end = None

    def data_received(self, data: bytes) -> None:
        """Called by the transport."""
        if self._receive:
            self._receive(data)
        else:
            self.has_early = True
            super().data_received(data)

    def eof_received(self) -> bool | None:
        """Called by the transport."""
        stays_open = super().eof_received()
        if self._end:
            self._end(None)
        return stays_open

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport."""
        super().connection_lost(exc)
        if self._end:
            self._end(exc)
            self.detach()


class CountingStreams(Streams):
    """The same, which counts how often input comes."""

    def data_received(self, data: bytes) -> None:
        """Called by the transport."""
        self.heard += 1
        super().data_received(data)
