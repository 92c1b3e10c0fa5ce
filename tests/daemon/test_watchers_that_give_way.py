"""What a crowd of watchers asks for at once keeps nobody else waiting; and each of them is answered all the same."""

import select
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.support.daemons import connections
from tests.support.peers import Peer
from tests.support.processes import Daemon, wait_for

CROWD = 500


@contextmanager
def crowd(daemon: Daemon, size: int) -> Iterator[list[Peer]]:
    """Watchers of keys that do not change."""
    with ExitStack() as stack:
        peers = [stack.enter_context(daemon.connect()) for _ in range(size)]
        for peer in peers:
            peer.send("WATCH quiet/*\n")
        assert all(peer.line().startswith("OK ") for peer in peers)
        yield peers


@contextmanager
def held_up(daemon: Daemon) -> Iterator[None]:
    """What is sent inside arrives all at once."""
    daemon.kill(signal.SIGSTOP)
    try:
        yield
    finally:
        daemon.kill(signal.SIGCONT)


@pytest.mark.parametrize(("asked", "reply"), [("PING\n", "OK"), ("UNWATCH\n", "OK "), ("FROB\n", "ERR ")])
def test_a_get_is_answered_before_a_crowd_of_watchers(asked: str, reply: str, daemon: Daemon) -> None:
    with crowd(daemon, CROWD) as watchers, daemon.connect() as other, select.epoll() as readable:
        assert other.ask("GET a") == "NONE"
        for peer in (*watchers, other):
            readable.register(peer.socket, select.EPOLLIN | select.EPOLLET)
        with held_up(daemon):
            for watcher in watchers:
                watcher.send(asked)
            other.send("GET a\n")
        everybody = [peer.socket for peer in (*watchers, other)]
        wait_for("all replies", lambda: len(select.select(everybody, [], [], 0)[0]) == len(everybody))
        # In the order in which they came.
        order = [descriptor for descriptor, _ in readable.poll(0)]
        assert other.line() == "NONE"
        assert all(watcher.line().startswith(reply) for watcher in watchers)
        assert order.index(other.socket.fileno()) < CROWD / 2


def test_a_crowd_that_resumes_goes_on_watching(daemon: Daemon) -> None:
    with crowd(daemon, CROWD) as watchers, daemon.connect() as other:
        position = other.ask("UNWATCH").removeprefix("OK ")
        with held_up(daemon):
            for watcher in watchers:
                watcher.send(f"RESUME {position} quiet/*\n")
        assert all(watcher.line() == f"OK {position}" for watcher in watchers)
        assert other.ask("SET quiet/a v") == "OK 1"
        assert all(watcher.line().endswith(" SET quiet/a v") for watcher in watchers)


@pytest.mark.parametrize("lines", ["PING\n", "PING 1\nPING 2\nGET quiet/a\n", "PROGRESS 0\nSET quiet/b w\nPING\n"])
def test_whatever_they_ask_is_answered_in_order(lines: str, daemon: Daemon) -> None:
    alone = daemon.connect()
    with crowd(daemon, 20) as watchers, alone as other:
        for _ in range(3):
            other.send(lines)
            replies = [reply.partition(" ")[0] for reply in other.lines(lines.count("\n"))]
            for watcher in watchers:
                watcher.send(lines)
            for watcher in watchers:
                seen = [line.partition(" ")[0] for line in read_replies(watcher, lines.count("\n"))]
                assert seen == replies


def read_replies(watcher: Peer, count: int) -> list[str]:
    """Without the lines of changes."""
    found: list[str] = []
    while len(found) < count:
        line = watcher.line()
        if not line.startswith("CHANGE "):
            found.append(line)
    return found


def test_a_long_pipeline_of_a_watcher_is_answered_whole(daemon: Daemon) -> None:
    with crowd(daemon, 1) as (watcher,):
        for size in (10, 100_000):
            watcher.send("".join(f"PING {number}\n" for number in range(size)))
            assert watcher.lines(size) == [f"OK {number}" for number in range(size)]


@pytest.mark.parametrize("how", ["closed", "quit", "reset", "half closed", "amid a line"])
def test_watchers_that_go_are_let_go(how: str, daemon: Daemon) -> None:
    with daemon.connect() as other:
        with crowd(daemon, 20) as watchers:
            for watcher in watchers:
                if how == "quit":
                    watcher.send("QUIT\n")
                    assert watcher.line().startswith("OK")
                elif how == "reset":
                    watcher.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                elif how == "amid a line":
                    watcher.send("half a line")
                elif how == "half closed":
                    watcher.socket.shutdown(socket.SHUT_WR)
            if how == "half closed":
                assert other.ask("SET quiet/a v") == "OK 1"
                assert all(watcher.line().endswith(" SET quiet/a v") for watcher in watchers)
        # One that has only ended its sending side goes on watching: that it is gone shows when it is sent something.
        assert other.ask("SET quiet/b v").startswith("OK ")
        wait_for("the end of all others", lambda: connections(daemon) == 1)


def test_watchers_are_told_when_the_daemon_stops(daemon: Daemon) -> None:
    with crowd(daemon, 50) as watchers:
        daemon.kill(signal.SIGTERM)
        assert all(" shutdown " in watcher.rest()[-1] for watcher in watchers)
    assert daemon.wait() == 0


def test_one_that_watches_no_more_is_read_at_once_again(daemon: Daemon) -> None:
    with crowd(daemon, 50) as watchers:
        for watcher in watchers:
            assert watcher.ask("UNWATCH").startswith("OK ")
        for watcher in watchers:
            watcher.send("SET a b\nGET a\n")
        assert all(watcher.lines(2)[1] == "OK b" for watcher in watchers)
