"""One budget of memory for what all connections hold: who holds the most is ended, and nobody else notices."""

import select
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from tests.support.daemons import one_each, stopped_store
from tests.support.held_memory import LIMIT, budget_of, fact, growing_less_than, slow_reader
from tests.support.http_client import port_of as http_port_of
from tests.support.peers import Peer
from tests.support.processes import Daemon, StartDaemon, wait_for

HTTP = ["--http", "127.0.0.1:0", "--http-write"]
CROWD = 40
"""Connections that would hold some five times as much."""
MANY = 100
"""That would hold some four times as much, or twelve."""
OPEN_TRANSACTION = b"BEGIN\n" + b"".join(b"SET k/%d %b\n" % (number, b"x" * 8000) for number in range(128))


@pytest.fixture(scope="module")
def budget(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose connections may hold LIMIT."""
    with budget_of(LIMIT, tmp_path_factory.mktemp("budget"), *HTTP) as daemon:
        with daemon.connect() as peer:
            peer.ask("SET large " + "x" * 4000)
            for number in range(50):
                peer.ask(f"SET s/{number} " + "x" * 100_000)
        yield daemon


@pytest.fixture
def small(start_daemon: StartDaemon) -> Daemon:
    """A daemon whose connections may hold 600 KiB together."""
    return start_daemon("--fsync", "no", "--connection-memory", "600KiB")


def half_a_line(peer: Peer) -> None:
    peer.send(b"SET k " + b"x" * 1_390_000)


def open_transaction(peer: Peer) -> None:
    peer.send(OPEN_TRANSACTION)
    with suppress(AssertionError):  # it may be cut off in a line
        peer.lines(OPEN_TRANSACTION.count(b"\n"))


def patterns(peer: Peer, asking: str = "WATCH") -> None:
    peer.send(f"{asking} " + " ".join(f"{number:0500}*" for number in range(1024)) + "\n")


def replies_unread(peer: Peer) -> None:
    peer.socket.settimeout(0.1)
    with suppress(TimeoutError):
        peer.send("GET large\n" * 200_000)
    peer.socket.settimeout(None)


def listing_unread(peer: Peer) -> None:
    peer.send("LIST\n" * 10)


def copy_unread(peer: Peer) -> None:
    peer.send("SYNC\n")


HOARDS: dict[str, Callable[[Peer], None]] = {
    "half a line": half_a_line, "an open transaction": open_transaction, "patterns": patterns,
    "replies": replies_unread, "a listing": listing_unread, "a copy": copy_unread,
}  # fmt: skip


WHAT_THE_STORE_HAS = {
    "values": b"SET k " + b"x" * 60_000 + b"\n",
    "small values": (b"SET k " + b"x" * 500 + b"\n") * 100,
    "transactions": b"COMMIT\n",
    "reads": b"".join(b"GET %0500d\n" % n for n in range(100)),
    "deletions": b"".join(b"DEL %0500d\n" % n for n in range(100)),
    "http": b"PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000,
}
SENT_AT_ONCE = {
    "half a line": b"SET k " + b"x" * 1_390_000,
    "http requests": b"GET /v1/keys/k HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20_000,
    "http body": b"PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 900_000,
}
DONE = {"OK", "NONE", "HTTP/1.1 204"}
REFUSED = {"ERR limit", "HTTP/1.1 429"}


@pytest.mark.parametrize("kind", HOARDS)
def test_whatever_is_hoarded_memory_stays_bounded_and_nobody_else_notices(kind: str, budget: Daemon) -> None:
    ended = fact(budget, "limited-memory")
    with budget.connect() as watcher, budget.connect() as writer, budget.connect() as other:
        assert watcher.ask("WATCH mine").startswith("OK ")
        assert writer.ask("BEGIN") == "OK"
        assert writer.ask("SET mine 1") == "OK queued"
        with growing_less_than(3 * LIMIT, budget), ExitStack() as stack:
            for _ in range(CROWD):
                peer = stack.enter_context(slow_reader(budget))
                with suppress(ConnectionError):
                    HOARDS[kind](peer)
                assert other.ask("PING") == "OK"
            if kind not in ("a listing", "a copy"):
                wait_for("some to be ended", lambda: fact(budget, "limited-memory") > ended)
            wait_for("the budget", lambda: fact(budget, "held-memory") <= LIMIT)
        assert writer.ask("COMMIT").startswith("OK ")
        assert watcher.line().endswith(" SET mine 1")
    wait_for("the connections' end", lambda: fact(budget, "held-memory") == 0)


@pytest.mark.parametrize("ways", ["listings", "changes", "http"])
def test_pages_that_are_asked_for_together_are_counted_as_they_come(ways: str, budget: Daemon) -> None:
    """Found: the pages of all of them were in memory before any was counted, and those of HTTP before any was sent."""
    with budget.connect() as peer:
        position = f"0@{peer.ask('UNWATCH').split('@')[1]}"
    request = {
        "listings": "LIST\n", "changes": f"CHANGES {position}\n" * 10,
        "http": "GET /v1/keys HTTP/1.1\r\nHost: localhost\r\n\r\n" * 5,
    }[ways]  # fmt: skip
    port = http_port_of(budget) if ways == "http" else budget.port
    ended = fact(budget, "limited-memory")
    # Of the pages of HTTP, which take long to make, the kernel has the first two.
    many = MANY // 2 if ways == "http" else MANY
    with growing_less_than(3 * LIMIT, budget), ExitStack() as stack:
        for _ in range(many):
            stack.enter_context(slow_reader(budget, port)).send(request)
        wait_for("some to be ended", lambda: fact(budget, "limited-memory") > ended + many / 2)
        # Who goes over it is ended a moment later.
        wait_for("the budget", lambda: fact(budget, "held-memory") <= LIMIT)
    wait_for("the connections' end", lambda: fact(budget, "held-memory") == 0)


def answered(peers: list[Peer]) -> int:
    """How many have something to read."""
    ready = select.poll()  # select.select takes no descriptor from 1024 on
    for peer in peers:
        ready.register(peer.socket, select.POLLIN)
    return len(ready.poll(0))


def outcome(line: str) -> str:
    words = line.split(" ")
    return words[0] if words[0] in ("OK", "NONE") else " ".join(words[:2])


@pytest.mark.parametrize("kind", WHAT_THE_STORE_HAS)
def test_what_a_store_that_stands_still_has_is_counted_and_more_is_refused(kind: str, budget: Daemon) -> None:
    """Found: the values of as many as liked to send one, and those of whom it had ended."""
    request = WHAT_THE_STORE_HAS[kind]
    port = http_port_of(budget) if kind == "http" else budget.port
    many = 4 * LIMIT // len(OPEN_TRANSACTION if kind == "transactions" else request)
    ended = fact(budget, "limited-memory")
    with ExitStack() as stack, budget.connect() as other:
        peers = [stack.enter_context(slow_reader(budget, port)) for _ in range(many)]
        wait_for("all of them", lambda: fact(budget, "connections") > many)
        with growing_less_than(3 * LIMIT, budget):
            with stopped_store(budget):
                for peer in peers:
                    # The kernel would have it until the daemon comes to it, and give it all of them at once.
                    assert other.ask("PING") == "OK"
                    if kind == "transactions":
                        peer.send(OPEN_TRANSACTION)
                        peer.lines(OPEN_TRANSACTION.count(b"\n"))
                    peer.send(request)
                wait_for("most to be refused", lambda: answered(peers) > many / 2)
            lines = 1 if kind == "http" else request.count(b"\n")
            last = [peer.lines(lines)[-1] for peer in peers]
        assert {outcome(line) for line in last} <= DONE | REFUSED
        assert sum(outcome(line) in REFUSED for line in last) > many / 2
        assert fact(budget, "limited-memory") == ended
        if kind != "http":
            assert [peer.ask("PING") for peer in peers] == ["OK"] * many
    wait_for("the store to be done", lambda: fact(budget, "held-memory") == 0)


@contextmanager
def many_at_a_store_that_stands_still(daemon: Daemon, ask: Callable[[Peer], None]) -> Iterator[list[Peer]]:
    """Those who have asked it meanwhile, when it goes on."""
    with growing_less_than(3 * LIMIT, daemon), ExitStack() as stack, daemon.connect() as other:
        peers = [stack.enter_context(slow_reader(daemon)) for _ in range(MANY)]
        with stopped_store(daemon):
            for peer in peers:
                with suppress(ConnectionError):
                    ask(peer)
                assert other.ask("PING") == "OK"
        yield peers


@pytest.mark.parametrize("asking", ["WATCH", "SYNC", "FOLLOW -", "RESUME {}", "CHANGES {}"])
def test_patterns_count_while_a_store_that_stands_still_is_waited_for(asking: str, budget: Daemon) -> None:
    """Found: they counted once the watch was begun, those of CHANGES never, and those of who was ended stayed."""
    with budget.connect() as peer:
        position = f"0@{peer.ask('UNWATCH').split('@')[1]}"
    ended = fact(budget, "limited-memory")
    with many_at_a_store_that_stands_still(budget, lambda peer: patterns(peer, asking.format(position))) as peers:
        wait_for("all to be answered or ended", lambda: answered(peers) == MANY)
        assert fact(budget, "limited-memory") > ended + MANY / 2
        wait_for("the budget", lambda: fact(budget, "held-memory") <= LIMIT)
    wait_for("the connections' end", lambda: fact(budget, "held-memory") == 0)


def test_short_lines_that_wait_for_a_store_that_stands_still_are_counted_as_they_come(budget: Daemon) -> None:
    """Found: in the next seconds they were not, and take ten times the bytes that were sent."""
    ended = fact(budget, "limited-memory")
    with many_at_a_store_that_stands_still(budget, lambda peer: peer.send("GET k\n" * 10_000)):
        assert fact(budget, "limited-memory") > ended + MANY / 2
    wait_for("the connections' end", lambda: fact(budget, "held-memory") == 0)


@pytest.mark.parametrize("kind", SENT_AT_ONCE)
def test_what_everybody_has_sent_while_the_daemon_stood_still_is_not_all_taken_before_any_is_counted(
    kind: str, budget: Daemon
) -> None:
    """Found: the loop reads a quarter of a megabyte of each before it has its next turn, and of who lingers again; what
    came over HTTP and was not looked at yet counted never."""
    # The first time its heap grows to what it needs for anything.
    all_send_at_once(kind, budget)
    with growing_less_than(3 * LIMIT, budget):
        all_send_at_once(kind, budget)


def all_send_at_once(kind: str, daemon: Daemon) -> None:
    """Have some be ended for it."""
    port = http_port_of(daemon) if kind.startswith("http") else daemon.port
    ended = fact(daemon, "limited-memory")
    with ExitStack() as stack:
        peers = [stack.enter_context(slow_reader(daemon, port)) for _ in range(2 * MANY)]
        wait_for("all of them", lambda: fact(daemon, "connections") > 2 * MANY)
        daemon.kill(signal.SIGSTOP)
        try:
            for peer in peers:
                peer.socket.setblocking(False)
                peer.socket.send(SENT_AT_ONCE[kind])
        finally:
            daemon.kill(signal.SIGCONT)
        wait_for("some to be ended", lambda: fact(daemon, "limited-memory") > ended + MANY / 2)
    wait_for("the connections' end", lambda: fact(daemon, "held-memory") == 0)


def test_watchers_that_do_not_read_are_ended(budget: Daemon) -> None:
    ended, connections = fact(budget, "limited-memory"), fact(budget, "connections")
    with ExitStack() as stack, budget.connect() as watcher, budget.connect() as writer:
        for _ in range(CROWD):
            assert stack.enter_context(slow_reader(budget)).ask("WATCH w/* v/*").startswith("OK ")
        watcher.ask("WATCH w/*")
        for number in range(100):
            writer.ask(f"SET w/{number} " + "x" * 60_000)
            assert watcher.line().split(" ", 3)[2] == "SET"
        wait_for("some to be ended", lambda: fact(budget, "limited-memory") > ended)
        wait_for("the budget", lambda: fact(budget, "held-memory") <= LIMIT)
        # Closed without a word it could be one that goes on watching.
        assert watcher.ask("UNWATCH").startswith("OK ")
    # Found: those that were ended counted as connections for ever, and at last nobody was let in any more.
    wait_for("the connections' end", lambda: fact(budget, "connections") <= connections)


def test_the_line_that_goes_over_is_refused_and_nothing_of_it_is_done(small: Daemon) -> None:
    with small.connect() as peer, small.connect() as other:
        assert other.ask("SET k v") == "OK 1"
        assert peer.ask("GET k") == "OK v"
        peer.send("SET k " + "x" * 700_000)
        assert peer.line().startswith("ERR limit connections hold more than they may together")
        with suppress(ConnectionError):
            peer.send("\nSET k 2\n")
        assert peer.is_closed()
        assert other.ask("GET k") == "OK v"
        assert small.says("ended the connection of 127.0.0.1:")
        assert fact(small, "limited-memory") == 1


def test_the_request_in_a_transaction_that_goes_over_is_refused_and_nothing_is_done(small: Daemon) -> None:
    with small.connect() as peer, small.connect() as other:
        peer.send("BEGIN\n" + "".join(f"SET k/{number} {'x' * 9000}\n" for number in range(100)) + "COMMIT\n")
        replies = peer.rest()
        assert set(replies[1:-1]) == {"OK queued"}
        assert replies[-1].startswith("ERR limit ")
        # What has arrived and was not looked at yet counts, too.
        assert 40 < len(replies) < 70
        assert other.ask("COUNT") == "OK 0"


def test_what_is_more_than_the_store_may_have_goes_to_it_alone(small: Daemon) -> None:
    """Found: it was refused for ever, and told to try again."""
    with small.connect() as peer, small.connect() as other:
        with stopped_store(small):
            peer.send("SET k " + "x" * 400_000 + "\n")
            wait_for("the store to have it", lambda: fact(small, "held-memory", "clients") >= 400_000)
            assert other.ask("SET l " + "x" * 10_000).startswith("ERR limit the store has as much to do")
            other.send("BEGIN\nSET l " + "x" * 10_000 + "\nNONSENSE\nCOMMIT\n")
            assert other.lines(4)[-1].startswith("ERR aborted ")
        assert peer.line() == "OK 1"
        assert other.ask("SET l " + "x" * 10_000) == "OK 2"
        other.send("BEGIN\n" + "".join(f"SET l/{number} {'x' * 9000}\n" for number in range(40)) + "COMMIT\n")
        assert other.lines(42)[-1] == "OK 42"


@pytest.mark.parametrize("verb", ["WATCH", "SYNC", "FOLLOW -"])
def test_the_watch_that_goes_over_is_refused(small: Daemon, verb: str) -> None:
    with small.connect() as peer:
        peer.send(f"PING\n{verb} " + " ".join(f"{number:0300}*" for number in range(1024)) + "\n")
        assert peer.line() == "OK"
        assert peer.line().startswith("ERR limit ")
        # Found: what had come of it counted on for seconds, and others were refused for it.
        assert fact(small, "held-memory") == 0
        assert peer.is_closed()


def test_a_watch_that_holds_the_most_is_told_where_it_ended(small: Daemon) -> None:
    with small.connect() as watcher, small.connect() as other:
        assert other.ask("SET k v") == "OK 1"
        watcher.send("WATCH k " + " ".join(f"{number:0300}*" for number in range(400)) + "\n")
        assert watcher.line().startswith("OK 1@")
        assert other.ask("SET k w") == "OK 2"
        assert watcher.line().startswith("CHANGE 2@")
        other.send("SET k " + "x" * 250_000)
        last = watcher.line().split(" ")
        assert (last[0], last[1].split("@")[0], last[2]) == ("END", "2", "limit")
        assert watcher.is_closed()
        other.send("\n")
        assert other.line() == "OK 3"


def test_a_watch_whose_client_has_shut_down_its_sending_side_is_told_so_too(small: Daemon) -> None:
    with small.connect() as watcher, small.connect() as other:
        watcher.send("WATCH k " + " ".join(f"{number:0300}*" for number in range(400)) + "\n")
        watcher.socket.shutdown(socket.SHUT_WR)
        assert watcher.line().startswith("OK 0@")
        other.send("SET k " + "x" * 250_000)
        assert watcher.line().startswith("END 0@")
        assert watcher.is_closed()
        other.send("\n")
        assert other.line() == "OK 1"


def test_who_owes_nothing_and_has_asked_is_closed_without_a_word(small: Daemon) -> None:
    with small.connect() as idle, small.connect() as other:
        idle.send("BEGIN\n" + "".join(f"SET k/{number} {'x' * 9000}\n" for number in range(40)))
        assert idle.lines(41)[-1] == "OK queued"
        other.send("SET k " + "x" * 300_000)
        assert idle.is_closed()
        other.send("\n")
        assert other.line() == "OK 1"


def test_replies_that_nobody_reads_end_without_a_word(small: Daemon) -> None:
    with slow_reader(small) as peer, small.connect() as other:
        assert other.ask("SET large " + "x" * 4000) == "OK 1"
        replies_unread(peer)
        assert small.says("ended the connection of 127.0.0.1:")
        assert other.ask("SET k v") == "OK 2"
        received = b""
        with suppress(ConnectionError):
            while data := peer.socket.recv(65536):
                received += data
        assert b"ERR" not in received


def test_each_worker_has_its_share(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--workers", "2", "--connection-memory", "1200KiB")
    with one_each(daemon) as peers:
        for peer in peers:
            peer.send("SET k " + "x" * 700_000)
        assert [peer.line().split(" ")[:2] for peer in peers] == [["ERR", "limit"]] * 2
    assert fact(daemon, "limited-memory") == 2


def test_without_a_budget_everybody_may_hold_as_much_as_before(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--connection-memory", "0")
    with ExitStack() as stack:
        peers = [stack.enter_context(daemon.connect()) for _ in range(10)]
        for peer in peers:
            peer.send("SET k " + "x" * 1_000_000)
        for peer in peers:
            peer.send("\n")
            assert peer.line().startswith("OK ")
