"""A connection to the upstream, line by line."""

from collections.abc import Callable

from kvd.client.connection import Connection
from kvd.client.errors import ProtocolError, TimedOut, lost_at
from kvd.client.received import Received
from kvd.client.silence import Silence
from kvd.errors import ConnectionLost

PUSHED = frozenset((b"CHANGE", b"PROGRESS", b"END", b"BATCH", b"TIME", b"TTL", b"WITH"))


class Lines:
    """Lines to and from a daemon.

    is_due: bool, whether something is to come; then the daemon may not be silent for long.
    """

    def __init__(self, connection: Connection, silence: float) -> None:
        """silence: seconds."""
        self._connection = connection
        self._received = Received()
        self.is_due = False
        self.address = connection.address
        self._silence = Silence(connection, silence, lambda: self.is_due)

    def send(self, data: bytes) -> None:
        """Send whole lines, for which something is to come."""
        self.is_due = True
        self._silence.begin()
        self._connection.write(data)

    async def read(self) -> list[bytes]:
        """The next whole lines, without their ends.  Raises ConnectionLost."""
        while not self._received.lines:
            data = await self._connection.read()
            try:
                self._received.receive(data)
            except ProtocolError as error:
                raise lost_at(self.address, error) from None
        return self._received.take()

    @property
    def is_closed(self) -> bool:
        """Whether it is of no more use."""
        return self._connection.is_closed()

    @property
    def is_amid(self) -> bool:
        """Whether a line has begun to come."""
        return self._received.is_amid

    @property
    def held(self) -> int:
        """Bytes that have come and are not read, whole lines excepted."""
        return self._connection.unread + self._received.held

    def tell(self, grown: Callable[[], None] | None) -> None:
        """Have somebody called when that has become more."""
        self._connection.tell(grown)

    def give_up(self) -> None:
        """It is lost."""
        self._connection.give_up(TimedOut("the daemon says nothing"))

    def leave(self) -> None:
        """It is not wanted any more."""
        self._connection.give_up(ConnectionLost("it is behind"))

    def drop(self) -> None:
        """Close it at once, and keep nothing."""
        self.is_due = False
        self.tell(None)
        self._connection.abort()
        self._received.forget()

    async def close(self) -> None:
        """Close it."""
        self.drop()
        await self._connection.close()
