"""A connection for whole lines as they are, of a program that speaks for itself, or has too many to look at each."""

import select
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

from kvd.client import arguments, replies
from kvd.client.dialing import Addresses
from kvd.client.faces import run
from kvd.client.limits import Limits
from kvd.client.protocol import Protocol
from kvd.client.requests import Request
from kvd.client.sockets import SocketConnection

LOOK = 50
"""Milliseconds after which it is looked again whether the socket takes more, for another thread may have sent."""


class _WholeLines(Protocol):
    """A protocol that looks at nothing of what comes."""

    def send(self, request: Request[Any], token: Any = None) -> bytes:  # noqa: ARG002
        """Expect no answer."""
        return request.data


class RawLines:
    """Requests to a daemon, and what it sends, as lines.  One thread receives; another one may send."""

    def __init__(self, connection: SocketConnection, silence: float | None) -> None:
        self._connection, self._silence = connection, silence
        self._is_due = True
        self._lines = _WholeLines()
        connection.speak(self._lines)
        connection.limit_silence(silence)

    @classmethod
    def open(cls, address: str | Sequence[str], limits: Limits) -> Self:
        """Connect.  Raises BadAddress, Unreachable, Refusal."""

        async def dialed(one: str) -> SocketConnection:
            return SocketConnection.open(one, limits.connect, limits.tls, limits.login)

        return cls(run(Addresses(arguments.addresses(address)).first(dialed)), limits.silence)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def expect(self, something: bool) -> None:
        """Whether the daemon is to send something: only then it may be too silent."""
        if something != self._is_due:
            self._is_due = something
            self._connection.limit_silence(self._silence if something else None)

    def send(self, data: bytes) -> None:
        """Send whole lines; what the socket does not take is sent while lines are received."""
        self._connection.send(Request(data, replies.ok))

    def send_all(self, data: bytes) -> None:
        """Send whole lines, and wait until the socket has taken them; another thread is to receive."""
        self.send(data)
        poll = select.poll()
        with suppress(ValueError):  # the other thread has closed it
            poll.register(self._connection.fileno(), select.POLLOUT)
        while self._connection.is_unsent and not self._connection.is_lost:
            poll.poll(LOOK)
            self._connection.push()

    def finish(self) -> None:
        """Send nothing more: the daemon closes when all is answered, but for a watch, which goes on."""
        self._connection.finish()

    def receive(self, until: float | None = None) -> list[bytes]:
        """Wait for lines, until a time of the monotonic clock; return at least one, without their ends.

        Raises ConnectionLost, TimeoutError.
        """
        while not (came := self._lines.take()):
            self._connection.receive(until)
        return came

    def close(self) -> None:
        """Close it, and say so: to the daemon one who watches, as after a SYNC, and only closes may still be there."""
        self.send(b"QUIT\n")
        self._connection.close()
