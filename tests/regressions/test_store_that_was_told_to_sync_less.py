"""A Redis with `appendfsync always` was told to keep less while it ran, and came back under its old settings.

Its data still said that each write had been on disk before it was acknowledged, so that nobody noticed what it had
lost: a position of that was `ERR future`, and later `OK` with changes missing for ever.
"""

import os
import signal
from pathlib import Path

import pytest

from tests.support.peers import Peer
from tests.support.processes import Daemon, Redis, StartDaemon, wait_for

pytestmark = pytest.mark.slow

META = "{kvd}:meta"


def write(peer: Peer, count: int = 5) -> None:
    for number in range(count):
        assert peer.ask(f"SET k{number} v").startswith("OK ")


def position(peer: Peer) -> str:
    return peer.ask("UNWATCH")[3:]


def file_of(redis: Redis) -> Path:
    files = sorted(redis.directory.rglob("*.incr.aof")) or [redis.directory / "appendonly.aof"]
    return files[-1]


def synced(redis: Redis) -> str:
    return redis.cli("HGET", META, "synced").strip()


def end(daemon: Daemon) -> None:
    daemon.kill()
    daemon.wait()


def assert_another_history(daemon: Daemon, lost: str) -> None:
    with daemon.connect() as peer:
        assert peer.ask(f"RESUME {lost}").startswith("ERR store ")
        write(peer, 10)
        assert peer.ask(f"RESUME {lost}").startswith("ERR store ")


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("setting", ["appendonly no", "appendfsync everysec", "appendfsync no"])
def test_what_was_lost_after_a_store_was_told_to_keep_less_is_noticed(
    start_daemon: StartDaemon, redis: Redis, setting: str, workers: str
) -> None:
    daemon = start_daemon("--store", redis.unix_url, "--workers", workers)
    with daemon.connect() as peer:
        write(peer)
        size = file_of(redis).stat().st_size
        redis.cli("CONFIG", "SET", *setting.split())
        warned = "keeps no append-only file" if "appendonly" in setting else f"({setting})"
        assert daemon.says(warned)
        wait_for("the note", lambda: synced(redis) == "0")
        write(peer)
        lost = position(peer)
    end(daemon)
    redis.kill()
    os.truncate(file_of(redis), size)
    redis.start()
    # Its data do not say it.
    assert synced(redis) == "1"
    assert redis.cli("CONFIG", "GET", "appendonly").split()[1] == "yes"
    daemon.start()
    assert_another_history(daemon, lost)
    # Once.
    with daemon.connect() as peer:
        kept = position(peer)
    end(daemon)
    redis.kill()
    redis.start()
    daemon.start()
    with daemon.connect() as peer:
        assert position(peer) == kept


def test_what_was_lost_of_a_store_that_kept_less_from_the_start_is_noticed(
    start_daemon: StartDaemon, redis: Redis
) -> None:
    daemon = start_daemon("--store", redis.unix_url)
    with daemon.connect() as peer:
        write(peer)
    daemon.stop()
    redis.cli("CONFIG", "SET", "appendonly", "no")
    daemon.start()
    assert daemon.log.count("the store keeps no append-only file") == 1
    with daemon.connect() as peer:
        write(peer)
        lost = position(peer)
    end(daemon)
    redis.kill()
    redis.start()
    daemon.start()
    assert_another_history(daemon, lost)


@pytest.mark.parametrize("setting", ["appendfsync everysec", "appendfsync no"])
def test_where_there_is_no_place_for_a_note_the_data_say_it_if_they_kept_that(
    start_daemon: StartDaemon, redis: Redis, setting: str
) -> None:
    daemon = start_daemon("--store", redis.unix_url, data=None)
    with daemon.connect() as peer:
        write(peer)
        redis.cli("CONFIG", "SET", *setting.split())
        wait_for("the note", lambda: synced(redis) == "0")
        wait_for("the file", lambda: "aof_buffer_length:0" in redis.cli("INFO", "persistence").split())
        size = file_of(redis).stat().st_size
        write(peer)
        lost = position(peer)
    end(daemon)
    redis.kill()
    os.truncate(file_of(redis), size)
    redis.start()
    daemon.start()
    assert_another_history(daemon, lost)


def test_a_setting_that_is_told_no_more_counts_as_everysec(start_daemon: StartDaemon, redis: Redis) -> None:
    daemon = start_daemon("--store", redis.unix_url)
    with daemon.connect() as peer:
        write(peer)
        redis.cli("ACL", "SETUSER", "default", "-config")
        wait_for("the note", lambda: synced(redis) == "0")
        assert daemon.says("does not tell its appendfsync")


@pytest.mark.parametrize(
    ("less", "more"), [("appendonly no", "appendonly yes"), ("appendfsync no", "appendfsync always")]
)
def test_a_store_that_syncs_again_is_trusted_again(
    start_daemon: StartDaemon, redis: Redis, less: str, more: str
) -> None:
    daemon = start_daemon("--store", redis.unix_url)
    with daemon.connect() as peer:
        write(peer)
        for _ in range(2):
            redis.cli("CONFIG", "SET", *less.split())
            wait_for("the note", lambda: synced(redis) == "0" and (daemon.data / "store-unsynced").exists())
            write(peer)
            redis.cli("CONFIG", "SET", *more.split())
            wait_for("the note", lambda: synced(redis) == "1" and not (daemon.data / "store-unsynced").exists())
        write(peer)
        kept = position(peer)
    end(daemon)
    redis.kill(signal.SIGKILL)
    redis.start()
    daemon.start()
    with daemon.connect() as peer:
        assert position(peer) == kept
    assert daemon.log.count("the store acknowledges writes when they are on disk again") == 2
