"""What INFO tells of how the daemon is doing: of all its processes together, and of this moment."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import psutil
import pytest

from kvd.metrics import METRICS, SHORT, VERBS, Kind
from kvd.verbs import VERBS as TABLE
from tests.support.daemons import one_each
from tests.support.peers import Peer
from tests.support.processes import Daemon, Redis, StartDaemon, wait_for

NUMBERS = [metric for metric in SHORT if metric.kind is not Kind.TEXT]


def facts(peer: Peer) -> dict[str, str]:
    peer.send("INFO\n")
    found = {}
    while (line := peer.line()) != "OK":
        name, value = line.removeprefix("INFO ").split(" ", 1)
        found[name] = value
    return found


def number(peer: Peer, name: str) -> int:
    return int(facts(peer)[name])


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"])
def peers(request: pytest.FixtureRequest, start_daemon: StartDaemon) -> Iterator[tuple[Daemon, list[Peer]]]:
    """A daemon, and a connection to each of its processes that serve."""
    daemon = start_daemon("--workers", f"{request.param}")
    if request.param == 1:
        with daemon.connect() as peer:
            yield daemon, [peer]
    else:
        with one_each(daemon) as found:
            yield daemon, found


def test_each_metric_is_declared_once_and_told() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert all(metric.help.endswith(".") for metric in METRICS)
    assert len({(metric.exposed, metric.mark) for metric in METRICS}) == len(METRICS)
    assert [*VERBS[:-1]] == [name.decode() for name in TABLE]


def test_what_prometheus_is_told_of_a_family_is_said_of_each_of_its_series() -> None:
    """It shows one text for all of them."""
    assert len({(metric.exposed, metric.help) for metric in METRICS}) == len({metric.exposed for metric in METRICS})


def test_whoever_is_asked_tells_of_all_processes(peers: tuple[Daemon, list[Peer]]) -> None:
    daemon, asked = peers
    first, last = asked[0], asked[-1]
    before, requests = number(first, "connections"), number(last, "requests")
    with ExitStack() as stack:
        others = [stack.enter_context(daemon.connect()) for _ in range(10)]
        for other in others:
            assert other.ask("PING") == "OK"
        others[0].ask("WATCH a*")
        others[1].ask("WATCH b*")
        wait_for("both to count", lambda: number(first, "watchers") == 2)  # they are answered a moment before
        for peer in asked:
            found = facts(peer)
            assert all(found[metric.name].isdigit() for metric in NUMBERS)
            assert found["connections"] == f"{before + 10}"
            assert (found["watchers"], found["lagging-watchers"]) == ("2", "0")
        others[0].ask("UNWATCH")
        assert number(first, "watchers") == number(last, "watchers") == 1
        # Else it might be there, and only have shut down its sending side.
        others[1].ask("UNWATCH")
    wait_for("the ends of connections", lambda: number(first, "connections") == before)
    assert number(last, "watchers") == 0
    assert number(first, "requests") > requests + 10


def test_every_request_counts_once(peers: tuple[Daemon, list[Peer]]) -> None:
    """Alone and pipelined; from the cache and from the store; refused, in transactions and in pieces."""
    _, (*_, asking) = peers
    writing = peers[1][0]
    before = number(asking, "requests")
    writing.send("SET a 1\n")
    assert writing.line() == "OK 1"
    writing.send("GET a\n")
    assert writing.line() == "OK 1"
    writing.send("GET a\n" * 20 + "get nope\n" + "SET b 2\n" * 20 + "FROB\nBEGIN\nSET c 3\nCOMMIT\nTTL a\nKEYS\n")
    writing.lines(20 + 1 + 20 + 5)
    assert writing.lines(4) == ["KEY a", "KEY b", "KEY c", "OK 3"]
    writing.send("PUT d ttl=100 = ")
    writing.send("4\nGETS d\n")
    writing.lines(2)
    # With that which asks.
    assert number(asking, "requests") == before + 2 + 20 + 1 + 20 + 6 + 2 + 1


def test_keys_changes_and_times(peers: tuple[Daemon, list[Peer]]) -> None:
    daemon, asked = peers
    peer = asked[0]
    peer.send("SET a 1\nSET b 2\nPUT c ttl=0.001 = 3\nDEL a\n")
    peer.lines(4)
    wait_for("an EXPIRE", lambda: number(peer, "changes") == 5)
    for other in asked:
        found = facts(other)
        assert (found["keys"], found["changes"], found["revision"]) == ("1", "5", "5")
    upon = number(peer, "uptime")
    assert 0 <= upon < 600
    memory = sum(psutil.Process(pid).memory_info().rss for pid in (daemon.pid, *daemon.worker_pids()))
    assert abs(number(peer, "daemon-memory") - memory) < memory / 4
    assert number(peer, "used-memory") > 100_000
    daemon.stop()
    daemon.start()
    with daemon.connect() as peer:
        found = facts(peer)
        assert (found["keys"], found["changes"], found["revision"]) == ("1", "0", "5")
        assert int(found["requests"]) == 1
        assert int(found["uptime"]) <= upon + 60


def test_a_watcher_that_does_not_read_is_catching_up(daemon: Daemon) -> None:
    with daemon.connect() as peer, daemon.connect() as watcher, daemon.connect() as gone:
        watcher.ask("WATCH a")
        gone.ask("WATCH a")
        value = "v" * 1_000_000
        while number(peer, "lagging-watchers") < 2:
            assert peer.ask(f"SET a {value}").startswith("OK ")
        written = int(peer.ask("SET a end").removeprefix("OK "))
        assert number(peer, "watchers") == 2
        gone.socket.shutdown(0)
        gone.socket.close()
        gone.close()
        assert watcher.lines(written)[-1].endswith(" SET a end")
        wait_for("all to have caught up", lambda: facts(peer)["lagging-watchers"] == "0")
        wait_for("the end of a watcher", lambda: facts(peer)["watchers"] == "1")


def test_a_worker_that_is_started_again_holds_nothing_and_has_counted_what_it_did(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--workers", "2")
    with one_each(daemon) as (one, two):
        for peer in (one, two):
            peer.send("PING\n" * 50)
            peer.lines(50)
            peer.ask("WATCH x")
        before = facts(two)
        victim = daemon.worker_pids()[0]
        os.kill(victim, signal.SIGKILL)
        assert one.is_closed()
        wait_for("a new worker", lambda: len(daemon.worker_pids()) == 2 and victim not in daemon.worker_pids())
        wait_for("its connections to be forgotten", lambda: number(two, "watchers") == 1)
        found = facts(two)
        assert int(found["connections"]) < int(before["connections"])
        assert int(found["requests"]) > int(before["requests"])
        assert int(found["daemon-memory"]) > psutil.Process(daemon.pid).memory_info().rss


def test_it_tells_of_a_store_that_is_given(start_daemon: StartDaemon, redis: Redis) -> None:
    daemon = start_daemon("--store", redis.unix_url)
    with daemon.connect() as peer:
        peer.send("SET a 1\n")
        assert peer.line() == "OK 1"
        found = facts(peer)
        assert all(found[metric.name].isdigit() for metric in NUMBERS)
        assert (found["keys"], found["changes"]) == ("1", "1")
        assert "max-memory" not in found
