"""Reported: `kvctl watch` in a pipe that is a socket, as node's spawn makes it, stays for ever when its reader dies.

It ended at the next change only; so it did on a terminal that was closed.
"""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from tests.support.kvctl import Watching, printed, run, run_into, watching
from tests.support.processes import Daemon

pytestmark = pytest.mark.slow


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a Unix socket, the second for kvctl."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        return ours, server.accept()[0]


def goes_on(watch: Watching, daemon: Daemon, ours: socket.socket) -> bool:
    """Whether changes still come through."""
    for value in "ab":  # a watch that is ending may still let one pass
        printed(run("--addr", daemon.addr, "set", "k", value))
    came = b""
    while came.count(b"\n") < 2 and (data := ours.recv(1000)):
        came += data
    return watch.process.poll() is None and came.endswith(b" SET k b\n")


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_a_watch_ends_when_the_reader_of_its_socket_is_gone(daemon: Daemon, kind: str) -> None:
    ours, theirs = socket.socketpair() if kind == "unix" else tcp_pair()
    with ours, theirs, watching(daemon.addr, stdout=theirs.fileno()) as watch:
        ours.close()
        assert watch.end() == (0, b"")


def test_a_watch_ends_when_the_reader_of_its_terminal_is_gone(daemon: Daemon) -> None:
    terminal, theirs = os.openpty()
    with ExitStack() as ends:
        ends.callback(os.close, theirs)
        with watching(daemon.addr, stdout=theirs) as watch:
            os.close(terminal)
            assert watch.end() == (0, b"")


def test_a_watch_ends_when_its_reader_is_gone_with_changes_unread(
    daemon: Daemon, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    with watching(daemon.addr, stdout=theirs.fileno()) as watch:
        printed(run("--addr", daemon.addr, "set", "k", "v"))
        assert ours.recv(1, socket.MSG_PEEK)  # it stays unread: the kernel resets the connection
        ours.close()
        assert watch.end() == (0, b"")


def test_a_watch_goes_on_for_a_reader_that_writes_or_closes_its_own_output(
    daemon: Daemon, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    with watching(daemon.addr, stdout=theirs.fileno()) as watch:
        ours.sendall(b"nobody reads this\n")
        assert goes_on(watch, daemon, ours)
        ours.shutdown(socket.SHUT_WR)
        assert goes_on(watch, daemon, ours)
        assert watch.interrupt() == (0, b"")


def test_a_watch_whose_reader_is_gone_does_not_wait_for_a_silent_daemon(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def accept_and_leave() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(10)
                ours.close()
                peer.recv(10)  # until it hangs up

        accepting = threading.Thread(target=accept_and_leave)
        accepting.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        result = run_into(theirs.fileno(), "--addr", address, "--timeout", "0", "watch")
        accepting.join()
    assert (result.returncode, result.stderr) == (0, b"")


def test_a_reader_that_is_slow_to_close_a_socket_is_no_failure(
    daemon: Daemon, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    printed(run("--addr", daemon.addr, "set", "k", "-", stdin=b"x" * (1 << 20)))

    def read_a_little() -> None:
        ours.recv(100)
        ours.close()

    reading = threading.Thread(target=read_a_little)
    reading.start()
    result = run_into(theirs.fileno(), "--addr", daemon.addr, "get", "k")
    reading.join()
    assert (result.returncode, result.stderr) == (0, b"")
