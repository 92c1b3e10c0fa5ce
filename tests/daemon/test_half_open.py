"""Peers that vanish without a word are let go; those that are there, and only do not read, are kept."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kvd.process.half_open import KEEPALIVE, LOOK_INTERVAL, LOOKS, keep_alive
from tests.support.far_machine import FarMachine, far_machine
from tests.support.peers import Peer
from tests.support.processes import PATIENCE, ROOT, wait_for

pytestmark = pytest.mark.slow

QUICK = 0.15
"""Seconds between looks where nobody wants to wait for a minute and a half."""
START = """
import sys
from kvd.process import half_open
half_open.LOOK_INTERVAL = float(sys.argv[1])
from kvd.__main__ import main
sys.exit(main(sys.argv[2:]))
"""
SMALL = 8 * 1024
"""Bytes: a peer that keeps no more unread has a closed window soon."""
WRITE = "SET busy " + "v" * 1000
FULL = 4 * SMALL
"""Bytes that wait only where the window is closed."""


class Kvd:
    """A daemon somewhere, that looks at its peers every so often."""

    def __init__(self, process: subprocess.Popen[bytes], host: str) -> None:
        self.pid = process.pid
        self.host = host
        assert process.stdout
        self.port = int(process.stdout.readline().rpartition(b":")[2])

    @contextmanager
    def connect(self, source: str = "", kept: int = 0) -> Iterator[Peer]:
        """source: the client's address.  kept: bytes that its kernel keeps unread, 0: as many as it likes."""
        with socket.socket() as connection:
            connection.settimeout(PATIENCE)
            if kept:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, kept)
            connection.bind((source, 0))
            connection.connect((self.host, self.port))
            peer = Peer(connection)
            try:
                yield peer
            finally:
                peer.close()

    def holds(self, peer: Peer) -> bool:
        """Whether a descriptor of the daemon's holds its end of a connection."""
        return any(row[9] != "0" for row in self._rows_of(peer))

    def unsent(self, peer: Peer) -> int:
        """Bytes that wait in the daemon's kernel for a peer."""
        return max(int(row[4].partition(":")[0], 16) for row in self._rows_of(peer))

    def _rows_of(self, peer: Peer) -> list[list[str]]:
        """What the kernel says of the daemon's end of a connection; it may say so twice."""
        port = f":{peer.socket.getsockname()[1]:04X}"
        rows = [line.split() for line in Path(f"/proc/{self.pid}/net/tcp").read_text().splitlines()[1:]]
        return [row for row in rows if row[2].endswith(port)]


@contextmanager
def kvd(data: Path, interval: float, host: str = "127.0.0.1", prefix: Iterable[str] = ()) -> Iterator[Kvd]:
    """A daemon, which must end in order.  prefix: before the command that starts it."""
    command = [sys.executable, "-c", START, str(interval), "--listen", f"{host}:0", "--data", str(data), "--fsync=no"]
    command.append("--insecure")
    with subprocess.Popen([*prefix, *command], cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            yield Kvd(process, host)
        finally:
            process.terminate()
        assert process.wait(PATIENCE) == 0


@pytest.fixture
def far() -> Iterator[FarMachine]:
    with far_machine() as machine:
        yield machine


def write_until(writer: Peer, over: Callable[[], bool], pause: float) -> int:
    """Set the busy key again and again until something is over; how often."""
    count = 0
    while not over():
        assert writer.ask(WRITE).startswith("OK ")
        count += 1
        time.sleep(pause)
    return count


# ---- those that vanish


def vanish(daemon: Kvd, far: FarMachine, patience: float, *, half_closed: bool = False) -> float:
    """Let one of two watchers of a busy key vanish, while the other goes on; seconds until the daemon lets it go."""
    with daemon.connect(far.here) as vanishes, daemon.connect(far.other) as stays, daemon.connect(far.other) as writer:
        for watcher in (vanishes, stays):
            assert watcher.ask("WATCH busy").startswith("OK ")
        if half_closed:
            vanishes.socket.shutdown(socket.SHUT_WR)
        far.lose(far.here)
        began = time.monotonic()

        def over() -> bool:
            return not daemon.holds(vanishes) or time.monotonic() > began + patience

        count = write_until(writer, over, 0.05)
        assert not daemon.holds(vanishes)
        assert stays.lines(count)[-1].startswith(f"CHANGE {count}@")
        return time.monotonic() - began


@pytest.mark.parametrize("half_closed", [False, True])
def test_a_watcher_of_busy_keys_that_vanished_is_let_go(half_closed: bool, far: FarMachine, tmp_path: Path) -> None:
    with kvd(tmp_path / "data", QUICK, far.address, far.prefix) as daemon:
        vanish(daemon, far, PATIENCE, half_closed=half_closed)


@pytest.mark.minutes
def test_it_is_let_go_after_a_minute_and_a_half(far: FarMachine, tmp_path: Path) -> None:
    with kvd(tmp_path / "data", LOOK_INTERVAL, far.address, far.prefix) as daemon:
        # Not before, for a network may be away for a minute.
        assert 75 < vanish(daemon, far, 240) < 120


def test_a_vanished_watcher_that_had_not_read_is_let_go(far: FarMachine, tmp_path: Path) -> None:
    """The kernel sends it probes in the place of data."""
    with (
        kvd(tmp_path / "data", QUICK, far.address, far.prefix) as daemon,
        daemon.connect(far.here, SMALL) as vanishes, daemon.connect(far.other) as writer,
    ):  # fmt: skip
        assert vanishes.ask("WATCH busy").startswith("OK ")
        write_until(writer, lambda: daemon.unsent(vanishes) > FULL, 0)
        far.lose(far.here)
        wait_for("it to be let go", lambda: not daemon.holds(vanishes))


def test_an_idle_peer_that_vanished_is_asked_for_by_the_kernel() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as peer:
        keep_alive(peer)
        kept = {name: peer.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in KEEPALIVE}
        assert kept == KEEPALIVE
        assert peer.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert kept["TCP_KEEPIDLE"] + kept["TCP_KEEPINTVL"] * kept["TCP_KEEPCNT"] == LOOKS * LOOK_INTERVAL


# ---- those that only do not read


def passing(seconds: float) -> Callable[[], bool]:
    """What tells whether so many seconds have passed."""
    until = time.monotonic() + seconds
    return lambda: time.monotonic() > until


def does_not_read(daemon: Kvd, seconds: float) -> None:
    """Let a watcher of a busy key not read for so long, twice, and then read all there was."""
    with daemon.connect(kept=SMALL) as watcher, daemon.connect() as writer:
        assert watcher.ask("WATCH busy").startswith("OK ")
        for _ in range(2):
            first = int(writer.ask(WRITE).split()[1])
            count = write_until(writer, lambda: daemon.unsent(watcher) > FULL, 0)
            count += write_until(writer, passing(seconds), 0.05)
            lines = watcher.lines(count + 1)
            assert [int(line.split()[1].partition("@")[0]) for line in lines] == list(range(first, first + count + 1))


def test_a_watcher_that_does_not_read_is_kept(tmp_path: Path) -> None:
    """For three times as long as one that vanished, and again after it was not slow for a while."""
    with kvd(tmp_path / "data", QUICK) as daemon:
        does_not_read(daemon, 3 * LOOKS * QUICK)


@pytest.mark.minutes
@pytest.mark.timeout(900)
def test_a_watcher_that_does_not_read_for_five_minutes_is_kept(tmp_path: Path) -> None:
    with kvd(tmp_path / "data", LOOK_INTERVAL) as daemon:
        does_not_read(daemon, 300)
