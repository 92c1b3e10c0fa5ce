"""The limit of open files: raised as far as it may be; and who uses all of them up does no harm."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from kvd.process.limits import FEW, RESERVE
from tests.support.daemons import connections
from tests.support.peers import Peer
from tests.support.processes import ROOT, Daemon, wait_for
from tests.support.text import without_retry

ROOM = 36
"""Connections for which the limited daemon has descriptors."""


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path / "data", limits=f"-n {RESERVE + ROOM}")
    daemon.start()
    yield daemon
    daemon.stop()


def connect(daemon: Daemon, stack: ExitStack, count: int) -> tuple[list[Peer], list[str]]:
    """Connections that are served, and what the others were told."""
    served: list[Peer] = []
    refused: list[str] = []
    for _ in range(count):
        peer = stack.enter_context(daemon.connect())
        # Who is refused need not have asked.
        with suppress(ConnectionError):
            peer.send("PING served\n")
        line = peer.line()
        if line == "OK served":
            served.append(peer)
        else:
            refused.append(line)
    return served, refused


@pytest.mark.slow
def test_connections_beyond_the_limit_are_refused_in_words_and_the_others_are_served(limited: Daemon) -> None:
    with ExitStack() as stack:
        served, refused = connect(limited, stack, ROOM + 100)
        assert len(served) == ROOM
        assert {without_retry(line) for line in refused} == {
            "ERR unavailable there are too many connections; try again later"
        }
        assert [peer.ask("INCR a") for peer in served] == [f"OK {number + 1}" for number in range(ROOM)]
        # The store's connections and its process need descriptors, too.
        os.kill(limited.redis_pid(), signal.SIGKILL)
        wait_for("the store", lambda: served[0].ask("GET a") == f"OK {ROOM}")
        wait_for("the store", lambda: served[1].ask("INCR a").startswith("OK"))
    wait_for("the end of the connections", lambda: connections(limited) == 0)
    with limited.connect() as peer:
        assert peer.ask("COUNT") == "OK 1"
    assert limited.says("refused connections (")
    assert limited.log.count("refused connections (") == 1
    assert limited.says(f"the limit of open files leaves few connections to a process ({ROOM}); ")


def test_a_connection_that_ends_makes_room(limited: Daemon) -> None:
    with ExitStack() as stack:
        served, _ = connect(limited, stack, ROOM + 1)
        assert served[0].ask("QUIT") == "OK bye"
        assert served[0].is_closed()
        assert len(connect(limited, stack, 2)[0]) == 1


def test_many_at_once_do_not_exhaust_what_the_daemon_needs(limited: Daemon) -> None:
    with ExitStack() as stack:
        peers = [stack.enter_context(limited.connect()) for _ in range(500)]
        for peer in peers[ROOM:]:
            assert peer.line().startswith("ERR unavailable ")
            assert peer.is_closed()
        assert [peer.ask("INCR a") for peer in peers[:ROOM]] == [f"OK {number + 1}" for number in range(ROOM)]


@pytest.mark.slow
def test_each_worker_has_the_limit_for_itself(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "data", ["--workers", "2"], limits=f"-n {RESERVE + ROOM}")
    daemon.start()
    with ExitStack() as stack:
        served, refused = connect(daemon, stack, 4 * ROOM)
        assert len(served) == 2 * ROOM
        assert len(refused) == 2 * ROOM
    daemon.stop()


@pytest.mark.slow
def test_the_limit_is_raised_as_far_as_it_may_be(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "data", ["--workers", "2"], limits=f"-Sn 100; ulimit -Hn {FEW + 500}")
    daemon.start()
    for pid in (daemon.pid, *daemon.worker_pids()):
        assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (FEW + 500, FEW + 500)
    daemon.stop()
    assert "the limit of open files" not in daemon.log


def test_a_limit_that_leaves_no_connection_is_said_at_the_start(tmp_path: Path) -> None:
    command = f"ulimit -n {RESERVE}; exec {sys.executable} -m kvd --listen 127.0.0.1:0 --data {tmp_path}/data"
    done = subprocess.run(["sh", "-c", command], capture_output=True, cwd=ROOT, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"kvd: the limit of open files leaves none for connections: it is {RESERVE}, ")
    assert "ulimit -n" in done.stderr
    assert done.stderr.count("\n") == 1
