"""Many keys whose time is over at once: the moment at which they are, and how long the daemon takes to catch up."""

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from bench.load import LoadFailed
from bench.measure import Bench
from bench.others.servers import HOST
from bench.servers import System

KEYS = 120_000
PORTION = 2000
"""PUTs that are sent with one look at the clock."""
LEAST_FILL = 1.0
"""Seconds, and
FILL_FACTOR: times what one portion predicts, for all of them to be written in before they are due."""
FILL_FACTOR = 3.0
PIECE = 1 << 20
"""Bytes of one read."""
PATIENCE = 120.0
"""Seconds for one answer."""


@contextmanager
def falling_due(bench: Bench, system: System) -> Iterator[None]:
    """Keys that all fall due when what is measured inside begins to count."""
    due = _fill(system)
    time.sleep(max(0.0, due - time.time() - bench.pace.warmup))
    yield
    # A count of nothing else waits for the sweep.
    _pipeline(system, [b"COUNT due/*\n"])


def catching_up(system: System) -> float:
    """Seconds from when many keys fall due to the last EXPIRE line, as a multiple of what DELs of as many take."""
    _pipeline(system, (b"SET due/%d v\n" % number for number in range(KEYS)))
    deleting = _timed(lambda: _pipeline(system, (b"DEL due/%d\n" % number for number in range(KEYS))))
    with socket.create_connection((HOST, system.server.port), timeout=PATIENCE) as watcher:
        watcher.sendall(b"WATCH due/*\n")
        due = _fill(system)
        seen = 0
        while seen < KEYS:
            seen += watcher.recv(PIECE).count(b" EXPIRE ")
    return (time.time() - due) / deleting


def _fill(system: System) -> float:
    """Write the keys; when they are due, in seconds since the epoch.  Raises LoadFailed if they are too early."""
    portions = KEYS // PORTION
    once = _timed(lambda: _pipeline(system, (b"PUT due/%d ttl=600 = v\n" % number for number in range(PORTION))))
    due = time.time() + LEAST_FILL + FILL_FACTOR * portions * once
    for first in range(0, KEYS, PORTION):
        left = due - time.time()
        if left <= 0:
            raise LoadFailed(f"{KEYS:,} PUTs took longer than {FILL_FACTOR:g} times what was expected")
        _pipeline(system, (b"PUT due/%d ttl=%.3f = v\n" % (number, left) for number in range(first, first + PORTION)))
    return due


def _pipeline(system: System, requests: Iterable[bytes]) -> None:
    """Send requests at once, and read a line for each."""
    lines = list(requests)
    with socket.create_connection((HOST, system.server.port), timeout=PATIENCE) as connection:
        sender = threading.Thread(target=_send, args=[connection, b"".join(lines)])
        sender.start()
        left = len(lines)
        while left > 0:
            piece = connection.recv(PIECE)
            if not piece:
                raise ConnectionError("the daemon closed the connection")
            left -= piece.count(b"\n")
        sender.join()


def _send(connection: socket.socket, data: bytes) -> None:
    with suppress(OSError):
        connection.sendall(data)


def _timed(work: Callable[[], None]) -> float:
    """Seconds that it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
