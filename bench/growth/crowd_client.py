"""Many connections at once that watch, resume or copy, in one thread."""

import selectors
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.load import LoadFailed
from bench.others.servers import HOST

PIECE = 1 << 18
"""Bytes of one read."""
TAIL = 256
"""Bytes that are kept of what was read, in which something is looked for across two reads."""


@dataclass(eq=False)
class Member:
    """One connection.  seen: when what was looked for came, in seconds of `time.perf_counter`."""

    connection: socket.socket
    tail: bytes = b""
    seen: float | None = None
    errors: list[bytes] = field(default_factory=list)
    received: int = 0
    began: float = 0.0


class Crowd:
    """So many connections to one daemon."""

    def __init__(self, port: int, size: int) -> None:
        self._selector = selectors.DefaultSelector()
        self.members = [Member(socket.create_connection((HOST, port))) for _ in range(size)]
        for member in self.members:
            self._selector.register(member.connection, selectors.EVENT_READ, member)

    def close(self) -> None:
        """Close them all."""
        self._selector.close()
        for member in self.members:
            member.connection.close()

    def ask(self, request: bytes) -> None:
        """Have all of them send the same lines."""
        for member in self.members:
            member.connection.sendall(request)

    def wait(self, wanted: bytes, seconds: float, rate: int = 0, meanwhile: Callable[[], None] | None = None) -> None:
        """Read until each has had a line with some bytes in it, or an ERR or END line, or the time is over.

        rate: bytes a second that each reads at the most, 0 for any number.
        meanwhile: called now and then.
        """
        began = time.perf_counter()
        left = set()
        for member in self.members:
            member.tail, member.seen, member.received, member.began = b"", None, 0, began
            member.errors.clear()
            left.add(member)
        while left and time.perf_counter() < began + seconds:
            if meanwhile:
                meanwhile()
            for key, _ in self._selector.select(0.05):
                member = key.data
                if member in left and (not rate or member.received <= rate * (time.perf_counter() - began)):
                    self._read(member, wanted, PIECE if not rate else min(PIECE, max(rate // 50, 1)))
                    if member.seen or member.errors:
                        left.discard(member)
            if rate:
                time.sleep(0.002)

    def _read(self, member: Member, wanted: bytes, size: int) -> None:
        data = member.connection.recv(size)
        if not data:
            raise LoadFailed("the daemon closed a connection")
        member.received += len(data)
        found = member.tail + data
        if wanted in found:
            member.seen = time.perf_counter()
        elif b"\nERR " in b"\n" + found or b"\nEND " in found:
            member.errors.append(found[-TAIL:])
        member.tail = found[-TAIL:]

    @property
    def times(self) -> list[float]:
        """When those came that did, in seconds since `wait`, in order."""
        return sorted(member.seen - member.began for member in self.members if member.seen)

    @property
    def errors(self) -> list[bytes]:
        """The ends of what those had who were refused."""
        return [error for member in self.members for error in member.errors]


@contextmanager
def crowd(port: int, size: int) -> Iterator[Crowd]:
    """So many connections, closed at the end."""
    members = Crowd(port, size)
    try:
        yield members
    finally:
        members.close()


def ask(port: int, request: bytes) -> bytes:
    """One request on a connection of its own, and the line that answers it."""
    with socket.create_connection((HOST, port), timeout=60) as connection:
        connection.sendall(request)
        return connection.makefile("rb").readline()


def position(port: int) -> bytes:
    """The store's present position."""
    return ask(port, b"UNWATCH\n").split()[1]
