"""A daemon whose connections may hold little, and how much it takes for all that they do."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from kvd.settings import MIB
from tests.support.peers import Peer
from tests.support.processes import Daemon

LIMIT = 8 * MIB
FEW_BYTES = 4096
"""Of a socket's buffer: its peer has soon read enough."""


@contextmanager
def budget_of(limit: int, directory: Path, *options: str) -> Iterator[Daemon]:
    """A daemon whose connections may hold so many bytes."""
    daemon = Daemon(
        directory / "data", ["--fsync", "no", "--read-cache", "0", "--connection-memory", f"{limit}", *options]
    )
    daemon.start()
    yield daemon
    daemon.stop()
    assert "Traceback" not in daemon.log


def fact(daemon: Daemon, name: str, section: str = "") -> int:
    with daemon.connect() as peer:
        peer.send(f"INFO {section}".rstrip() + "\n")
        facts = dict(line.split(" ", 2)[1:] for line in iter(peer.line, "OK"))
        return int(facts[name])


@contextmanager
def growing_less_than(size: int, daemon: Daemon) -> Iterator[None]:
    """Not even for a moment."""
    process = Path(f"/proc/{daemon.pid}")
    before = psutil.Process(daemon.pid).memory_info().rss
    (process / "clear_refs").write_text("5")  # the peak begins anew
    yield
    peak = re.search(r"VmHWM:\s+(\d+) kB", (process / "status").read_text())
    assert peak
    assert int(peak[1]) * 1024 - before < size, (int(peak[1]) * 1024 - before, size)


@contextmanager
def slow_reader(daemon: Daemon, port: int = 0) -> Iterator[Peer]:
    """A connection whose kernel takes little for it.  port: unless it is the first one."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, FEW_BYTES)
        connection.connect(("127.0.0.1", port or daemon.port))
        peer = Peer(connection)
        try:
            yield peer
        finally:
            peer.close()
