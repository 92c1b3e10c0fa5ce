"""The connections' memory of an edge, which answers from its copy at once: everybody in the same turn of the loop."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from kvd.edge.reading import LARGE
from kvd.edge.relaying import MOST
from tests.support.held_memory import LIMIT, budget_of, fact, growing_less_than, slow_reader
from tests.support.processes import PATIENCE, Daemon, StartDaemon, wait_for

MANY = 200
KEYS = 512


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon on a store, with keys."""
    with budget_of(0, tmp_path_factory.mktemp("root")) as daemon:
        with daemon.connect() as peer:
            peer.send("SET huge " + "x" * 1_000_000 + "\n")
            peer.send("".join(f"SET k/{number} {'x' * LARGE}\n" for number in range(KEYS)))
            assert peer.lines(KEYS + 1)[-1] == f"OK {KEYS + 1}"
        yield daemon


@pytest.fixture
def edge(root: Daemon, start_daemon: StartDaemon) -> Daemon:
    """An edge of it, whose connections may hold LIMIT."""
    return start_daemon("--follow", root.addr, "--connection-memory", f"{LIMIT}", "--max-stale", f"{PATIENCE}")


READS = {
    "many": "".join(f"GET k/{number}\n" for number in range(KEYS)),
    "many, one by one": "".join(f"gets k/{number}\n" for number in range(KEYS)),
    "a large one": "GET huge\n" * 6,
    "large ones": "gets huge\n" * 6,
    "a listing": "LIST k*\n" * 2,
}


@pytest.mark.parametrize("kind", READS)
def test_replies_that_all_have_at_once_are_counted_as_they_come(kind: str, edge: Daemon) -> None:
    """Found: those of all of them were in memory before any was counted, some megabytes each."""
    with growing_less_than(5 * LIMIT, edge), ExitStack() as stack, edge.connect() as other:
        peers = [stack.enter_context(slow_reader(edge)) for _ in range(MANY)]
        wait_for("all of them", lambda: fact(edge, "connections") > MANY)
        for peer in peers:
            peer.send(READS[kind])
        wait_for("most to be ended", lambda: fact(edge, "limited-memory") > MANY / 2)
        wait_for("the budget", lambda: fact(edge, "held-memory") <= LIMIT)
        assert other.ask("PING") == "OK"
    wait_for("the connections' end", lambda: fact(edge, "held-memory") == 0)


KEY = "k" * 490
WHAT_THE_UPSTREAM_HAS = {
    "how long keys live": "".join(f"TTL {KEY}{number}\n" for number in range(KEYS)),
    "short writes": "".join(f"SET k/{number} v\n" for number in range(KEYS)),
    "values": "SET k " + "x" * 300_000 + "\n",
}


@pytest.mark.parametrize("kind", WHAT_THE_UPSTREAM_HAS)
def test_what_an_upstream_that_stands_still_is_asked_is_counted_and_more_is_refused(
    kind: str, root: Daemon, edge: Daemon
) -> None:
    """Found: TTL was asked there without a limit, and short requests took no room, also of who had gone meanwhile."""
    refused = fact(edge, "limited-requests")
    with growing_less_than(4 * LIMIT, edge), ExitStack() as stack, edge.connect() as other:
        peers = [stack.enter_context(slow_reader(edge)) for _ in range(MANY)]
        wait_for("all of them", lambda: fact(edge, "connections") > MANY)
        root.kill(signal.SIGSTOP)
        try:
            for peer in peers:
                with suppress(ConnectionError):
                    peer.send(WHAT_THE_UPSTREAM_HAS[kind])
                assert other.ask("PING") == "OK"
            wait_for("most to be refused", lambda: fact(edge, "limited-requests") > refused + MANY / 2)
        finally:
            root.kill(signal.SIGCONT)
    wait_for("the upstream to be done", lambda: fact(edge, "held-memory") == 0)


def test_what_is_older_than_an_edge_knows_is_counted_for_who_does_not_read_it(edge: Daemon) -> None:
    """Found: what had come from the upstream was not, some megabytes for each, and was kept after the end of the watch,
    until the garbage collector came."""
    with edge.connect() as other:
        store = other.ask("UNWATCH").partition("@")[2]
    with growing_less_than(5 * LIMIT, edge), ExitStack() as stack, edge.connect() as other:
        peers = [stack.enter_context(slow_reader(edge)) for _ in range(MANY)]
        wait_for("all of them", lambda: fact(edge, "connections") > MANY)
        for peer in peers:
            peer.send(f"RESUME 0@{store} *\n")
        wait_for("most to be ended", lambda: fact(edge, "limited-memory") > MANY / 2)
        wait_for("the budget", lambda: fact(edge, "held-memory") <= LIMIT)
        assert other.ask("PING") == "OK"
    wait_for("the connections' end", lambda: fact(edge, "held-memory") == 0)
    wait_for("the watches' end", lambda: fact(edge, "watchers") == 0)


def test_those_who_do_not_read_what_the_upstream_answers_keep_nobody_out(
    root: Daemon, start_daemon: StartDaemon
) -> None:
    """Found: each had one of the requests that may be asked there at once, for as long as it liked."""
    edge = start_daemon("--follow", root.addr, "--connection-memory", "0", "--max-stale", f"{PATIENCE}")
    with ExitStack() as stack, edge.connect() as other:
        store = other.ask("UNWATCH").partition("@")[2]
        for _ in range(MOST):
            stack.enter_context(slow_reader(edge)).send(f"CHANGES 0@{store} *\n" * 3)
        wait_for("all to be asked", lambda: fact(root, "connections") > MOST)
        assert other.ask("DEL nothing*") == "NONE"
        stack.pop_all().close()
        wait_for("their end", lambda: fact(edge, "connections") == 2)
