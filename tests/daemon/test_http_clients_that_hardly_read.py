"""A watch over HTTP whose client takes nothing, or hardly anything, is ended; one who reads slowly is not."""

import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.http_client import ask, port_of
from tests.support.peers import Peer
from tests.support.processes import ROOT, Daemon, StartDaemon, wait_for

LONGEST, LONG = 0.6, 2.0
"""Seconds for which such a client is kept: a minute is too long for a test; and where one must not be ended only
because this machine is busy."""
PAUSE = LONG / 4
"""Seconds without anything read, after which it was not one who reads slowly, for the machine stood still."""
QUICKLY = "import kvd.http.taking\nkvd.http.taking.LONGEST = {}\nkvd.http.taking.PIECE = 4096\n"
"""Run by Python before the daemon."""
CHANGES = 40
VALUE = "v" * 500_000


def start(start_daemon: StartDaemon, directory: Path, longest: float) -> Daemon:
    (directory / "sitecustomize.py").write_text(QUICKLY.format(longest))
    # What is imported before the daemon must be this checkout's, too.
    path = os.pathsep.join([str(directory), str(ROOT)])
    return start_daemon("--http", "127.0.0.1:0", "--fsync", "no", PYTHONPATH=path)


@pytest.fixture
def impatient(start_daemon: StartDaemon, tmp_path: Path) -> Daemon:
    return start(start_daemon, tmp_path, LONGEST)


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
    def is_set_aside_and_ended() -> bool:
        take_hardly_anything(impatient, reads)
        return "is set aside until it has caught up" in impatient.log

    # While the machine pauses, one may be ended before there are enough changes for it to be set aside.
    wait_for("a watch that is set aside and ended", is_set_aside_and_ended)
    assert impatient.says(f"were taken within {LONGEST} s")


def take_hardly_anything(daemon: Daemon, reads: int) -> None:
    """Have a client read so many bytes at a time until it is ended, which it must be."""
    _, before = watches(daemon)
    with daemon.connect() as peer, watcher(daemon) as connection:
        wait_for("the watch", lambda: watches(daemon)[0] == 1)
        change(peer)

        def is_ended() -> bool:
            if reads:
                connection.recv(reads)
            return watches(daemon) == (0, before + 1)

        wait_for("its end", is_ended)


def test_one_who_reads_slowly_is_not(start_daemon: StartDaemon, tmp_path: Path) -> None:
    daemon = start(start_daemon, tmp_path, LONG)
    with daemon.connect() as peer:
        wait_for("a time in which this machine hardly stands still", lambda: has_read_slowly(daemon, peer))


def has_read_slowly(daemon: Daemon, peer: Peer) -> bool:
    """Have a client read slowly, which must be kept; False: it was not, for it was slower than that."""
    wait_for("the end of the watch before", lambda: watches(daemon)[0] == 0)
    _, ended = watches(daemon)
    with watcher(daemon) as connection:
        wait_for("the watch", lambda: watches(daemon)[0] == 1)
        # It reads while they are made: that may take longer than it may be without reading.
        changing = threading.Thread(target=change, args=[peer])
        changing.start()
        began = last = time.monotonic()
        longest = 0.0
        with suppress(ConnectionError):
            while last - began < 2 * LONG and connection.recv(4096):
                time.sleep(LONG / 100)
                longest, last = max(longest, time.monotonic() - last), time.monotonic()
        changing.join()
        is_kept = last - began >= 2 * LONG and watches(daemon) == (1, ended)
        is_lagging = "kvd_lagging_watchers 1.0" in ask(daemon, "/metrics").body.decode()
        assert (is_kept and is_lagging) or longest > PAUSE or time.monotonic() - last > PAUSE
        return is_kept and is_lagging
