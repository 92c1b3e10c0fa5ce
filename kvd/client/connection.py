"""Lines to and from a daemon."""

import asyncio
import contextlib
import os
import re
import socket
from collections import deque
from collections.abc import Collection, Sequence
from typing import NamedTuple, Self

from kvd.client.errors import BadAddress, Conflict, Unreachable
from kvd.errors import REFUSALS, ConnectionLost, Refusal

DEFAULT_PORT = 5830
DEFAULT_ADDRESS = f"127.0.0.1:{DEFAULT_PORT}"
CONNECT_TIMEOUT = 5.0
"""Seconds."""
KEEPALIVE_IDLE = 60
"""Seconds of silence before a peer is probed: a watch may be quiet for days."""
READ_SIZE = 1 << 16
"""Bytes, as much as asyncio buffers."""

STATUS = frozenset((b"OK", b"OK64", b"NONE", b"CONFLICT", b"ERR"))
ITEMS = frozenset((b"KEY", b"PAIR", b"PAIR64", b"GONE", b"INFO", b"HELP"))

_ADDRESS = re.compile(r"(?:\[([^\s\[\]/]+)\]|([^\s\[\]/:]+))(?::([0-9]{1,5}))?")


class Reply(NamedTuple):
    """A status line, and the items before it."""

    word: bytes
    text: bytes
    items: Sequence[tuple[bytes, bytes]] = ()


class Connection:
    """Lines to and from a daemon.  Received bytes that no LF ends are no line."""

    def __init__(self, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.address = address
        self._reader, self._writer = reader, writer
        self._lines: deque[bytes] = deque()
        self._begun: list[bytes] = []  # pieces of the next line: one bytes object would cost its square

    @classmethod
    async def open(cls, address: str, connect_timeout: float) -> Self:
        """Connect, and wait for the answer to a PING.  Raises BadAddress, Unreachable."""
        host, port = parse_address(address)
        try:
            async with asyncio.timeout(connect_timeout):
                connection = cls(address, *await asyncio.open_connection(host, port))
                connection._keep_alive()
                await connection.begin("PING")
                return connection
        except TimeoutError as error:
            reason = reason_of(error) if error.errno else f"no answer within {connect_timeout:g} s"
        except OSError as error:
            reason = reason_of(error)
        except UnicodeError:  # from the codec for host names
            reason = "no host has such a name"
        except ConnectionLost:
            reason = "it hangs up; is it kvd?"
        raise Unreachable(f"cannot reach kvd at {address} ({reason})")

    def _keep_alive(self) -> None:
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)

    async def begin(self, request: str) -> Reply:
        """Send a request and return its reply; the connection is closed without one that is good."""
        try:
            self.write(request.encode() + b"\n")
            return checked(Reply(*await self.find(STATUS)))
        except BaseException:
            await self.close()
            raise

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self._writer.write(data)

    async def drain(self) -> None:
        """Wait until the socket has room."""
        with contextlib.suppress(OSError):  # who reads meets it too
            await self._writer.drain()

    async def find(self, words: Collection[bytes]) -> tuple[bytes, bytes]:
        """Return the next line that begins with one of the words, as that word and the rest."""
        while True:
            word, text = await self.read()
            if word in words:
                return word, text

    async def read(self) -> tuple[bytes, bytes]:
        """Return the next line as its first word and the rest; raise ConnectionLost."""
        while not self._lines:
            try:
                data = await self._reader.read(READ_SIZE)
            except OSError as error:
                raise ConnectionLost(f"lost kvd at {self.address} ({reason_of(error)})") from None
            if not data:
                raise ConnectionLost(f"lost kvd at {self.address} (the connection was closed)")
            ended, found, rest = data.rpartition(b"\n")
            if found:
                self._lines.extend(b"".join((*self._begun, ended)).split(b"\n"))
                self._begun.clear()
            self._begun.append(rest)
        word, _, text = self._lines.popleft().partition(b" ")
        return word, text

    def abort(self) -> None:
        """Close at once."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close, and wait for it."""
        self.abort()  # not close(), which waits for a daemon that does not read
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


def parse_address(address: str) -> tuple[str, int]:
    """Take HOST:PORT, HOST or [IPV6]:PORT apart; raise BadAddress."""
    match = _ADDRESS.fullmatch(address)
    port = int(match[3] or DEFAULT_PORT) if match else 0
    if not match or not 0 < port < 65536:
        raise BadAddress(f"not an address: {address!r}; write HOST:PORT, HOST or [IPV6]:PORT")
    return match[1] or match[2], port


def reason_of(error: OSError) -> str:
    """What an error of the system says, without its number."""
    if isinstance(error, socket.gaierror):
        return str(error.strerror).lower()
    return os.strerror(error.errno).lower() if error.errno else str(error)


def checked(reply: Reply) -> Reply:
    """The reply, if it is no error.  Raises Conflict, Refusal."""
    if reply.word == b"CONFLICT":
        raise Conflict(int(reply.text))
    if reply.word == b"ERR":
        code, _, text = reply.text.decode().partition(" ")
        raise REFUSALS.get(code, Refusal)(text, code)
    return reply
