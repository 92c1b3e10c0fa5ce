"""A connection to a daemon, for asyncio."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple, Self, TypeVar

from kvd.client import requests, tls
from kvd.client.dialing import Target, dial, parse_target, reason_of, unreachable
from kvd.client.errors import ProtocolError, TimedOut, TlsFailed, lost_at
from kvd.client.login import LOGIN_TIMEOUT, Login
from kvd.client.protocol import Answer, Heard, Protocol
from kvd.client.received import LONGEST_LINE
from kvd.client.requests import Request
from kvd.errors import ConnectionLost
from kvd.process import half_open

Result = TypeVar("Result")

READ_SIZE = 1 << 16
"""Bytes, as much as asyncio buffers."""
LONGEST_GREETING = 4096
"""Bytes of the line that answers the first PING; what is no daemon may send anything."""


class _Reader(asyncio.StreamReader):
    """Counts the bytes that come.  fed: called when some have."""

    came = 0
    fed: Callable[[], None] | None = None

    def feed_data(self, data: Any) -> None:
        self.came += len(data)
        super().feed_data(data)
        if self.fed:
            self.fed()

    def forget(self) -> None:
        """Drop what has come and was not read."""
        self._buffer: bytearray
        self._buffer.clear()


class Traffic(NamedTuple):
    """Bytes that came, that the socket took, and that wait because it is full."""

    came: int
    sent: int
    unsent: int


class Connection:
    """Requests to, and what comes from, a daemon.  Received bytes that no LF ends are no line."""

    def __init__(
        self, address: str, transport: asyncio.Transport, reader: _Reader, writer: asyncio.StreamWriter
    ) -> None:
        self.address = address
        self._transport, self._reader, self._writer = transport, reader, writer
        self._written = self._taken = 0
        self._protocol = Protocol(LONGEST_GREETING)
        self._error: ConnectionLost | None = None
        self._is_aborted = False
        self._peer = half_open.Peer(transport.get_extra_info("socket"))
        self._looking = self._look_later()

    @classmethod
    async def open(
        cls, address: str, connect_timeout: float, given: ssl.SSLContext | None = None, login: Login | None = None
    ) -> Self:
        """Connect, and wait for the answer to a PING.  given: for TLS, if that is wanted.  login: who it is.

        Raises BadAddress, Unreachable, Refusal.
        """
        target = parse_target(address)
        context = target.context(given)
        try:
            async with asyncio.timeout(connect_timeout):
                connection = await cls._dialed(address, target, context)
                await connection.begin(requests.ping())
            if login:
                connect_timeout = max(connect_timeout, LOGIN_TIMEOUT)
                async with asyncio.timeout(connect_timeout):
                    await connection.begin(requests.auth(login))
        except (OSError, UnicodeError, ConnectionLost) as error:
            raise unreachable(address, error, connect_timeout, bool(context)) from None
        connection._protocol.longest = LONGEST_LINE
        return connection

    @classmethod
    async def _dialed(cls, address: str, target: Target, context: ssl.SSLContext | None) -> Self:
        loop = asyncio.get_running_loop()
        reader = _Reader(loop=loop)
        streams = asyncio.StreamReaderProtocol(reader, loop=loop)
        connection = await dial(target)
        transport: asyncio.Transport
        if context:
            transport = await tls.connect(streams, connection, context, target.host)
        else:
            transport, _ = await loop.create_connection(lambda: streams, sock=connection)
        return cls(address, transport, reader, asyncio.StreamWriter(transport, streams, reader, loop))

    async def begin(self, request: Request[Result]) -> Result:
        """Send a request and return what its reply says; the connection is closed without one that is good."""
        try:
            self.send(request)
            while not isinstance(heard := await self.next(), Answer):
                pass
            result: Result = heard.result()
            return result
        except BaseException:
            await self.close()
            raise

    def send(self, request: Request[Any], token: Any = None) -> None:
        """Send a request; the token comes back with its answer."""
        self.write(self._protocol.send(request, token))

    async def drain(self) -> None:
        """Wait until the socket is writable."""
        with contextlib.suppress(OSError):  # who reads meets it too
            await self._writer.drain()

    async def next(self) -> Heard:
        """Return what comes next; raise ConnectionLost."""
        try:
            while (heard := self._protocol.next()) is None:
                await self._receive()
        except ProtocolError:
            self.abort()  # nothing that follows can be told apart
            raise
        return heard

    def write(self, data: bytes) -> None:
        """Send bytes as they are, of who reads them with `read`."""
        if not self.is_closed():  # else asyncio says something of it on standard error; who reads learns why
            self._written += len(data)
            self._writer.write(data)

    async def read(self) -> bytes:
        """Return bytes as they come, in the place of `next`; raise ConnectionLost."""
        try:
            data = b"" if self._is_aborted else await self._reader.read(READ_SIZE)
        except ssl.SSLError as error:
            self._error = self._error or TlsFailed(reason_of(error))
            raise self._lost("") from None
        except OSError as error:
            raise self._lost(reason_of(error)) from None
        if not data:
            raise self._lost("the connection was closed")
        self._taken += len(data)
        return data

    @property
    def unread(self) -> int:
        """Bytes that came and that `read` has not returned."""
        return self._reader.came - self._taken

    def tell(self, fed: Callable[[], None] | None) -> None:
        """Have somebody called when bytes have come."""
        self._reader.fed = fed

    async def _receive(self) -> None:
        data = await self.read()
        try:
            self._protocol.receive(data)
        except ProtocolError as error:
            self.abort()
            self._error = error
            raise self._lost("") from None

    def skip_items(self) -> None:
        """From now on it only watches: items that were not asked for are no error."""
        self._protocol.skips_items = True
        half_open.reset_at_end(self._transport.get_extra_info("socket"))

    def unanswered(self) -> list[Any]:
        """The tokens of the requests whose answers have not come: none will."""
        return self._protocol.unanswered()

    def _lost(self, reason: str) -> ConnectionLost:
        return lost_at(self.address, self._error or ConnectionLost(reason))

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
            self.give_up(TimedOut(half_open.gone()))
        elif not self.is_closed():
            self._looking = self._look_later()

    def abort(self) -> None:
        """Close at once; nothing follows."""
        self._looking.cancel()
        self._is_aborted = True
        self._protocol.forget()
        self._reader.forget()
        self._transport.abort()

    async def close(self) -> None:
        """Close, and wait for it."""
        self.abort()  # not close(), which waits for a daemon that does not read
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
