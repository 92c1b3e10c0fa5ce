"""The end of a connection that the daemon closes, without a loss of what the peer has not read yet.

The kernel resets a connection that is closed with unread input, or that gets input afterwards; what it had still to
send is lost with that, and some peers drop even what they have received.  So the sending side is shut down alone, and
what comes is read and dropped until the peer ends its side, too.
"""

import asyncio
import fcntl
import math
import struct
import sys
import termios
from contextlib import suppress
from typing import Any

from kvd.backoff import Backoff
from kvd.session.streams import Streams

DROP_BYTES = 64 * 1024
"""Bytes of input that are dropped at once."""
PATIENCE = 60.0
"""Seconds in which a peer must have read or sent something: a slow reader shows its progress only each time that it
has read about half of what its kernel holds."""
LONGEST = 600.0
"""Seconds until a connection is closed whatever its peer does."""
FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.25
"""Seconds between looks at what the peer has taken; each pause doubles, up to the longest."""


class Linger:
    """Ends one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Nobody else may wait for the reader from `drop_input` on."""
        self._reader = reader
        self._writer = writer
        self._transport = writer.transport
        self._heard = -math.inf
        self._dropping: asyncio.Task[None] | None = None

    def drop_input(self) -> None:
        """Read on from now, and drop what comes: a peer that cannot send may not read either."""
        streams = self._transport.get_protocol()
        if isinstance(streams, Streams) and not self._transport.is_closing():
            # In the reader it could be as much as the loop reads at once, of everybody who is ended together.
            streams.attach(self._hear, _nothing)
        if self._dropping is None and not self._reader.at_eof():
            self._dropping = asyncio.create_task(self._drop())

    def _hear(self, _: bytes) -> None:
        self._heard = _now()

    async def _drop(self) -> None:
        try:
            while await self._reader.read(DROP_BYTES):
                self._heard = _now()
        except asyncio.CancelledError:
            # By `close`.  The task would keep it, and with it the stack, this, the task and the connection's transport,
            # until the garbage collector comes.
            return
        except OSError as error:
            # The reader keeps it, and it would keep the stack.
            error.__traceback__ = None

    async def close(self, *, amid: bool, longest: float | None = None) -> None:
        """Close the connection when the peer has closed it, or when it can lose nothing, or when it takes too long.

        amid: whether the peer may be about to send more.  longest: seconds, LONGEST unless given, once the kernel has
        all that is sent.
        """
        if amid:
            self._heard = _now()
        self.drop_input()
        try:
            if not self._transport.is_closing():
                with suppress(OSError):  # the peer has reset it, which the transport itself has not seen yet
                    self._transport.write_eof()
            await self._wait(LONGEST if longest is None else longest)
        finally:
            if self._dropping:
                self._dropping.cancel()
                # If it has not begun, its error keeps the stack, and with it this.
                self._dropping = None
            if self.has_sent_all():
                self._writer.close()
            else:
                # Closed, it would wait for ever for a peer that is there and does not read, and counted nowhere.
                self._transport.abort()

    async def _wait(self, longest: float) -> None:
        started = progressed = _now()
        least: float = math.inf
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        if self._reader.at_eof() and self.has_sent_all():
            return
        while True:
            await self._pause(backoff.next())
            left, now = self._outstanding(), _now()
            if left < least or self._heard > progressed:
                least, progressed = left, now
            is_too_late = now - progressed > PATIENCE or now - started > (longest if self.has_sent_all() else LONGEST)
            if is_too_late or self._has_ended(left, now - PATIENCE):
                return

    async def _pause(self, seconds: float) -> None:
        if self._dropping is None or self._dropping.done():
            await asyncio.sleep(seconds)
        else:
            await asyncio.wait({self._dropping}, timeout=seconds)

    def _has_ended(self, left: int, since: float) -> bool:
        if self._transport.is_closing() or self._reader.at_eof() or (self._dropping and self._dropping.done()):
            # No input can come any more: the kernel sends the rest by itself.
            return self.has_sent_all()
        return not left and self._heard < since

    def has_sent_all(self) -> bool:
        """Whether the kernel has all that the peer has still to get."""
        return not self._transport.get_write_buffer_size()

    def _outstanding(self) -> int:
        """Bytes that the peer's kernel has not got, as far as one can know."""
        return self._transport.get_write_buffer_size() + unacknowledged(self._writer.get_extra_info("socket"))


def unacknowledged(connection: Any) -> int:
    """Bytes, and the end, that a TCP peer has not acknowledged; 0 where the kernel does not say."""
    if connection is None or not sys.platform.startswith("linux"):
        return 0
    try:
        answer = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError):
        # It is closed.
        return 0
    return int(struct.unpack("i", answer)[0])


def _now() -> float:
    return asyncio.get_running_loop().time()


def _nothing(_: Exception | None) -> None:
    """Nobody needs to be told of the end: the reader is."""
