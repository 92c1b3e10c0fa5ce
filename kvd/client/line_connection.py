"""A connection whose lines are taken as they are, for what shows them to people or only counts them."""

import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Self

from kvd.client import arguments
from kvd.client.arguments import Seconds
from kvd.client.calling import backoff
from kvd.client.connection import Connection
from kvd.client.dialing import Addresses
from kvd.client.limits import CONNECT_TIMEOUT, TIMEOUT, checked
from kvd.client.lines import STATUS, word_of
from kvd.client.received import Received
from kvd.client.silence import Silence

__all__ = ["STATUS", "Connect", "LineConnection", "backoff", "word_of"]

Connect = Callable[[], Awaitable["LineConnection"]]
"""Makes another connection to the same daemon."""


class LineConnection:
    """Lines out, lines in.

    address: of the daemon.  due: how many replies have not come.
    """

    def __init__(self, connection: Connection, silence: float | None) -> None:
        self.address, self.due = connection.address, 0
        self._connection = connection
        self._received = Received()
        self._silence = Silence(connection, silence, lambda: self.due > 0)

    @classmethod
    async def open(
        cls, address: str | Sequence[str], *, connect_timeout: Seconds = CONNECT_TIMEOUT,
        timeout: Seconds = TIMEOUT,  # noqa: ASYNC109  # it lasts as long as the connection
        tls: bool | ssl.SSLContext = False, user: str | None = None, password: str | None = None,
    ) -> Self:  # fmt: skip
        """Connect, as `kvd.client.connect` does.  Raises BadAddress, Unreachable."""
        limits = checked(connect_timeout, timeout, tls=tls, user=user, password=password)

        async def dialed(one: str) -> Connection:
            return await Connection.open(one, limits.connect, limits.tls, limits.login)

        return cls(await Addresses(arguments.addresses(address)).first(dialed), limits.silence)

    def send(self, *lines: bytes) -> None:
        """Send requests, each a line without its end, to each of which a reply is due."""
        self.due += len(lines)
        self._silence.begin()
        self._connection.write(b"".join(b"%b\n" % line for line in lines))

    async def drain(self) -> None:
        """Wait until the socket is writable."""
        await self._connection.drain()

    async def next(self) -> bytes:
        """Wait for the next line, and return it without its end; raise ConnectionLost."""
        while not self._received.lines:
            self._received.receive(await self._connection.read())
        line = self._received.lines.popleft()
        self.due -= word_of(line) in STATUS
        return line

    async def receive(self) -> bytes:
        """Wait for bytes, and return them as they come, in the place of `next`; raise ConnectionLost."""
        return await self._connection.read()

    @property
    def is_more(self) -> bool:
        """Whether the next line is there."""
        return bool(self._received.lines)

    async def close(self) -> None:
        """Close the connection, and say so: to the daemon a watcher that only closes may still be there."""
        if not self._connection.is_closed():
            self._connection.write(b"QUIT\n")
        await self._connection.close()
