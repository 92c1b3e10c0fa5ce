"""Limits of connections, each a setting, with one error and one count; whoever keeps to them notices nothing."""

import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from kvd.metrics import LIMITED
from kvd.session.limits import Limit
from tests.support.daemons import one_each, stopped_store
from tests.support.peers import Peer
from tests.support.processes import PATIENCE, Daemon, StartDaemon, wait_for

USERS = """
[users.ada]
passwords = []
[users.ada.rules]
"*" = ["read"]
"""


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with little time for lines and transactions, and for few patterns."""
    daemon = Daemon(
        tmp_path_factory.mktemp("hasty") / "data",
        ["--fsync", "no", "--line-time", "0.3", "--transaction-time", "0.3", "--watch-patterns", "3"],
    )
    daemon.start()
    yield daemon
    daemon.stop()


def counted(daemon: Daemon, limit: str) -> int:
    with daemon.connect() as peer:
        return told(peer, limit)


def told(peer: Peer, limit: str) -> int:
    peer.send("INFO\n")
    facts = dict(line.split(" ", 2)[1:] for line in iter(peer.line, "OK"))
    return int(facts[f"limited-{limit}"])


@contextmanager
def counting(daemon: Daemon, limit: str, times: int = 1) -> Iterator[None]:
    before = counted(daemon, limit)
    yield
    assert counted(daemon, limit) == before + times


def test_each_limit_has_a_count() -> None:
    assert {limit.count for limit in Limit} == {metric.name.replace("-", "_") for metric in LIMITED}


# ---- lines


@pytest.mark.parametrize("begun", [b"S", b"SET k v", b"\xc3", b"PING\nPI", b"SET k " + b"x" * 100_000])
def test_a_line_that_does_not_end_is_refused(hasty: Daemon, begun: bytes) -> None:
    with counting(hasty, "line"), hasty.connect() as peer:
        peer.send(begun)
        if b"\n" in begun:
            assert peer.line() == "OK"
        assert peer.line() == "ERR limit a line must end within 0.3 s (--line-time)"
        # It is not done when it ends after all.
        with suppress(ConnectionError):
            peer.send("\nSET k 2\n")
        assert peer.is_closed()
    with hasty.connect() as peer:
        assert peer.ask("GET k") == "NONE"


def test_a_watch_is_told_that_it_ends_with_such_a_line(hasty: Daemon) -> None:
    with counting(hasty, "line"), hasty.connect() as peer:
        assert peer.ask("WATCH k").startswith("OK ")
        peer.send("SET")
        assert peer.line().startswith("ERR limit ")
        line = peer.line().split(" ")
        assert (line[0], line[2]) == ("END", "limit")
        assert peer.is_closed()


def test_a_line_that_is_skipped_has_had_its_reply(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--line-time", "0.3", "--max-value", "1KiB")
    with counting(daemon, "line"), daemon.connect() as peer:
        # It comes in one piece, so that it is too long before it can be too late.
        peer.send("SET k " + "x" * 10_000)
        assert peer.line().startswith("ERR too-long ")
        assert peer.is_closed()
        assert daemon.says("ended the connection of 127.0.0.1:")


# ---- transactions


def test_a_transaction_that_is_open_too_long_is_given_up_and_the_next_request_is_told(hasty: Daemon) -> None:
    with counting(hasty, "transaction", 2), hasty.connect() as peer:
        error = "ERR limit a transaction must end within 0.3 s of its BEGIN (--transaction-time); nothing was done"
        for ask in ("COMMIT", "SET b 2"):
            before = counted(hasty, "transaction")
            peer.send("BEGIN\nSET a 1\n")
            assert peer.lines(2) == ["OK", "OK queued"]
            wait_for("the end of its time", lambda before=before: counted(hasty, "transaction") > before)
            assert peer.ask(ask) == error
        assert peer.ask("COMMIT") == error
        assert peer.ask("COMMIT").startswith("ERR usage ")
        assert peer.ask("COUNT") == "OK 0"
        # The connection goes on.
        peer.send("BEGIN\nDEL a\nABORT\n")
        assert peer.lines(3) == ["OK", "OK queued", "OK"]


# ---- patterns


def test_too_many_patterns_are_refused_and_the_watch_stays(hasty: Daemon) -> None:
    with counting(hasty, "patterns", 5), hasty.connect() as peer:
        position = peer.ask("WATCH a b c").removeprefix("OK ")
        for request in ("WATCH", f"RESUME {position}", "SYNC", "FOLLOW -", f"CHANGES {position}"):
            assert peer.ask(f"{request} a b c d") == "ERR limit expected at most 3 patterns (--watch-patterns)"
        peer.send("PUT b ttl=100 = 1\nDEL b\n")
        assert sum(line.startswith("CHANGE ") for line in peer.lines(4)) == 2


# ---- time without a request


def test_who_asks_nothing_for_too_long_is_closed_and_watches_are_not(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--idle-time", "0.6")
    with ExitStack() as stack:
        watcher, idle = (answered(daemon, stack, request) for request in ("WATCH k", "PING"))
        with daemon.connect() as new:
            assert new.line() == "ERR limit nothing was asked for 0.6 s (--idle-time)"
            assert new.is_closed()
        assert idle.is_closed()
        assert daemon.log.count("ended the connection of 127.0.0.1:") >= 2
        wait_for("a time in which this machine hardly stands still", lambda: goes_on_asking(daemon, 0.6))
        answered(daemon, stack, "SET k v")
        assert watcher.line().endswith(" SET k v")


def goes_on_asking(daemon: Daemon, seconds: float) -> bool:
    """Have a connection ask all the time, which must be kept; False: it did not, for this machine stood still."""
    with ExitStack() as stack:
        peer = answered(daemon, stack, "PING")
        began = last = time.monotonic()
        longest, reply = 0.0, "OK"
        with suppress(ConnectionError):
            while last - began < 2 * seconds and reply == "OK":
                reply = peer.ask("PING")
                longest, last = max(longest, time.monotonic() - last), time.monotonic()
                time.sleep(0.01)
        longest = max(longest, time.monotonic() - last)
        is_kept = last - began >= 2 * seconds and reply == "OK"
        assert is_kept or longest > seconds / 3, reply
        return is_kept


def answered(daemon: Daemon, stack: ExitStack, request: str) -> Peer:
    """A connection that was answered before its time was over, which it may not be when this machine stands still."""
    while True:
        peer = stack.enter_context(daemon.connect())
        with suppress(ConnectionError):
            if peer.ask(request).startswith("OK"):
                return peer


# ---- logins


def test_who_does_not_log_in_in_time_is_ended(start_daemon: StartDaemon, tmp_path: Path) -> None:
    users = tmp_path / "users.toml"
    users.write_text(USERS)
    users.chmod(0o600)
    daemon = start_daemon("--users", str(users), "--login-time", "0.4")
    with ExitStack() as stack:
        asked = answered(daemon, stack, "PING")
        silent = stack.enter_context(daemon.connect())
        assert silent.line() == "ERR limit AUTH must succeed within 0.4 s (--login-time)"
        assert silent.is_closed()
        # An error that nobody has asked for would be taken for the next reply.
        assert asked.is_closed()
        wait_for("the log", lambda: daemon.log.count("ended the connection of 127.0.0.1:") >= 2)


# ---- addresses


def connection_from(daemon: Daemon, address: str) -> Peer:
    return Peer(socket.create_connection(("127.0.0.1", daemon.port), 30, (address, 0)))


def test_an_address_has_so_many_connections_and_others_their_own(start_daemon: StartDaemon, tmp_path: Path) -> None:
    daemon = start_daemon("--address-connections", "2", "--listen", f"unix:{tmp_path / 's'}")
    with ExitStack() as stack:
        for _ in range(3):
            local = stack.enter_context(socket.socket(socket.AF_UNIX))
            local.connect(str(tmp_path / "s"))
            local.sendall(b"PING\n")
            assert local.recv(10) == b"OK\n"

        def connect(address: str) -> Peer:
            peer = connection_from(daemon, address)
            stack.callback(peer.socket.close)
            stack.callback(peer.close)
            return peer

        first, second = connect("127.0.0.2"), connect("127.0.0.2")
        assert [first.ask("PING"), second.ask("PING")] == ["OK", "OK"]
        third = connect("127.0.0.2")
        assert third.line().startswith("ERR limit there are too many connections from this address")
        assert third.is_closed()
        other = connect("127.0.0.3")
        assert other.ask("PING") == "OK"
        assert told(other, "address") == 1
        first.send("QUIT\n")
        assert first.rest() == ["OK bye"]
        first.close()
        first.socket.close()

        def is_let_in() -> bool:
            return connect("127.0.0.2").ask("PING") == "OK"

        wait_for("its place", is_let_in)
        assert daemon.says("ended the connection of 127.0.0.2: there are too many")


# ---- requests in flight


@pytest.mark.parametrize(
    "request_", ["SET k 1", "INCR n", "GETS n", "get n", "DEL k", "COUNT", "BEGIN\nSET a 1\nCOMMIT"]
)
def test_requests_beyond_those_in_flight_are_refused_at_once(hasty_store: Daemon, request_: str) -> None:
    refused = "ERR limit too many requests are in flight (--requests-in-flight); nothing was done; try again later"
    count = counted(hasty_store, "requests")
    with ExitStack() as stack:
        *three, other = (stack.enter_context(hasty_store.connect()) for _ in range(4))
        with stopped_store(hasty_store):
            for number, peer in enumerate(three):
                peer.send(f"SET x{number} 1\n")
            # One of them is one too many; and once that is told, the two others are in flight.
            ready, _, _ = select.select([peer.socket for peer in three], [], [], PATIENCE)
            (late,) = (peer for peer in three if peer.socket in ready)
            assert late.line() == refused
            other.send(request_ + "\n")
            assert other.lines(request_.count("\n") + 1)[-1] == refused
            assert other.ask("PING") == "OK"
        assert [peer.line()[:3] for peer in three if peer is not late] == ["OK ", "OK "]
        assert other.ask(request_.rpartition("\n")[2])[:3] in ("OK ", "NON", "ERR")
    assert counted(hasty_store, "requests") > count


@pytest.fixture(scope="module")
def hasty_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that has two requests in flight at the most."""
    daemon = Daemon(tmp_path_factory.mktemp("few") / "data", ["--requests-in-flight", "2", "--read-cache", "0"])
    daemon.start()
    yield daemon
    daemon.stop()


def test_a_pipeline_goes_in_groups_as_large_as_may_be_in_flight(hasty_store: Daemon) -> None:
    with hasty_store.connect() as peer, counting(hasty_store, "requests", 0):
        peer.send("SET p 1\n" * 50 + "PUT p = 2\nget p\n" * 20 + "GET p\n" * 50)
        assert {line[:3] for line in peer.lines(140)} == {"OK "}


def test_each_worker_has_its_share_of_them(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--workers", "2", "--requests-in-flight", "2", "--line-time", "0.3")
    with one_each(daemon) as peers:
        for peer in peers:
            peer.send("SET k 1\nGET")
            assert peer.line()[:3] == "OK "
            assert peer.line().startswith("ERR limit ")
    assert counted(daemon, "line") == 2
