"""INFO section: every metric, counted by verb and result, and what it must say after what was done."""

import os
import signal
import time
from pathlib import Path

from kvd.certificates import Certificates
from kvd.metrics import METRICS, SECTIONS, VERBS, Kind
from tests.support.daemons import one_each
from tests.support.peers import Peer
from tests.support.processes import PATIENCE, Daemon, StartDaemon, wait_for
from tests.support.tls import PAST, Authority


def section(peer: Peer, name: str) -> dict[str, float]:
    """What is told; 1 for a text."""
    peer.send(f"INFO {name}\n")
    found: dict[str, float] = {}
    while (line := peer.line()) != "OK":
        metric, value = line.removeprefix("INFO ").split(" ", 1)
        found[metric] = 1 if metric in ("engine", "build") else float(value)
    return found


def test_sections_are_parts_of_all_and_every_metric_is_told(daemon: Daemon) -> None:
    with daemon.connect() as peer:
        peer.ask("SET a 1")
        parts = [set(section(peer, name)) for name in SECTIONS]
        assert set().union(*parts[:-1]) == parts[-1]
        plain = {metric.name for metric in METRICS if not (metric.labels or metric.bounds)}
        # There is no certificate.
        assert plain - parts[-1] == {"certificate-expiry"}
        assert peer.ask("INFO clients x").startswith("ERR usage ")


def counted(peer: Peer) -> dict[str, float]:
    found = section(peer, "requests")
    return {name: value for name, value in found.items() if name.endswith(".count") or "refusals." in name}


def test_requests_count_by_verb_and_result(daemon: Daemon) -> None:
    """From the cache and from the store, in chunks and in groups, alone, in transactions, refused and large ones."""
    with daemon.connect() as peer:
        peer.send("SET a 1\n" + "SET a 2\n" * 3)
        peer.lines(4)
        peer.send("GET a\n")
        peer.line()
        peer.send("GET a\n" * 4)
        peer.lines(4)
        peer.send("GET no\nGET a\n")
        peer.lines(2)
        peer.send("get a\nGETS no\nttl a\nPUT b if=7 = x\nPUT b if=0 = x\nINCR b\nDEL no\nDEL no*\nFROB\nSET\n")
        peer.lines(10)
        peer.send("BEGIN\nCHECK no\nCOMMIT\nLIST q*\nHELP\nHELP FROB\nPING\n")
        peer.lines(6 + len(VERBS))
        peer.send("SET big " + "x" * 100_000 + "\nget big\n")
        peer.lines(2)
        assert counted(peer) == {
            "request-duration.set.ok.count": 5, "request-duration.get.ok.count": 8,
            "request-duration.get.none.count": 1, "request-duration.gets.none.count": 1,
            "request-duration.ttl.ok.count": 1, "request-duration.put.conflict.count": 1,
            "request-duration.put.ok.count": 1, "request-duration.incr.error.count": 1,
            "request-duration.del.none.count": 2, "request-duration.other.error.count": 1,
            "request-duration.set.error.count": 1, "request-duration.begin.ok.count": 1,
            "request-duration.check.ok.count": 1, "request-duration.commit.conflict.count": 1,
            "request-duration.list.ok.count": 1, "request-duration.help.ok.count": 1,
            "request-duration.help.error.count": 1, "request-duration.ping.ok.count": 1,
            "refusals.not-a-number": 1, "refusals.unknown-verb": 2, "refusals.usage": 1,
        }  # fmt: skip
        found = section(peer, "requests")
        assert found["request-duration.set.ok.sum"] > 0
        # Also those in which the metrics were asked for.
        assert found["requests"] == sum(value for name, value in found.items() if name.endswith(".count"))


def test_all_processes_are_one_sum(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--workers", "2")
    with one_each(daemon) as (one, two):
        before = section(two, "all")
        one.send("SET a 1\n" * 10)
        one.lines(10)
        two.send("GET a\n" * 10)
        two.lines(10)
        for peer in (one, two):
            found = section(peer, "all")
            assert found["request-duration.set.ok.count"] == found["request-duration.get.ok.count"] == 10
            assert found["received"] - before["received"] > 140
            assert found["sent"] - before["sent"] > 90
            assert found["batch-size.writes.sum"] == 10
            assert found["store-time.writes.count"] == found["batch-size.writes.count"]


def test_watches_end_for_reasons_and_changes_lag(daemon: Daemon) -> None:
    with daemon.connect() as peer, daemon.connect() as watcher:
        watcher.ask("WATCH a")
        with daemon.connect() as other:
            other.ask("WATCH *")
            peer.ask("SET a 1")
            other.line()
        watcher.line()
        watcher.ask("UNWATCH")

        def has_left() -> bool:
            """A client that is gone is known to be when it cannot be sent something."""
            peer.ask("SET a 2")
            return section(peer, "watchers").get("watches-ended.left") == 2

        wait_for("the end of a watch", has_left)
        found = section(peer, "watchers")
        assert found["change-lag.count"] >= 1
        assert found["change-lag.sum"] < 60
        assert "watches-ended.shutdown" not in found


def test_the_store_is_told_of(daemon: Daemon) -> None:
    with daemon.connect() as peer:
        peer.ask("PUT a ttl=0.001 = 1")
        wait_for("an end", lambda: section(peer, "store")["expired"] == 1)
        found = section(peer, "store")
        assert found["expiry-lag.count"] == 1
        assert 0 <= found["expiry-lag.sum"] < PATIENCE
        assert (found["keys"], found["last-revision"], found["history-changes"]) == (0, 2, 2)
        assert (found["history-oldest"], found["sweep-backlog"], found["sweep-lag"]) == (0, 0, 0)
        assert found["store-resident-memory"] > 1_000_000
        os.kill(daemon.redis_pid(), signal.SIGKILL)
        wait_for("the engine", lambda: section(peer, "daemon")["engine-restarts"] == 1)
        wait_for("the store", lambda: section(peer, "store")["store-up"] == 1)


def test_when_a_certificate_expires_is_known(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    past = Certificates(authority.sign("localhost", expired=True)[0].read_bytes(), b"", b"")
    assert past.expiry == PAST.timestamp()
    # Decades away: an end beyond 2049 is written otherwise.
    assert time.time() < Certificates(authority.sign("localhost")[0].read_bytes(), b"", b"").expiry < 2**35
    assert Certificates(b"nothing", b"", b"").expiry == 0


def test_counters_only_grow(daemon: Daemon) -> None:
    counters = {metric.name for metric in METRICS if metric.kind is Kind.COUNTER and not metric.labels}
    with daemon.connect() as peer:
        first = section(peer, "all")
        peer.ask("SET a 1")
        second = section(peer, "all")
        assert all(second[name] >= first[name] for name in counters)
