"""What has come, as whole lines."""

from collections import deque

from kvd.client.errors import ProtocolError
from kvd.model import LARGEST_VALUE
from kvd.wire.lines import max_line

LONGEST_LINE = max_line(LARGEST_VALUE)
"""Bytes: no daemon sends a longer one, whatever its settings are."""


class Received:
    """Of one connection.

    lines: those that have ended, to be taken from the left.  longest: bytes that a line may have, to be changed at any
    time.
    """

    def __init__(self, longest: int = LONGEST_LINE) -> None:
        self.longest = longest
        self.lines: deque[bytes] = deque()
        self._begun: list[bytes] = []  # pieces of the next line: one bytes object would cost its square
        self._begun_size = 0

    def receive(self, data: bytes) -> None:
        """Take bytes that came.  Raises ProtocolError for a line that is too long."""
        ended, found, rest = data.rpartition(b"\n")
        if found:
            self.lines.extend(b"".join((*self._begun, ended)).split(b"\n"))
            self._begun.clear()
            self._begun_size = 0
        self._begun.append(rest)
        self._begun_size += len(rest)
        if self._begun_size > self.longest:
            raise ProtocolError(f"the daemon sent a line of more than {self.longest} bytes")

    def take(self) -> list[bytes]:
        """All lines that have ended."""
        whole = list(self.lines)
        self.lines.clear()
        return whole

    @property
    def is_amid(self) -> bool:
        """Whether a line has begun to come."""
        return self._begun_size > 0

    @property
    def held(self) -> int:
        """Bytes of the line that has begun."""
        return self._begun_size

    def forget(self) -> None:
        """Drop what was received."""
        self.lines.clear()
        self._begun.clear()
        self._begun_size = 0
