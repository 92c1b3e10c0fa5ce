"""A connection on which a command speaks for itself, without an event loop."""

from kvd.cli.command import Arguments, how
from kvd.cli.status import failure_of
from kvd.client.limits import checked
from kvd.client.lines import word_of
from kvd.client.raw import RawLines
from kvd.errors import KvdError

SHOWN = 60
"""Bytes of a line that a message repeats."""


def speaking(args: Arguments) -> RawLines:
    """Connect.  Raises KvdError."""
    return RawLines.open(args["--addr"], checked(**how(args)))


def verb_of(line: bytes) -> bytes:
    """The verb of a request, in capitals."""
    return word_of(line.removesuffix(b"\r")).upper()


class Refused:
    """A line that was refused, and why.

    status: the exit status that stands for it.
    """

    def __init__(self, number: int, line: bytes, error: KvdError) -> None:
        self._number, self._line, self._failure = number, line, failure_of(error, writing=True)
        self.status = self._failure.status

    def __str__(self) -> str:
        return f"line {self._number}: {self._failure}: {self.shown(self._line)}"

    @staticmethod
    def shown(line: bytes) -> str:
        """A line for a message; no password."""
        if line[:5].upper() == b"AUTH ":
            return "AUTH ..."
        text = line[:SHOWN].decode(errors="backslashreplace")
        return text if len(line) <= SHOWN else f"{text}..."
