"""python -m bench.sizes: how much memory keys, changes and connections take, for who sizes a machine.

Usage:
  bench.sizes [--keys N] [--connections N]

Options:
  --keys N         Keys of each size of value [default: 100000].
  --connections N  Connections of each kind [default: 1000].

Each row is of a daemon of its own, on a new embedded store: what the memory of its processes, and the files of its
directory, have grown by, over the number of keys or connections. Keys have 16 bytes. The change log is kept short, and
has a row of its own.
"""

import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
from docopt import docopt

from bench.growth.idle import SPARE, allow_descriptors
from bench.starting import ROOT, kvd

VALUES = (10, 100, 1000)
"""Bytes of a value."""
SHORT_LOG = ("--history-changes", "1000")
CHUNK = 1000
"""Requests that are sent at once."""


class Took(NamedTuple):
    """Bytes: of the daemon's memory, of its engine's, and on disk."""

    daemon: int
    engine: int
    disk: int


class Measured:
    """A daemon, and what it takes."""

    def __init__(self, pid: int, port: int, home: Path) -> None:
        self._daemon, self.port, self._home = psutil.Process(pid), port, home

    def took(self) -> Took:
        """Now."""
        engine = sum(child.memory_info().rss for child in self._daemon.children())
        disk = sum(path.stat().st_size for path in self._home.rglob("*") if path.is_file())
        return Took(self._daemon.memory_info().rss, engine, disk)

    def send(self, requests: Iterator[bytes]) -> None:
        """Ask, and wait for all replies, which have a line each."""
        with socket.create_connection(("127.0.0.1", self.port)) as peer, peer.makefile("rb") as lines:
            while chunk := [line for line, _ in zip(requests, range(CHUNK), strict=False)]:
                peer.sendall(b"".join(chunk))
                for _ in chunk:
                    if lines.readline()[:2] != b"OK":
                        raise SystemExit("a request was refused")


@contextmanager
def measured(*options: str) -> Iterator[Measured]:
    """A daemon on a new store."""
    with tempfile.TemporaryDirectory() as directory:
        process, port = kvd(ROOT, Path(directory), *options)
        try:
            yield Measured(process.pid, port, Path(directory))
        finally:
            process.terminate()
            process.wait()


def grown(daemon: Measured, count: int, do: Callable[[], object]) -> tuple[float, float, float]:
    """Bytes a piece by which each has grown."""
    before = daemon.took()
    do()
    after = daemon.took()
    daemon_, engine, disk = ((new - old) / count for new, old in zip(after, before, strict=True))
    return daemon_, engine, disk


def sets(count: int, size: int) -> Iterator[bytes]:
    """SETs of different keys."""
    value = b"v" * size
    return (b"SET key/%012d %b\n" % (number, value) for number in range(count))


def keys(count: int) -> Iterator[tuple[str, tuple[float, float, float]]]:
    """A row a size."""
    for size in VALUES:
        with measured(*SHORT_LOG) as daemon:
            yield f"key with {size} bytes", grown(daemon, count, lambda: daemon.send(sets(count, size)))  # noqa: B023
    with measured(*SHORT_LOG) as daemon:
        puts = (b"PUT key/%012d ttl=3600 = vvvvvvvvvv\n" % number for number in range(count))
        yield "key with 10 bytes and a time to live", grown(daemon, count, lambda: daemon.send(puts))
    with measured() as daemon:
        daemon.send(sets(1, 10))
        again = (b"SET key/000000000000 vvvvvvvvvv\n" for _ in range(count))
        yield "change in the change log", grown(daemon, count, lambda: daemon.send(again))


def connections(count: int) -> Iterator[tuple[str, tuple[float, float, float]]]:
    """A row a kind."""
    allow_descriptors(count + SPARE)
    for name, request in {"connection": b"PING\n", "watcher of one pattern": b"WATCH key/*\n"}.items():
        with measured() as daemon, ExitStack() as stack:

            def connect() -> None:
                for _ in range(count):
                    peer = stack.enter_context(socket.create_connection(("127.0.0.1", daemon.port)))
                    peer.sendall(request)  # noqa: B023
                    peer.recv(100)

            yield name, grown(daemon, count, connect)


def main() -> None:
    """Print a row a kind."""
    options = docopt(__doc__)
    sys.stdout.write(f"{'bytes a':38} {'daemon':>8} {'engine':>8} {'on disk':>8}\n")
    for rows in (keys(int(options["--keys"])), connections(int(options["--connections"]))):
        for name, took in rows:
            sys.stdout.write(f"{name:38} {took[0]:8.0f} {took[1]:8.0f} {took[2]:8.0f}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
