"""Watchers whose lines are made for each of them alone hold no more together than the budget lets them."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support import tls
from tests.support.held_memory import LIMIT, budget_of, fact, growing_less_than, slow_reader
from tests.support.http_client import ask
from tests.support.http_client import port_of as http_port_of
from tests.support.peers import Peer
from tests.support.processes import Daemon, wait_for
from tests.support.tls import Authority

MANY = 60
"""Watchers that would hold some seven times as much."""
LITTLE = 2000
"""Bytes of which one who has read everything holds less."""
TRANSACTION = b"BEGIN\n" + b"".join(b"SET w/%d %b\n" % (number, b"x" * 9000) for number in range(100)) + b"COMMIT\n"
EVENTS = b"GET /v1/watch?pattern=w*&pattern=v* HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def budget(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Daemon]:
    """A daemon whose connections may hold LIMIT."""
    listeners = [*tls.options(authority.sign(tls.HOST)), "--http", "127.0.0.1:0"]
    with budget_of(LIMIT, tmp_path_factory.mktemp("budget"), *listeners) as daemon:
        yield daemon


def by_tls(stack: ExitStack, daemon: Daemon, authority: Authority) -> None:
    raw = stack.enter_context(slow_reader(daemon, tls.port_of(daemon))).socket
    peer = Peer(stack.enter_context(authority.client().wrap_socket(raw, server_hostname=tls.HOST)))
    stack.callback(peer.close)
    assert peer.ask("WATCH w* v*").startswith("OK ")


def by_events(stack: ExitStack, daemon: Daemon, _: Authority) -> None:
    peer = stack.enter_context(slow_reader(daemon, http_port_of(daemon)))
    assert peer.ask(EVENTS) == "HTTP/1.1 200 OK\r"


def of_several_patterns(stack: ExitStack, daemon: Daemon, _: Authority) -> None:
    assert stack.enter_context(slow_reader(daemon)).ask("WATCH w* v*").startswith("OK ")


def held(peer: Peer) -> list[int]:
    """What each watcher holds."""
    peer.send("CLIENTS\n")
    clients = list(iter(lambda: line if (line := peer.line()).startswith("CLIENT ") else "", ""))
    return [int(size) for line in clients if " watch=" in line for size in re.findall(r" held=(\d+)", line)]


def ended_for_a_limit(daemon: Daemon) -> int:
    """How many watches were."""
    found = re.search(r'^kvd_watches_ended_total\{reason="limit"\} (\d+)', ask(daemon, "/metrics").body.decode(), re.M)
    assert found
    return int(found[1])


@pytest.mark.parametrize("watch", [by_tls, by_events, of_several_patterns])
def test_what_is_too_much_for_all_watchers_at_once_comes_to_them_one_by_one(
    watch: Callable[[ExitStack, Daemon, Authority], None], budget: Daemon, authority: Authority
) -> None:
    """Found: each had a copy of it before any of them was counted."""
    ended, counted = fact(budget, "limited-memory"), ended_for_a_limit(budget)
    with (
        ExitStack() as stack, budget.connect() as writer,
        tls.connect(tls.port_of(budget), authority.client()) as reader,
    ):  # fmt: skip
        assert reader.ask("WATCH w* v*").startswith("OK ")
        for _ in range(MANY):
            watch(stack, budget, authority)
        # Until their kernels are full, and what comes next is held.
        while sum(size > LITTLE for size in held(writer)) < MANY * 0.8:
            assert writer.ask(b"SET v " + b"x" * 30_000).startswith("OK ")
            assert reader.line().split(" ")[2:4] == ["SET", "v"]
        with growing_less_than(3 * LIMIT, budget):
            writer.send(TRANSACTION)
            assert writer.lines(102)[-1].startswith("OK ")
            assert [line.split(" ")[3] for line in reader.lines(100)] == [f"w/{number}" for number in range(100)]
            wait_for("some to be ended", lambda: fact(budget, "limited-memory") > ended + MANY / 2)
            wait_for("the budget", lambda: fact(budget, "held-memory") <= LIMIT)
        assert reader.ask("PING") == "OK"
    wait_for("the connections' end", lambda: fact(budget, "held-memory") == 0)
    # Each was cut, as none of them read: that is no watch that was left.
    assert ended_for_a_limit(budget) - counted == fact(budget, "limited-memory") - ended
