"""Many connections at once that watch, resume or copy, in one thread."""

import resource
import selectors
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.load import LoadFailed
from bench.others.servers import HOST

PIECE = 1 << 18
"""Bytes of one read."""
TAIL = 256
"""Bytes that are kept of what was read, in which something is looked for across two reads."""
SPARE = 200
"""Descriptors for everything else."""
CONNECT_WAIT = 60.0
"""Seconds for all to be accepted and answered."""
LOOK = 0.05
"""Seconds between two looks at the clock where nothing comes."""
SLOW_TURN = 0.01
"""Seconds between two reads of those that read slowly, and
SLOW_BUFFER: bytes of their receive buffers: else the kernel would read ahead for them."""
SLOW_BUFFER = 8192
OK = b"\nOK "
"""What to wait for where the answer is an OK line."""


@dataclass(eq=False)
class Member:
    """One connection.

    seen: when what was looked for came, in seconds since it was asked for; error: the end of what was read if an ERR or
    END line came instead.
    """

    connection: socket.socket
    tail: bytes = b""
    seen: float | None = None
    error: bytes = b""
    received: int = 0


class Crowd:
    """So many connections to one daemon, of which each has been answered once."""

    def __init__(self, port: int, size: int, receive_buffer: int = 0) -> None:
        """receive_buffer: bytes that the kernel may hold for each of them; 0 leaves it to the kernel."""
        self._selector = selectors.DefaultSelector()
        self._began = 0.0
        self.members: list[Member] = []
        try:
            for _ in range(size):
                self.members.append(Member(_connect(port, receive_buffer)))
            self.ask(b"PING\n")
            self.wait(b"\nOK", CONNECT_WAIT)
            if len(self.times) < size:
                raise LoadFailed(f"{size - len(self.times):,} of {size:,} connections were not answered")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close them all."""
        self._selector.close()
        for member in self.members:
            member.connection.close()

    def ask(self, request: bytes) -> None:
        """Have all of them send the same lines; times count from here on."""
        self._began = time.perf_counter()
        try:
            for member in self.members:
                member.connection.sendall(request)
        except ConnectionError as error:
            raise LoadFailed(f"the daemon closed a connection: {error}") from error

    def wait(self, wanted: bytes, seconds: float) -> None:
        """Read until each has had some bytes, or an ERR or END line, or for so long.  Raises LoadFailed."""
        left = self._begin()
        end = time.perf_counter() + seconds
        for member in left:
            self._selector.register(member.connection, selectors.EVENT_READ, member)
        try:
            while left and time.perf_counter() < end:
                for key, _ in self._selector.select(LOOK):
                    if self._read(key.data, wanted, PIECE):
                        # Else it would be ready over and over: as a watcher it is sent more.
                        self._selector.unregister(key.data.connection)
                        left.discard(key.data)
        finally:
            for member in left:
                self._selector.unregister(member.connection)

    def wait_slowly(self, wanted: bytes, seconds: float, rate: int) -> None:
        """As `wait`, but each reads at most so many bytes a second."""
        left = self._begin()
        began = time.perf_counter()
        while left and time.perf_counter() < began + seconds:
            time.sleep(SLOW_TURN)
            for member in list(left):
                room = int(rate * (time.perf_counter() - began)) - member.received
                if room > 0 and self._read(member, wanted, min(room, PIECE)):
                    left.discard(member)

    def _begin(self) -> set[Member]:
        for member in self.members:
            # What is wanted, or an error, may be the first line.
            member.tail, member.seen, member.error, member.received = b"\n", None, b"", 0
        return set(self.members)

    def _read(self, member: Member, wanted: bytes, size: int) -> bool:
        """Whether that was all that it waits for."""
        try:
            data = member.connection.recv(size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        if not data:
            raise LoadFailed("the daemon closed a connection")
        member.received += len(data)
        found = member.tail + data
        member.tail = found[-TAIL:]
        if wanted in found:
            member.seen = time.perf_counter() - self._began
        elif b"\nERR " in found or b"\nEND " in found:
            member.error = member.tail
        return member.seen is not None or bool(member.error)

    @property
    def times(self) -> list[float]:
        """Seconds from `ask` to when it came, of those to whom it did, in order."""
        return sorted(member.seen for member in self.members if member.seen is not None)

    @property
    def errors(self) -> list[bytes]:
        """The ends of what those had who were refused."""
        return [member.error for member in self.members if member.error]

    @property
    def received(self) -> int:
        """Bytes that all of them have read in the last wait."""
        return sum(member.received for member in self.members)


@contextmanager
def crowd(port: int, size: int, receive_buffer: int = 0) -> Iterator[Crowd]:
    """So many connections, closed at the end."""
    members = Crowd(port, size, receive_buffer)
    try:
        yield members
    finally:
        members.close()


def _connect(port: int, receive_buffer: int) -> socket.socket:
    connection = socket.socket()
    # Closed by a reset: after a mere end of what is sent the daemon has to go on, for the peer may still watch.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.connect((HOST, port))
    return connection


def ask(port: int, requests: bytes, replies: int = 1) -> bytes:
    """Some requests on a connection of its own, and the last of the lines that answer them."""
    with socket.create_connection((HOST, port), timeout=60) as connection, connection.makefile("rb") as lines:
        connection.sendall(requests)
        return [lines.readline() for _ in range(replies)][-1]


def position(port: int) -> bytes:
    """The store's present position."""
    return ask(port, b"UNWATCH\n").split()[1]


def revision(port: int) -> int:
    """The revision of that."""
    return int(position(port).partition(b"@")[0])


def allow(connections: int) -> int:
    """Have so many connections allowed in this process, and in daemons that it starts; how many are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == resource.RLIM_INFINITY else min(connections, soft - SPARE)
