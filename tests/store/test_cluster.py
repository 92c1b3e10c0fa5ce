"""A cluster as the store: what is the same as under Sentinel, and what is looked at besides."""

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.groups import ClusterGroup, Node, running
from tests.support.peers import is_silent
from tests.support.processes import StartDaemon, wait_for
from tests.support.refusals import refusal

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterGroup]:
    with running(ClusterGroup(tmp_path_factory.mktemp("cluster"))) as started:
        yield started


def test_a_cluster_that_cannot_keep_its_word_is_refused(cluster: ClusterGroup) -> None:
    names = ["cluster-allow-replica-migration", "cluster-require-full-coverage"]
    for node, name in zip([cluster.all[0], cluster.all[-1]], names, strict=True):
        node.ask("CONFIG", "SET", name, "yes")
        try:
            assert f"{node.host}:{node.port} has {name} yes" in refusal("--store", cluster.url)
        finally:
            node.ask("CONFIG", "SET", name, "no")


def test_servers_that_are_none_are_refused(cluster: ClusterGroup) -> None:
    node = cluster.nodes[1]
    node.ask("CONFIG", "SET", "appendfsync", "everysec")
    try:
        assert "has appendfsync everysec" in refusal("--store", cluster.url)
    finally:
        node.ask("CONFIG", "SET", "appendfsync", "always")
    assert "replicas that follow its primary: 2, and" in refusal("--store", cluster.url, "--durability", "replica=3")


def test_no_client_sees_an_error_when_a_primary_is_killed(cluster: ClusterGroup, start_daemon: StartDaemon) -> None:
    """One node is enough to know the others by."""
    voter = cluster.all[-1]
    store = ("--store", f"redis+cluster://{voter.host}:{voter.port}")
    daemon, of_replica = start_daemon(*store), start_daemon(*store, "--log-from", "replica")
    first = cluster.primary
    with daemon.connect() as peer, daemon.connect() as watcher, of_replica.connect() as other:
        store_id = watcher.ask("WATCH *").partition("@")[2]
        assert other.ask("WATCH *").endswith(f"@{store_id}")
        assert peer.ask("SET a 1") == "OK 1"
        first.kill()
        peer.send("SET a 2\nINCR n\nGET a\n")
        assert peer.lines(3) == ["OK 2", "OK 1", "OK 2"]
        lines = watcher.lines(3)
        assert other.lines(3) == lines
        assert [line.split()[1] for line in lines] == [f"{n}@{store_id}" for n in (1, 2, 3)]
        assert of_replica.says("the change log is read from the replica")
    assert cluster.primary is not first


def test_nodes_that_were_taken_out_are_neither_waited_for_nor_counted(
    tmp_path: Path, start_daemon: StartDaemon
) -> None:
    with running(ClusterGroup(tmp_path / "cluster")) as cluster:
        strict = start_daemon("--store", cluster.url, "--durability", "replica=all")
        # It is told of one node, which knows the others.
        voter = cluster.all[-1]
        other = start_daemon("--store", f"redis+cluster://{voter.host}:{voter.port}", "--durability", "async")
        primary, *replicas = cluster.nodes
        with strict.connect() as peer, other.connect() as another:
            assert another.ask("SET a 1") == "OK 1"
            take_out(cluster, replicas[1], [primary, replicas[0], *cluster.all[3:]])
            peer.send("SET a 2\n")
            assert is_silent(peer)
            strict.kill(signal.SIGHUP)
            assert peer.line() == "OK 2"
            # Of the three that are left two are most, as two of five are not.
            take_out(cluster, replicas[0], [primary, *cluster.all[3:]])
            cluster.all[3].kill()
            wait_for("the two", lambda: another.ask("GET a") == "OK 2")
            assert another.ask("SET a 3") == "OK 3"


def take_out(cluster: ClusterGroup, node: Node, others: Sequence[Node]) -> None:
    """For good."""
    name = next(words[0] for words in cluster.view(node) if "myself" in words[2])
    node.kill()
    for one in others:
        one.ask("CLUSTER", "FORGET", name)
