"""The compose files: their services, started as they stand there, are roots on a store and edges of these."""

from pathlib import Path

import pytest

from tests.support.compose import composed
from tests.support.edges import until_done
from tests.support.processes import StartDaemon, needs


def test_edges_are_a_root_and_its_edges(start_daemon: StartDaemon, tmp_path: Path) -> None:
    with (
        composed("edges.yaml", tmp_path, start_daemon) as daemons,
        daemons["root"].connect() as writer, daemons["edge-1"].connect() as one, daemons["edge-2"].connect() as other,
    ):  # fmt: skip
        assert until_done(one, "WATCH") == until_done(other, "WATCH")
        assert writer.ask("SET a 1") == "OK 1"
        assert one.line() == other.line()
        other.send("SET a 2\n")
        change = one.line()
        assert change.startswith("CHANGE 2@")
        assert sorted(other.lines(2)) == sorted([change, "OK 2"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["compose-sentinel.yaml", "compose-cluster.yaml"])
def test_groups_are_a_store_with_replicas_two_daemons_and_an_edge(
    start_daemon: StartDaemon, tmp_path: Path, name: str
) -> None:
    needs("redis-server")
    with (
        composed(name, tmp_path, start_daemon) as daemons,
        daemons["kvd-1"].connect() as one, daemons["kvd-2"].connect() as other, daemons["edge"].connect() as edge,
    ):  # fmt: skip
        store = until_done(edge, "WATCH *").partition("@")[2]
        assert other.ask("WATCH *") == f"OK 0@{store}"
        assert daemons["kvd-2"].says("the change log is read from the replica")
        assert one.ask("SET a 1") == "OK 1"
        assert [edge.line(), other.line()] == [f"CHANGE 1@{store} SET a 1"] * 2
        assert until_done(edge, "UNWATCH") == f"OK 1@{store}"
        assert edge.ask("SET a 2") == "OK 2"
        assert one.ask("GET a") == "OK 2"
