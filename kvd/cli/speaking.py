"""A connection on which a command speaks for itself, without an event loop."""

import ssl
from typing import Any

from kvd.cli.command import Arguments, how
from kvd.cli.status import failure_of
from kvd.client import tls_context
from kvd.client.limits import CONNECT_TIMEOUT, TIMEOUT, Limits, checked
from kvd.client.login import login_of
from kvd.client.raw import RawLines
from kvd.errors import KvdError

SHOWN = 60
"""Bytes of a line that a message repeats."""


def speaking(args: Arguments) -> RawLines:
    """Connect.  Raises KvdError."""
    return RawLines.open(args["--addr"], limits_of(**how(args)))


def limits_of(
    *, tls: bool | ssl.SSLContext = False, user: str | None = None, password: str | None = None, **waits: Any
) -> Limits:
    """What connect would make of these."""
    waits = {"connect_timeout": CONNECT_TIMEOUT, "timeout": TIMEOUT} | waits
    return checked(**waits, tls=tls_context(tls, None, None, None), login=login_of(user, password))


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
