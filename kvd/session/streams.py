"""asyncio's streams of one connection, whose input is taken as it arrives: no task is woken for it."""

import asyncio
from collections.abc import Callable
from functools import partial


class Streams(asyncio.StreamReaderProtocol):
    """As `asyncio.start_server` makes them; until somebody is attached, and from `detach` on, input goes to the reader.

    has_early: bool, whether input came before anybody was attached; it is in the reader.
    heard: int, how often input came, if it is a `CountingStreams`.
    is_strict: bool, whether the first line must begin with a verb; to be set.
    is_full: bool, whether the transport has said that much waits for the peer.
    """

    has_early = False
    heard = 0
    is_strict = False
    is_full = False
    _full: Callable[[], None] | None = None
    _came: Callable[[], None] | None = None
    _end: Callable[[Exception | None], None] | None = None

    def tell(self, full: Callable[[], None] | None, came: Callable[[], None] | None = None) -> None:
        """Have somebody called when the peer reads so slowly that much waits, and when that has become less.

        came: called when input has gone to the reader.
        """
        self._full, self._came = full, came

    @property
    def unread(self) -> int:
        """Bytes that are in the reader."""
        return len(self._buffer)

    def forget_unread(self) -> None:
        """Drop them: the connection was cut."""
        self._buffer.clear()

    @property
    def _buffer(self) -> bytearray:
        # Nothing else tells how much it is.
        reader = self._stream_reader  # type: ignore[attr-defined]
        return reader._buffer if reader else bytearray()

    def pause_writing(self) -> None:
        """Called by the transport."""
        self.is_full = True
        super().pause_writing()
        if self._full:
            self._full()

    def resume_writing(self) -> None:
        """Called by the transport."""
        self.is_full = False
        super().resume_writing()
        if self._full:
            self._full()

    def attach(self, receive: Callable[[bytes], None], end: Callable[[Exception | None], None]) -> None:
        """Have all that comes taken.

        end: called when nothing more will come, with the error if the connection was lost by one.
        """
        self._end = end
        self._give_to(receive)

    def _give_to(self, receive: Callable[[bytes], None]) -> None:
        """Have the transport call this with what comes: a call through here takes a tenth of a GET's time."""
        self.data_received = receive  # type: ignore[method-assign, assignment]
        # uvloop has kept the method that it was given with the protocol.
        self._transport.set_protocol(self)  # type: ignore[attr-defined]

    def detach(self) -> None:
        """Leave all that comes to the reader."""
        self._end = None
        if self.__dict__.pop("data_received", None):
            self._transport.set_protocol(self)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Called by the transport while nobody is attached."""
        self.has_early = True
        super().data_received(data)
        if self._came:
            self._came()

    def eof_received(self) -> bool | None:
        """Called by the transport."""
        stays_open = super().eof_received()
        if self._end:
            self._end(None)
        return stays_open

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport."""
        end = self._end
        self.detach()
        super().connection_lost(exc)
        if end:
            end(exc)


class CountingStreams(Streams):
    """The same, which counts how often input comes."""

    def _give_to(self, receive: Callable[[bytes], None]) -> None:
        super()._give_to(partial(self._count, receive))

    def _count(self, receive: Callable[[bytes], None], data: bytes) -> None:
        self.heard += 1
        receive(data)

    def data_received(self, data: bytes) -> None:
        """Called by the transport while nobody is attached."""
        self.heard += 1
        super().data_received(data)
