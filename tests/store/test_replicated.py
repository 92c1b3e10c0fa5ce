"""Failover: three Redis under three Sentinels, with real servers that are killed and stopped."""

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.groups import Node, SentinelGroup, running
from tests.support.peers import is_silent
from tests.support.processes import StartDaemon, wait_for
from tests.support.refusals import refusal


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelGroup]:
    """One that no test leaves with less than all of its servers."""
    with running(SentinelGroup(tmp_path_factory.mktemp("group"))) as started:
        yield started


def test_a_group_that_cannot_keep_its_word_is_refused(group: SentinelGroup) -> None:
    assert "only 0 of 3 Sentinels answer" in refusal(
        "--store", "redis+sentinel://127.0.0.1:1,127.0.0.1:2,127.0.0.1:3/n"
    )
    assert "No such master" in refusal("--store", f"{group.url}x")
    assert "replicas that follow its primary: 2, and" in refusal("--store", group.url, "--durability", "replica=3")
    primary, replica, _ = group.nodes
    for node, name, wrong, right, why in [
        (primary, "appendfsync", "everysec", "always", "has appendfsync everysec"),
        (replica, "appendfsync", "no", "always", "has appendfsync no"),
        (primary, "appendonly", "no", "yes", "no append-only file"),
        (replica, "replica-priority", "10", "100", "different replica-priority"),
    ]:
        node.ask("CONFIG", "SET", name, wrong)
        try:
            assert why in refusal("--store", group.url)
        finally:
            node.ask("CONFIG", "SET", name, right)
    wait_for("all replicas", lambda: group.primary.info("replication")["connected_slaves"] == 2)
    # They ask their replicas once in 10 s, and refuse the group until then.
    wait_for("the Sentinels' views", lambda: all(group.priorities(one) == {"100"} for one in group.sentinels))


def test_what_replicas_lack_is_shown_to_nobody(group: SentinelGroup, start_daemon: StartDaemon) -> None:
    """All of them are stopped: neither OK nor GET, CHANGE, LIST, position or another daemon gives what they lack."""
    one, other = start_daemon("--store", group.url), start_daemon("--store", group.url)
    replicas = [node for node in group.nodes if node is not group.primary]
    with one.connect() as writer, other.connect() as reader, other.connect() as watcher:
        position = writer.ask("SET shown before").split()[1]
        assert reader.ask("GET shown") == "OK before"
        assert watcher.ask("WATCH *").startswith(f"OK {position}@")
        for node in replicas:
            group.pause(node)
        try:
            writer.send("SET shown after\n")
            wait_for("the write", lambda: b"after" in value(group.primary, "shown"))
            reader.send("GET shown\nGET absent\n")
            assert is_silent(reader, watcher, writer)
        finally:
            for node in replicas:
                group.go_on(node)
        assert writer.line() == f"OK {int(position) + 1}"
        assert reader.lines(2) == ["OK after", "NONE"]
        assert watcher.line().startswith(f"CHANGE {int(position) + 1}@")


def test_one_replica_that_is_away_stops_nobody_but_who_wants_all(
    group: SentinelGroup, start_daemon: StartDaemon
) -> None:
    one, all_of_them = (
        start_daemon("--store", group.url),
        start_daemon("--store", group.url, "--durability", "replica=all"),
    )
    away = next(node for node in group.nodes if node is not group.primary)
    with one.connect() as peer, all_of_them.connect() as strict:
        assert strict.ask("SET k 1").startswith("OK ")
        group.pause(away)
        try:
            assert peer.ask("SET one 1").startswith("OK ")
            strict.send("SET two 2\n")
            assert is_silent(strict)
        finally:
            group.go_on(away)
        assert strict.line().startswith("OK ")


def test_a_replica_that_is_gone_for_good_is_waited_for_until_a_hangup_says_so(
    group: SentinelGroup, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon("--store", group.url, "--durability", "replica=all", "--workers", "2")
    gone = next(node for node in group.nodes if node is not group.primary)
    gone.kill()
    try:
        with daemon.connect() as peer:
            reset(group, replicas=1)
            peer.send("SET gone 1\n")
            assert is_silent(peer), "it may be only away"
            daemon.kill(signal.SIGHUP)
            assert peer.line().startswith("OK ")
        assert daemon.says("1 replicas are known, and were 2 before")
    finally:
        primary = group.primary
        gone.start("--replicaof", f"{primary.host} {primary.port}")
    group.wait_for_replicas()
    reset(group, replicas=2)


def reset(group: SentinelGroup, *, replicas: int) -> None:
    """Have the Sentinels forget servers that are away, and see soon those that are there, and each other."""
    group.hurry()
    for node in group.sentinels:
        node.ask("SENTINEL", "RESET", "*")
    wait_for("the Sentinels", lambda: all(group.knows_all(node, replicas) for node in group.sentinels))


def value(node: Node, key: str) -> bytes:
    """The record that a server has of a key."""
    found = node.ask("HGET", "{kvd}:data", key)
    assert isinstance(found, bytes)
    return found


def fail_over(group: SentinelGroup, start_daemon: StartDaemon, *options: str, pause: bool) -> None:
    """Requests are on their way while the primary goes: each is done, none says that it was not."""
    daemon = start_daemon("--store", group.url, *options)
    of_replica = start_daemon("--store", group.url, "--log-from", "replica")
    first = group.primary
    with daemon.connect() as writer, daemon.connect() as watcher, of_replica.connect() as other:
        store = watcher.ask("WATCH *").partition("@")[2]
        assert other.ask("WATCH *").endswith(f"@{store}")
        # A request waits five seconds, of which a busy machine is to have some.
        group.hurry()
        revisions = [int(writer.ask(f"SET before{n} {n}").split()[1]) for n in range(10)]
        if pause:
            group.pause(first)
        else:
            first.kill()
        writer.send("".join(f"SET after{n} {n}\n" for n in range(10)) + "INCR count\nGET after9\n")
        replies = writer.lines(12)
        assert all(reply.startswith("OK ") for reply in replies), replies
        revisions += [int(reply.split()[1]) for reply in replies[:10]]
        assert replies[10:] == ["OK 1", "OK 9"]
        assert group.primary is not first
        lines = watcher.lines(21)
        assert other.lines(21) == lines
        seen = [line.split() for line in lines]
        assert [words[0] for words in seen] == ["CHANGE"] * 21
        # The same history, without a gap.
        assert [words[1] for words in seen] == [f"{n}@{store}" for n in range(revisions[0], revisions[0] + 21)]
        assert revisions == list(range(revisions[0], revisions[0] + 20))
    if pause:
        group.go_on(first)


@pytest.mark.slow
@pytest.mark.parametrize("pause", [False, True], ids=["killed", "stopped"])
def test_no_client_sees_an_error_in_a_failover(tmp_path: Path, start_daemon: StartDaemon, *, pause: bool) -> None:
    with running(SentinelGroup(tmp_path / "group")) as group:
        fail_over(group, start_daemon, pause=pause)


@pytest.mark.slow
def test_after_a_failover_who_has_too_few_replicas_is_told_so(tmp_path: Path, start_daemon: StartDaemon) -> None:
    """The new primary answers, and is not used before as many replicas as were asked for have what it has."""
    with running(SentinelGroup(tmp_path / "group")) as group:
        daemon = start_daemon("--store", group.url, "--durability", "replica=2")
        with daemon.connect() as writer, daemon.connect() as reader:
            assert writer.ask("SET k 1").startswith("OK ")
            group.primary.kill()
            assert daemon.says("waiting for replicas: the primary has 1, and --durability asks for 2")
            told = "ERR unavailable fewer than 2 replicas confirm"
            wait_for("a refusal that says why", lambda: writer.ask("SET k 2").startswith(told))
            assert writer.ask("SET k 2").startswith(told)
            assert reader.ask("GET k") == "OK 1"


@pytest.mark.slow
def test_what_async_lost_is_said(tmp_path: Path, start_daemon: StartDaemon) -> None:
    """The replicas' links are cut before the primary is killed: what it acknowledged meanwhile is gone."""
    with running(SentinelGroup(tmp_path / "group")) as group:
        daemon = start_daemon("--store", group.url, "--durability", "async")
        first, *replicas = group.nodes
        with daemon.connect() as writer, daemon.connect() as watcher:
            store = watcher.ask("WATCH *").partition("@")[2]
            assert writer.ask("SET kept 1") == "OK 1"
            wait_for("replication", lambda: all(node.ask("HGET", "{kvd}:data", "kept") for node in replicas))
            for node in replicas:
                group.pause(node)
            first.ask("CLIENT", "KILL", "TYPE", "replica")
            assert writer.ask("SET lost 1") == "OK 2"
            assert watcher.lines(2)[1].startswith(f"CHANGE 2@{store}")
            group.hurry()
            first.kill()
            for node in replicas:
                group.go_on(node)
            assert watcher.line().startswith(f"END 2@{store} store")
            assert int(writer.ask("SET new 1").split()[1]) > 4 * 10**9
            assert writer.ask("GET lost") == "NONE"
            assert writer.ask("GET kept") == "OK 1"


def test_a_server_that_is_no_primary_is_left(group: SentinelGroup, start_daemon: StartDaemon) -> None:
    """READONLY, or WAIT's UNBLOCKED, is no refusal: what was asked is asked of the primary, as soon as there is one."""
    daemon = start_daemon("--store", group.url)
    first = group.primary
    second = next(node for node in group.nodes if node is not first)
    with daemon.connect() as peer:
        assert peer.ask("SET k 1").startswith("OK ")
        first.ask("REPLICAOF", second.host, second.port)
        peer.send("SET k 2\nGET k\n")
        assert is_silent(peer)
        first.ask("REPLICAOF", "NO", "ONE")
        set_, got = peer.lines(2)
        assert (set_[:3], got) == ("OK ", "OK 2")


def test_a_sentinel_that_hangs_is_no_obstacle(group: SentinelGroup, start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--store", group.url)
    hanging: Node = group.sentinels[0]
    with daemon.connect() as peer:
        hanging.signal(signal.SIGSTOP)
        try:
            assert [peer.ask(f"SET k {n}")[:3] for n in range(20)] == ["OK "] * 20
        finally:
            hanging.signal(signal.SIGCONT)


def test_writes_that_take_no_revision_hold_nothing_up(group: SentinelGroup, start_daemon: StartDaemon) -> None:
    """A daemon that is busy with TOUCH still finds out up to where others' writes are confirmed."""
    busy, other = start_daemon("--store", group.url), start_daemon("--store", group.url)
    stopped = threading.Event()

    def touch() -> None:
        with busy.connect() as peer:
            peer.ask("SET touched 1")
            while not stopped.is_set():
                peer.send("TOUCH touched ttl=100\n" * 64)
                peer.lines(64)

    threads = [threading.Thread(target=touch) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        with other.connect() as writer, busy.connect() as reader:
            for n in range(10):
                assert writer.ask(f"SET seen {n}").startswith("OK ")
                assert reader.ask("GET seen") == f"OK {n}"
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


@pytest.mark.minutes
def test_what_is_not_confirmed_in_time_is_said_and_done_later(group: SentinelGroup, start_daemon: StartDaemon) -> None:
    """Ten seconds after it was sent a write is uncertain; others are refused after five; what is confirmed is read."""
    daemon = start_daemon("--store", group.url)
    replicas = [node for node in group.nodes if node is not group.primary]
    with daemon.connect() as writer, daemon.connect() as late, daemon.connect() as reader:
        assert writer.ask("SET known 1").startswith("OK ")
        for node in replicas:
            group.pause(node)
        try:
            writer.send("SET sent 1\n")
            assert daemon.says("writes wait: 0 replicas have them, and 1 are to")
            assert late.ask("SET refused 1").startswith("ERR unavailable fewer than 1 replicas confirm")
            assert reader.ask("GET known") == "OK 1"
            assert reader.ask("GET sent").startswith("ERR unavailable ")
            assert writer.line().startswith("ERR uncertain too few replicas confirm")
            assert reader.ask("GET known") == "OK 1"
        finally:
            for node in replicas:
                group.go_on(node)
        wait_for("replicas", lambda: writer.ask("SET again 1").startswith("OK "))
        assert (reader.ask("GET sent"), reader.ask("GET refused")) == ("OK 1", "NONE")
