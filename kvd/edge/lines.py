"""A connection to the upstream, line by line."""

from kvd.client.connection import Connection
from kvd.client.errors import ProtocolError, TimedOut
from kvd.client.received import LONGEST_LINE
from kvd.client.silence import Silence
from kvd.errors import ConnectionLost

STATUS = frozenset((b"OK", b"OK64", b"NONE", b"CONFLICT", b"ERR"))
PUSHED = frozenset((b"CHANGE", b"PROGRESS", b"END", b"BATCH", b"TIME", b"TTL", b"WITH"))


def word_of(line: bytes) -> bytes:
    """The word that a line begins with."""
    return line.partition(b" ")[0]


class Lines:
    """Lines to and from a daemon.

    is_due: bool, whether something is to come; then the daemon may not be silent for long.
    """

    def __init__(self, connection: Connection, silence: float) -> None:
        """silence: seconds."""
        self._connection = connection
        self._begun: list[bytes] = []  # pieces of the next line: one bytes object would cost its square
        self._size = 0
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
        while True:
            ended, found, rest = (await self._connection.read()).rpartition(b"\n")
            whole = b"".join((*self._begun, ended)).split(b"\n") if found else []
            if found:
                self._begun.clear()
                self._size = 0
            if rest:
                self._begun.append(rest)
                self._size += len(rest)
            if self._size > LONGEST_LINE:
                raise ProtocolError(f"{self.address} sent a line of more than {LONGEST_LINE} bytes")
            if whole:
                return whole

    @property
    def is_closed(self) -> bool:
        """Whether it is of no more use."""
        return self._connection.is_closed()

    @property
    def is_amid(self) -> bool:
        """Whether a line has begun to come."""
        return bool(self._begun)

    def give_up(self) -> None:
        """It is lost."""
        self._connection.give_up(TimedOut("the daemon says nothing"))

    def leave(self) -> None:
        """It is not wanted any more."""
        self._connection.give_up(ConnectionLost("it is behind"))

    async def close(self) -> None:
        """Close it."""
        self.is_due = False
        await self._connection.close()
