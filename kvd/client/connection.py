"""Lines to and from a daemon."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Self, TypeVar

from kvd.client import replies
from kvd.client.dialing import dial, parse_address, reason_of
from kvd.client.errors import ProtocolError, TimedOut, Unreachable
from kvd.client.replies import STATUS, Line, Reply
from kvd.errors import ConnectionLost
from kvd.model import LARGEST_VALUE
from kvd.process import half_open
from kvd.wire.lines import max_line

Result = TypeVar("Result")

CONNECT_TIMEOUT = 5.0
"""Seconds."""
TIMEOUT = 30.0
"""Seconds of silence; a daemon answers within some 20, if only that its store is lost."""
READ_SIZE = 1 << 16
"""Bytes, as much as asyncio buffers."""
LONGEST_LINE = max_line(LARGEST_VALUE)
"""Bytes: no daemon sends a longer one, whatever its settings are."""
LONGEST_GREETING = 4096
"""Bytes of the line that answers the first PING; what is no daemon may send anything."""


class _Reader(asyncio.StreamReader):
    """Counts the bytes that come."""

    came = 0

    def feed_data(self, data: Any) -> None:
        self.came += len(data)
        super().feed_data(data)


class Traffic(NamedTuple):
    """Bytes that came, that the socket took, and that wait because it is full."""

    came: int
    sent: int
    unsent: int


class Connection:
    """Lines to and from a daemon.  Received bytes that no LF ends are no line."""

    def __init__(
        self, address: str, transport: asyncio.Transport, reader: _Reader, writer: asyncio.StreamWriter
    ) -> None:
        self.address = address
        self._transport, self._reader, self._writer = transport, reader, writer
        self._written = 0
        self._lines: deque[bytes] = deque()
        self._begun: list[bytes] = []  # pieces of the next line: one bytes object would cost its square
        self._begun_size, self._longest = 0, LONGEST_GREETING
        self._error: ConnectionLost | None = None
        self._is_aborted = False
        self._peer = half_open.Peer(transport.get_extra_info("socket"))
        self._looking = self._look_later()

    @classmethod
    async def open(cls, address: str, connect_timeout: float) -> Self:
        """Connect, and wait for the answer to a PING.  Raises BadAddress, Unreachable."""
        host, port = parse_address(address)
        is_refused = False
        try:
            async with asyncio.timeout(connect_timeout):
                connection = await cls._dialed(address, host, port)
                await connection.begin(b"PING", replies.text)
                connection._longest = LONGEST_LINE
                return connection
        except TimeoutError as error:
            reason = reason_of(error) if error.errno else f"no answer within {connect_timeout:g} s"
        except OSError as error:
            reason, is_refused = reason_of(error), isinstance(error, ConnectionRefusedError)
        except UnicodeError:  # from the codec for host names
            reason = "no host has such a name"
        except ProtocolError:
            reason = "it does not answer as kvd does"
        except ConnectionLost:
            reason = "it hangs up; is it kvd?"
        raise Unreachable(f"cannot reach kvd at {address} ({reason})", refused=is_refused)

    @classmethod
    async def _dialed(cls, address: str, host: str, port: int) -> Self:
        loop = asyncio.get_running_loop()
        reader = _Reader(loop=loop)
        streams = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.create_connection(lambda: streams, sock=await dial(host, port))
        return cls(address, transport, reader, asyncio.StreamWriter(transport, streams, reader, loop))

    async def begin(self, request: bytes, read: Callable[[Reply], Result]) -> Result:
        """Send a request and return what its reply says; the connection is closed without one that is good."""
        try:
            self.write(request + b"\n")
            while (line := await self.read()).word not in STATUS:
                pass
            return replies.answer(Reply(line), read)
        except BaseException:
            await self.close()
            raise

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self._written += len(data)
        self._writer.write(data)

    async def drain(self) -> None:
        """Wait until the socket is writable."""
        with contextlib.suppress(OSError):  # who reads meets it too
            await self._writer.drain()

    async def read(self) -> Line:
        """Return the next line; raise ConnectionLost."""
        while not self._lines:
            await self._receive()
        return Line(*self._lines.popleft().partition(b" "))

    async def _receive(self) -> None:
        try:
            data = b"" if self._is_aborted else await self._reader.read(READ_SIZE)
        except OSError as error:
            raise self._lost(reason_of(error)) from None
        if not data:
            raise self._lost("the connection was closed")
        ended, found, rest = data.rpartition(b"\n")
        if found:
            self._lines.extend(b"".join((*self._begun, ended)).split(b"\n"))
            self._begun.clear()
            self._begun_size = 0
        self._begun.append(rest)
        self._begun_size += len(rest)
        if self._begun_size > self._longest:
            self.abort()
            self._error = ProtocolError(f"the daemon sent a line of more than {self._longest} bytes")
            raise self._lost("")

    def _lost(self, reason: str) -> ConnectionLost:
        """Why nothing more comes: an error of its own for each who asks."""
        if self._error:
            return type(self._error)(f"lost kvd at {self.address} ({self._error})")
        return ConnectionLost(f"lost kvd at {self.address} ({reason})")

    def traffic(self) -> Traffic:
        """What has come and gone so far."""
        unsent = self._transport.get_write_buffer_size()
        return Traffic(self._reader.came, self._written - unsent, unsent)

    def is_listening(self) -> bool:
        """Whether bytes that come are received: not while the lines before them wait to be taken."""
        return self._transport.is_reading()

    def is_closed(self) -> bool:
        """Whether it is closed, or being closed."""
        return self._transport.is_closing()

    def give_up(self, error: ConnectionLost) -> None:
        """Close; who reads gets the lines that came, and then the error."""
        self._error = self._error or error
        self._transport.abort()

    def _look_later(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(half_open.LOOK_INTERVAL, self._look)

    def _look(self) -> None:
        """See whether the daemon's machine still acknowledges what is sent, however long its answers may take."""
        if self._peer.is_gone():
            seconds = half_open.LOOKS * half_open.LOOK_INTERVAL
            self.give_up(TimedOut(f"its machine has acknowledged nothing for {seconds:g} s"))
        elif not self.is_closed():
            self._looking = self._look_later()

    def abort(self) -> None:
        """Close at once; no line follows."""
        self._looking.cancel()
        self._is_aborted = True
        self._lines.clear()
        self._begun.clear()
        self._transport.abort()

    async def close(self) -> None:
        """Close, and wait for it."""
        self.abort()  # not close(), which waits for a daemon that does not read
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
