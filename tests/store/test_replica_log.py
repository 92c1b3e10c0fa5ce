"""--log-from replica: watchers are served from replicas, each change once, whatever becomes of these."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.groups import Node, SentinelGroup, running
from tests.support.peers import Peer, is_silent
from tests.support.processes import Daemon, StartDaemon, wait_for

FROM_REPLICA = ("--log-from", "replica")


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelGroup]:
    """One that no test leaves with less than all of its servers."""
    with running(SentinelGroup(tmp_path_factory.mktemp("group"))) as started:
        yield started


@pytest.fixture
def writer(group: SentinelGroup, start_daemon: StartDaemon) -> Iterator[Peer]:
    """At a daemon where nobody watches."""
    with start_daemon("--store", group.url).connect() as peer:
        yield peer


def reads_log(node: Node) -> bool:
    """Whether somebody waits for its change log."""
    found = node.ask("CLIENT", "LIST")
    assert isinstance(found, bytes)
    return b" cmd=xread " in found


def calls(node: Node) -> dict[str, int]:
    """How often it was asked each command, also by scripts."""
    told = node.info("commandstats")
    return {name.removeprefix("cmdstat_"): found["calls"] for name, found in told.items() if isinstance(found, dict)}


def read_replica(group: SentinelGroup) -> Node:
    """The one whose log is read."""
    replicas = [node for node in group.nodes if node is not group.primary]
    wait_for("a reader", lambda: any(map(reads_log, replicas)))
    return next(filter(reads_log, replicas))


class Writing:
    """Writes, and looks whether a watcher is told of each once, in order."""

    def __init__(self, writer: Peer, watcher: Peer) -> None:
        self._writer = writer
        self._watcher = watcher
        self._store = watcher.ask("WATCH *").partition("@")[2]
        self.count = 0

    def write(self, count: int) -> list[str]:
        """Positions."""
        found = []
        for _ in range(count):
            self.count += 1
            found.append(f"{self._writer.ask(f'SET key {self.count}').split()[1]}@{self._store}")
        return found

    def check(self, positions: list[str]) -> None:
        lines = [line.split() for line in self._watcher.lines(len(positions))]
        assert [(words[0], words[1]) for words in lines] == [("CHANGE", position) for position in positions]


def test_readers_cost_the_primary_nothing(group: SentinelGroup, writer: Peer, start_daemon: StartDaemon) -> None:
    with ExitStack() as stack:
        daemons: list[Daemon] = [start_daemon("--store", group.url, *FROM_REPLICA) for _ in range(2)]
        readers = [Writing(writer, stack.enter_context(daemon.connect())) for daemon in daemons]

        def cost_nothing() -> bool:
            """A replica that a pause of the machine has kept from answering is left, and a WAIT asked again."""
            group.primary.ask("CONFIG", "RESETSTAT")
            positions = readers[0].write(50)
            for reader in readers:
                reader.check(positions)
            asked = calls(group.primary)
            # One of each of the writer's own batches.
            return "xread" not in asked and asked["wait"] == 50

        wait_for("50 writes of which the primary was asked nothing by readers", cost_nothing)


def is_spared(primary: Node) -> bool:
    """Whether its scripts are run far less often than there are looks for expired keys, which are ten to each of these.

    A replica that a pause of the machine kept from answering is left for a while: then it is looked at once more.
    """
    primary.ask("CONFIG", "RESETSTAT")
    wait_for("two looks where the primary is", lambda: calls(primary).get("hget", 0) >= 2)
    asked = calls(primary)
    return asked["evalsha"] < 5 * asked["hget"]


def test_a_replica_says_whether_anything_is_due(group: SentinelGroup, start_daemon: StartDaemon) -> None:
    """The look for expired keys, twenty times a second."""
    daemon = start_daemon("--store", group.url, *FROM_REPLICA)
    with daemon.connect() as watcher, daemon.connect() as writer:
        writing = Writing(writer, watcher)
        writing.check(writing.write(1))
        read_replica(group)
        wait_for("two looks where the primary is, and no more of its scripts", lambda: is_spared(group.primary))
        assert writer.ask("PUT brief ttl=0.1 = x").startswith("OK ")
        assert [line.split()[2] for line in watcher.lines(2)] == ["SET", "EXPIRE"]


def test_replicas_that_hang_are_left_for_others_and_those_for_the_primary(
    group: SentinelGroup, start_daemon: StartDaemon
) -> None:
    store = ("--store", group.url, "--durability", "async")
    reader = start_daemon(*store, *FROM_REPLICA)
    with start_daemon(*store).connect() as writer, reader.connect() as watcher:
        writing = Writing(writer, watcher)
        writing.check(writing.write(3))
        hanging = [read_replica(group)]
        try:
            group.pause(hanging[0])
            writing.check(writing.write(3))
            second = next(node for node in group.nodes if node not in (*hanging, group.primary))
            wait_for("the other replica's being read", lambda: reads_log(second))
            hanging.append(second)
            group.pause(second)
            writing.check(writing.write(3))
            assert reader.says("read from the primary, for too few replicas")
        finally:
            for node in hanging:
                group.go_on(node)
        writing.check(writing.write(3))


def test_a_replica_that_dies_is_left_and_back_when_it_is_there_again(
    group: SentinelGroup, writer: Peer, start_daemon: StartDaemon
) -> None:
    with start_daemon("--store", group.url, *FROM_REPLICA).connect() as watcher:
        writing = Writing(writer, watcher)
        node = read_replica(group)
        node.kill()
        try:
            writing.check(writing.write(10))
        finally:
            primary = group.primary
            node.start("--replicaof", f"{primary.host} {primary.port}")
        wait_for("the replica", lambda: primary.info("replication")["connected_slaves"] == 2)
        writing.check(writing.write(10))
        # What is kept apart from the log is read there, too.
        assert writer.ask(f"SET large {'x' * 10_000}").startswith("OK ")
        assert watcher.line().endswith(f" SET large {'x' * 10_000}")


def test_who_wants_all_replicas_to_have_it_waits_for_all_of_them(
    group: SentinelGroup, writer: Peer, start_daemon: StartDaemon
) -> None:
    with start_daemon("--store", group.url, *FROM_REPLICA, "--durability", "replica=all").connect() as watcher:
        writing = Writing(writer, watcher)
        writing.check(writing.write(3))
        node = read_replica(group)
        other = next(one for one in group.nodes if one not in (node, group.primary))
        group.pause(other)
        try:
            positions = writing.write(3)
            assert is_silent(watcher)
        finally:
            group.go_on(other)
        writing.check(positions)


def test_what_a_replica_alone_has_is_shown_to_nobody(
    group: SentinelGroup, writer: Peer, start_daemon: StartDaemon
) -> None:
    """It is made a primary, and written to, behind the back of all."""
    with start_daemon("--store", group.url, *FROM_REPLICA).connect() as watcher:
        writing = Writing(writer, watcher)
        writing.check(writing.write(3))
        node = read_replica(group)
        node.ask("REPLICAOF", "NO", "ONE")
        try:
            with start_daemon("--store", f"redis://{node.host}:{node.port}").connect() as alone:
                assert alone.ask("SET alone 1").startswith("OK ")
            assert is_silent(watcher)
            writing.check(writing.write(3))
        finally:
            node.ask("REPLICAOF", group.primary.host, group.primary.port)
