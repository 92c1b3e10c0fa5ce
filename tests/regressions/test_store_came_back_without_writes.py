"""A Redis with `appendfsync everysec` came back without acknowledged writes, and the daemon was started anew as well.

Nobody noticed: the store kept its id, a position of what was lost was `ERR future`, and a little later `OK` with
changes missing for ever (traefik 12965, redis 6062).  Another run of the engine is now another history, unless each
write was on disk before it was acknowledged, or all who wrote last find what they know.
"""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.peers import Peer
from tests.support.processes import Daemon, Redis, StartDaemon, needs, wait_for

pytestmark = pytest.mark.slow

StartRedis = Callable[..., Redis]


@pytest.fixture
def start_redis(tmp_path: Path) -> Iterator[StartRedis]:
    """Starts a Redis with options; it is ended when the daemons are."""
    needs("redis-server")
    started: list[Redis] = []

    def start(*options: str) -> Redis:
        server = Redis(tmp_path / "redis", *options)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()


EVERYSEC = ("--appendfsync", "everysec")


def file_of(redis: Redis) -> Path:
    """The append-only file that grows."""
    files = sorted(redis.directory.rglob("*.incr.aof")) or [redis.directory / "appendonly.aof"]
    return files[-1]


def written(redis: Redis) -> int:
    """The size of the file once all is in it: with everysec a write may wait for a sync."""
    wait_for("the file", lambda: "aof_buffer_length:0" in redis.cli("INFO", "persistence").split())
    return file_of(redis).stat().st_size


def cut(redis: Redis, size: int) -> None:
    """As a power failure does."""
    os.truncate(file_of(redis), size)


def write(peer: Peer, count: int = 5) -> None:
    for number in range(count):
        assert peer.ask(f"SET k{number} v").startswith("OK ")


def position(peer: Peer) -> str:
    return peer.ask("UNWATCH")[3:]


def end(daemon: Daemon) -> None:
    daemon.kill()
    daemon.wait()


def lose_the_end(daemon: Daemon, redis: Redis) -> str:
    """Write, and lose the last of it together with the daemon and its store; a position of what was lost."""
    with daemon.connect() as peer:
        write(peer)
        size = written(redis)
        write(peer)
        lost = position(peer)
    end(daemon)
    redis.kill()
    cut(redis, size)
    return lost


def assert_another_history(daemon: Daemon, lost: str) -> None:
    with daemon.connect() as peer:
        assert peer.ask(f"RESUME {lost}").startswith("ERR store ")
        write(peer, 10)
        assert peer.ask(f"RESUME {lost}").startswith("ERR store ")
        revision, store = position(peer).split("@")
        assert store != lost.split("@")[1]
        assert int(revision) > 4 * 10**9


@pytest.mark.parametrize(
    "options", [EVERYSEC, ("--appendfsync", "no"), (*EVERYSEC, "--rename-command", "CONFIG", "")], ids=" ".join
)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_store_that_lost_its_end_together_with_the_daemon_has_another_history(
    start_daemon: StartDaemon, start_redis: StartRedis, options: tuple[str, ...], workers: str
) -> None:
    redis = start_redis(*options)
    daemon = start_daemon("--store", redis.unix_url, "--workers", workers)
    warned = "does not tell its appendfsync" if "CONFIG" in options else f"(appendfsync {options[1]})"
    wait_for("the warning", lambda: warned in daemon.log)
    assert daemon.log.count(warned) == 1
    assert daemon.log.count("appendfsync always") == 1
    lost = lose_the_end(daemon, redis)
    redis.start()
    daemon.start()
    assert_another_history(daemon, lost)
    wait_for("the reason", lambda: "the history is taken for another" in daemon.log)


def test_a_promoted_replica_may_lack_writes_whatever_it_syncs(
    start_daemon: StartDaemon, start_redis: StartRedis, tmp_path: Path
) -> None:
    first = start_redis()
    daemon = start_daemon("--store", first.tcp_url)
    replica = Redis(
        tmp_path / "replica", "--replicaof", "127.0.0.1", str(first.port), "--masterauth", first.password,
        "--repl-diskless-sync-delay", "0",
    )  # fmt: skip
    replica.start()
    try:
        with daemon.connect() as peer:
            write(peer)
            wait_for("the replica", lambda: replica.cli("HGET", "{kvd}:meta", "revision") == "5")
            replica.kill(signal.SIGSTOP)
            write(peer)
            lost = position(peer)
        end(daemon)
        first.kill()
        replica.kill(signal.SIGCONT)
        replica.cli("REPLICAOF", "NO", "ONE")
        successor = start_daemon("--store", replica.tcp_url)
        assert_another_history(successor, lost)
        successor.stop()
    finally:
        replica.stop()


def test_with_appendfsync_always_a_crash_of_all_keeps_the_history(
    start_daemon: StartDaemon, start_redis: StartRedis
) -> None:
    redis = start_redis()
    daemon = start_daemon("--store", redis.unix_url)
    with daemon.connect() as peer:
        start = position(peer)
        write(peer)
    end(daemon)
    redis.kill()
    redis.start()
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask(f"RESUME {start}") == f"OK {start}"
        assert len(peer.lines(5)) == 5
    assert "WARNING" not in daemon.log


def test_a_setting_that_was_everysec_when_writes_were_lost_counts_not_the_one_of_now(
    start_daemon: StartDaemon, start_redis: StartRedis
) -> None:
    redis = start_redis()
    redis.cli("CONFIG", "SET", "appendfsync", "everysec")
    daemon = start_daemon("--store", redis.unix_url)
    lost = lose_the_end(daemon, redis)
    redis.start()
    assert redis.cli("CONFIG", "GET", "appendfsync").split() == ["appendfsync", "always"]
    daemon.start()
    assert_another_history(daemon, lost)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("daemons", [1, 2])
def test_a_restart_of_a_store_that_lost_nothing_ends_no_watch(
    start_daemon: StartDaemon, start_redis: StartRedis, number: int, daemons: int
) -> None:
    """Also that of a daemon that only reads; but one that comes back too late is taken for gone."""
    redis = start_redis(*EVERYSEC)
    started = [start_daemon("--store", redis.unix_url, data=None) for _ in range(daemons)]
    reader = start_daemon("--store", redis.unix_url)

    def too_late() -> int:
        return sum(daemon.log.count("a daemon that wrote to it before is gone") for daemon in (reader, *started))

    with reader.connect() as watcher:

        def ends_no_watch() -> bool:
            began, store = watcher.ask("WATCH").removeprefix("OK ").split("@")
            for daemon in started:
                with daemon.connect() as peer:
                    write(peer)
            assert len(watcher.lines(5 * daemons)) == 5 * daemons
            written(redis)
            late = too_late()
            redis.kill(number)
            redis.start()
            for count, daemon in enumerate(started, 1):
                with daemon.connect() as peer:
                    wait_for("the store", lambda peer=peer: peer.ask("SET after v").startswith("OK"))
                    line = watcher.line()
                    if line.startswith("END "):
                        wait_for("its reason", lambda: too_late() > late)
                        return False
                    assert line == f"CHANGE {int(began) + 5 * daemons + count}@{store} SET after v"
            return True

        wait_for("all to be back in time", ends_no_watch)


def test_who_wrote_before_the_history_was_renewed_is_asked_for_no_more(
    start_daemon: StartDaemon, start_redis: StartRedis
) -> None:
    """One more start of the store within minutes cost one more renewal, and three seconds without writes."""
    redis = start_redis(*EVERYSEC)
    daemon = start_daemon("--store", redis.unix_url)
    lose_the_end(daemon, redis)
    redis.start()
    daemon.start()
    with daemon.connect() as peer:
        write(peer)
        kept = position(peer)
        redis.stop()
        redis.start()
        wait_for("writes", lambda: peer.ask("SET again v").startswith("OK "))
        assert peer.ask(f"RESUME {kept}").startswith("OK ")
    assert daemon.log.count("another") == 1


def test_an_end_in_order_of_all_keeps_the_history_where_there_is_a_place_for_a_note(
    start_daemon: StartDaemon, start_redis: StartRedis
) -> None:
    """The daemon was started with --data beside --store."""
    redis = start_redis(*EVERYSEC)
    daemon = start_daemon("--store", redis.unix_url, "--workers", "2")
    with daemon.connect() as peer:
        start = position(peer)
        write(peer)
    for _ in range(2):
        daemon.stop()
        assert (daemon.data / "store-end").stat().st_mode & 0o777 == 0o600
        redis.stop()
        redis.start()
        daemon.start()
        assert not (daemon.data / "store-end").exists()
        with daemon.connect() as peer:
            assert peer.ask(f"RESUME {start}") == f"OK {start}"
            assert len(peer.lines(5)) == 5


def test_what_was_lost_behind_an_end_in_order_is_noticed(start_daemon: StartDaemon, start_redis: StartRedis) -> None:
    redis = start_redis(*EVERYSEC)
    daemon = start_daemon("--store", redis.unix_url)
    with daemon.connect() as peer:
        write(peer)
        size = written(redis)
        write(peer)
        lost = position(peer)
    daemon.stop()
    redis.kill()
    cut(redis, size)
    redis.start()
    daemon.start()
    assert_another_history(daemon, lost)


def test_a_daemon_that_lives_does_not_vouch_for_one_that_is_gone(
    start_daemon: StartDaemon, start_redis: StartRedis
) -> None:
    redis = start_redis(*EVERYSEC)
    living, gone = (start_daemon("--store", redis.unix_url) for _ in range(2))
    with living.connect() as one, living.connect() as watcher, gone.connect() as two:
        watcher.ask("WATCH")
        write(one)
        write(two)
        assert len(watcher.lines(10)) == 10
        size = written(redis)
        watcher.ask("UNWATCH")
        watcher.close()
        write(two)
        lost = position(two)
    end(gone)
    redis.kill()
    cut(redis, size)
    redis.start()
    with living.connect() as one:
        wait_for("the store", lambda: one.ask("SET after v").startswith("OK"))
    assert_another_history(living, lost)
    gone.start()
    assert_another_history(gone, lost)


def test_a_daemon_that_finds_its_own_writes_waits_for_another_that_does_not(
    start_daemon: StartDaemon, start_redis: StartRedis
) -> None:
    """Both live; only the last writes of one are lost."""
    redis = start_redis(*EVERYSEC)
    first, second = (start_daemon("--store", redis.unix_url) for _ in range(2))
    with first.connect() as one, second.connect() as two, first.connect() as watcher:
        store = watcher.ask("WATCH").split("@")[1]
        write(one)
        write(two)
        size = written(redis)
        write(two)
        assert len(watcher.lines(15)) == 15
        redis.kill()
        cut(redis, size)
        redis.start()
        assert watcher.line().startswith(f"END 15@{store} store ")
        wait_for("the store", lambda: one.ask("SET after v").startswith("OK"))
        assert int(position(one).split("@")[0]) > 4 * 10**9
        assert two.ask(f"RESUME 15@{store}").startswith("ERR store ")


def test_a_loss_that_several_notice_renews_the_history_once(start_daemon: StartDaemon, start_redis: StartRedis) -> None:
    """Once it was thrice: by the first one's watches, by its writes, and by the other one; each ended watches."""
    redis = start_redis(*EVERYSEC)
    first, second = (start_daemon("--store", redis.unix_url) for _ in range(2))
    with first.connect() as one, second.connect() as two, first.connect() as watcher:
        store = watcher.ask("WATCH").split("@")[1]
        write(one)
        write(two)
        size = written(redis)
        write(one)
        write(two)
        assert len(watcher.lines(20)) == 20
        redis.kill()
        cut(redis, size)
        redis.start()
        assert watcher.line().startswith(f"END 20@{store} store ")
        for peer, daemon in ((one, first), (two, second)):
            wait_for("writes", lambda peer=peer: peer.ask("SET after v").startswith("OK "))
            assert "it knows 5, not 10" in daemon.log, "each says what it has lost"
        assert [int(position(peer).split("@")[0]) for peer in (one, two)] == [8 * 10**9 + 2] * 2

        # Who has gone on in the new history is asked for what it wrote there, as before.
        size = written(redis)
        renewed = position(one)
        write(two)
        redis.kill()
        cut(redis, size)
        redis.start()
        wait_for("writes", lambda: two.ask("SET after v").startswith("OK "))
        wait_for("the other one's writes", lambda: one.ask("SET after v").startswith("OK "))
        assert one.ask(f"RESUME {renewed}").startswith("ERR store ")


def test_who_has_yet_to_learn_that_the_history_was_renewed_writes_nothing_to_it(
    start_daemon: StartDaemon, start_redis: StartRedis
) -> None:
    """What it then lost of its writes it would take for lost before."""
    redis = start_redis(*EVERYSEC)
    daemon = start_daemon("--store", redis.unix_url)
    with daemon.connect() as peer:
        write(peer)
        before = position(peer)
        (field,) = [name for name in redis.cli("HKEYS", "{kvd}:meta").split() if name.startswith("batch:")]
        number, seen = redis.cli("HGET", "{kvd}:meta", field).split()
        redis.cli("HSET", "{kvd}:meta", "store", "0badcafe", "revision", str(8 * 10**9), field, f"{number} left {seen}")
        wait_for("writes", lambda: peer.ask("SET after v").startswith("OK "))
        wait_for("a new connection", lambda: "FENCED" in daemon.log)
        assert peer.ask(f"RESUME {before}").startswith("ERR store ")


@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_an_embedded_store_keeps_its_history_over_a_restart_in_order(start_daemon: StartDaemon, fsync: str) -> None:
    daemon = start_daemon("--fsync", fsync, "--workers", "2")
    with daemon.connect() as peer:
        start = position(peer)
        write(peer)
    daemon.stop()
    daemon.start()
    with daemon.connect() as peer, daemon.connect() as writer:
        assert peer.ask(f"RESUME {start}") == f"OK {start}"
        assert len(peer.lines(5)) == 5
        # Nor does a crash of the engine alone, which loses nothing that was acknowledged since.
        os.kill(daemon.redis_pid(), signal.SIGKILL)
        wait_for("the store", lambda: writer.ask("SET after v").startswith("OK"))
        assert peer.line().endswith(f"@{start.split('@')[1]} SET after v")
    assert "taken for another" not in daemon.log


@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_a_store_that_an_earlier_version_left_goes_on_if_it_syncs_always(
    start_daemon: StartDaemon, start_redis: StartRedis, fsync: str
) -> None:
    redis = start_redis("--appendfsync", fsync)
    daemon = start_daemon("--store", redis.unix_url)
    with daemon.connect() as peer:
        write(peer)
        before = position(peer)
    end(daemon)
    redis.cli("HDEL", "{kvd}:meta", "run", "synced")
    daemon.start()
    with daemon.connect() as peer:
        assert (position(peer) == before) == (fsync == "always")
