"""A watch over HTTP whose client takes nothing, or hardly anything, is ended; one who reads slowly is not."""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.http_client import ask, port_of
from tests.support.peers import Peer
from tests.support.processes import Daemon, StartDaemon, wait_for

LONGEST = 0.6
QUICKLY = f"import kvd.http.taking\nkvd.http.taking.LONGEST = {LONGEST}\nkvd.http.taking.PIECE = 4096\n"
"""Run by Python before the daemon: a minute is too long for a test."""
CHANGES = 40
VALUE = "v" * 500_000


@pytest.fixture
def impatient(start_daemon: StartDaemon, tmp_path: Path) -> Daemon:
    (tmp_path / "sitecustomize.py").write_text(QUICKLY)
    return start_daemon("--http", "127.0.0.1:0", "--fsync", "no", PYTHONPATH=str(tmp_path))


@contextmanager
def watcher(daemon: Daemon) -> Iterator[socket.socket]:
    """One with a small window, that has not read anything."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port_of(daemon)))
        connection.sendall(b"GET /v1/watch HTTP/1.1\r\nHost: localhost\r\n\r\n")
        yield connection


def watches(daemon: Daemon) -> tuple[float, float]:
    """How many there are, and how many were ended for a limit."""
    text = ask(daemon, "/metrics").body.decode()
    names = ("kvd_watchers", r'kvd_watches_ended_total\{reason="limit"\}')
    now, ended = (float(re.findall(rf"^{name} ([0-9.]+)$", text, re.MULTILINE)[0]) for name in names)
    return now, ended


def change(peer: Peer) -> None:
    for _ in range(CHANGES):
        assert peer.ask(f"SET k {VALUE}").startswith("OK ")


@pytest.mark.parametrize("reads", [0, 1])
def test_one_who_takes_nothing_or_hardly_anything_is_ended(impatient: Daemon, reads: int) -> None:
    with impatient.connect() as peer, watcher(impatient) as connection:
        wait_for("the watch", lambda: watches(impatient)[0] == 1)
        change(peer)

        def is_ended() -> bool:
            if reads:
                connection.recv(reads)
            return watches(impatient) == (0, 1)

        wait_for("its end", is_ended)
    assert impatient.says("is set aside until it has caught up")
    assert impatient.says(f"were taken within {LONGEST} s")


def test_one_who_reads_slowly_is_not(impatient: Daemon) -> None:
    with impatient.connect() as peer, watcher(impatient) as connection:
        wait_for("the watch", lambda: watches(impatient)[0] == 1)
        change(peer)
        began = time.monotonic()
        while time.monotonic() - began < 5 * LONGEST:
            assert connection.recv(4096)
            time.sleep(LONGEST / 20)
        assert watches(impatient) == (1, 0)
        assert "kvd_lagging_watchers 1.0" in ask(impatient, "/metrics").body.decode()
