"""The history had bounds by changes and by bytes only: on a quiet store what was changed a year ago was still told."""

import pytest

from kvd.settings import read
from kvd.store.redis import maintenance
from kvd.store.redis.maintenance import Retention
from tests.support.processes import Daemon, Redis, StartDaemon, wait_for
from tests.support.stores import eventually, put, running, write


def resume(daemon: Daemon, position: str) -> str:
    """The reply, on a connection of its own."""
    with daemon.connect() as peer:
        return peer.ask(f"RESUME {position} *")


@pytest.mark.slow
def test_changes_older_than_the_age_are_no_longer_told(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--history-age", "0.5")
    with daemon.connect() as watcher, daemon.connect() as peer:
        begin = watcher.ask("WATCH *").split()[1]
        for request in ("SET a 1", "PUT b ttl=60 = 2", "DEL a"):
            assert peer.ask(request).startswith("OK ")
        last = watcher.lines(3)[-1].split()[1]
        wait_for("the end of all that is older", lambda: resume(daemon, begin).startswith(f"ERR compacted {last} "))
        # That is, also of the last change; but its position is the store's own.
        with daemon.connect() as other:
            assert other.ask(f"RESUME {last} *") == f"OK {last}"
            assert peer.ask("SET c 3") == "OK 4"
            assert other.line() == f"CHANGE 4@{last.split('@')[1]} SET c 3"
        assert peer.ask("GET b") == "OK 2"


@pytest.mark.slow
def test_without_an_age_they_are_kept(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--history-age", "0")
    with daemon.connect() as peer:
        position = peer.ask("UNWATCH").split()[1]
        assert peer.ask("SET a 1") == "OK 1"
        assert peer.ask(f"RESUME {position} *").startswith("OK ")
        assert peer.line().endswith("SET a 1")


def test_seconds_are_taken_as_everywhere() -> None:
    assert read({"--history-age": "1.5"}, {}).history_age == 1500
    assert read({}, {"KVD_HISTORY_AGE": "3600"}).history_age == 3_600_000
    assert read({}, {}).history_age == 0


@pytest.mark.slow
def test_processes_that_share_a_store_keep_the_same_age(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--workers", "2", KVD_HISTORY_AGE="0.5")
    with daemon.connect() as peer:
        begin = peer.ask("UNWATCH").split()[1]
        assert peer.ask("SET a 1") == "OK 1"
    wait_for("its end", lambda: resume(daemon, begin).startswith("ERR compacted 1@"))


async def test_what_expired_grows_old_too_and_large_values_go_with_it(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "TRIM_INTERVAL", 0.05)
    async with running(redis.unix_url, retention=Retention(age=300)) as store:
        await write(store, put(b"k", b"x" * 5000), put(b"k", b"y"), put(b"soon", ttl=1))

        async def all_is_dropped() -> bool:
            return redis.cli("XLEN", "{kvd}:log") == "0" and (await store.history())[1] == 4

        await eventually(all_is_dropped)
        assert redis.cli("EXISTS", "{kvd}:big", "{kvd}:replaced") == "0"


@pytest.mark.parametrize("newer", [True, False])
async def test_entries_of_a_version_that_noted_no_time(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, newer: bool
) -> None:
    """They are as old as the one after them that notes it, and until there is one they have no age."""
    with monkeypatch.context() as patch:
        patch.setattr(maintenance, "TRIM_INTERVAL", 3600)
        async with running(redis.unix_url) as store:
            await write(store, put(b"a"))
            redis.cli("DEL", "{kvd}:log")
            redis.cli("XADD", "{kvd}:log", "1-0", "tag", "0a1b2c3d:1 2", "ta", "v")
            if newer:
                await write(store, put(b"b"))
    monkeypatch.setattr(maintenance, "TRIM_INTERVAL", 0.05)
    async with running(redis.unix_url, retention=Retention(age=100)) as store:

        async def is_trimmed() -> bool:
            return (await store.history())[1] == 2

        if newer:
            await eventually(is_trimmed)
            return
        for _ in range(10):
            await store._housekeeping._trim_now()
        assert (await store.history())[1] == 0
        await write(store, put(b"b"))
        await eventually(is_trimmed)


async def test_a_trim_of_much_goes_in_steps(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "TRIM_INTERVAL", 3600)
    async with running(redis.unix_url) as store:
        for number in range(120):
            await write(store, *(put(b"k%d" % n, b"%d" % number) for n in range(250)))
    async with running(redis.unix_url, retention=Retention(changes=1000)) as store:
        # Nothing is trimmed before the lane of writes has looked at the store.
        await write(store, put(b"one", b"more"))
        redis.cli("CONFIG", "RESETSTAT")
        await store._housekeeping._trim_now()
        assert (await store.history())[1] == 29_000
        statistics = redis.cli("INFO", "commandstats")
        assert "cmdstat_xtrim:calls=8," in statistics
