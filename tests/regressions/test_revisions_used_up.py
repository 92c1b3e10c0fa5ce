"""Each renewal of the history took 10^12 revisions: after some 9,000 of them the store could never be written again.

A jump now takes 8 * 10^9 at the most.  Where there is no room for one, and where writes themselves have used up all
revisions below 2^53, that is said, and everything but writing goes on.
"""

import signal
import subprocess
from pathlib import Path

import pytest

from kvd.store.redis.scripts import SCRIPTS
from tests.support.peers import Peer
from tests.support.processes import Daemon, Redis, StartDaemon, needs, wait_for

pytestmark = pytest.mark.slow

LIMIT = 2**53
META = "{kvd}:meta"
USED_UP = "its revisions are used up"


def renew(redis: Redis, store: str) -> list[str]:
    """What the script that gives the store another id answers."""
    return redis.cli("EVAL", SCRIPTS["rewind"].decode(), "2", "{kvd}:log", META, store, "other", "", "0").splitlines()


def set_revision(redis: Redis, revision: int) -> None:
    redis.cli("HSET", META, "revision", str(revision), "floor", str(revision))


def test_there_is_room_for_a_million_renewals(start_daemon: StartDaemon, redis: Redis) -> None:
    daemon = start_daemon("--store", redis.unix_url)
    with daemon.connect() as peer:
        store = peer.ask("UNWATCH").split("@")[1]
    daemon.stop()
    for revision in (0, 1, 3_999_999_999, 4_000_000_000, 9_000 * 10**12, 9_000 * 10**12 + 1):
        set_revision(redis, revision)
        redis.cli("HSET", META, "store", store)
        _, jumped = renew(redis, store)
        assert revision + 4 * 10**9 <= int(jumped) <= revision + LIMIT // 10**6
    # Nothing is done where the next would lie beyond.
    set_revision(redis, LIMIT - 4 * 10**9)
    redis.cli("HSET", META, "store", store)
    (refused,) = renew(redis, store)
    assert refused.startswith("SPENT ")
    assert redis.cli("HMGET", META, "store", "revision").splitlines() == [store, str(LIMIT - 4 * 10**9)]


def acknowledged(peer: Peer) -> None:
    for number in range(5):
        assert peer.ask(f"SET k{number} v").startswith("OK")


def test_a_daemon_whose_store_lost_writes_without_room_for_a_jump_refuses_writes_and_answers_reads(
    start_daemon: StartDaemon, redis: Redis
) -> None:
    daemon = start_daemon("--store", redis.unix_url)
    with daemon.connect() as peer, daemon.connect() as watcher:
        acknowledged(peer)
        set_revision(redis, LIMIT - 4 * 10**9)
        assert watcher.ask("WATCH").startswith("OK ")
        assert peer.ask("SET k9 v") == f"OK {LIMIT - 4 * 10**9 + 1}"
        assert watcher.line().endswith("SET k9 v")
        (batch,) = [name for name in redis.cli("HKEYS", META).splitlines() if name.startswith("batch:")]
        redis.cli("HSET", META, batch, "1 1")
        redis.cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        wait_for("the word", lambda: USED_UP in peer.ask("SET a 1"))
        assert peer.ask("SET a 1").startswith(f"ERR unavailable the store cannot be used: {USED_UP}")
        # Each kind of request has a connection of its own, which come back one after the other.
        wait_for("reads", lambda: peer.ask("GET k1") == "OK v")
        assert peer.ask("COUNT") == "OK 6"
        error = f"ERROR kvd.store: writes: the store cannot be used: {USED_UP}"
        wait_for("the log", lambda: daemon.log.count(error) == 1)


def test_a_start_that_needs_a_jump_without_room_for_it_says_so_in_one_line_each_time(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """An embedded store, whose directory was copied."""
    needs("redis-cli")
    daemon = start_daemon()
    with daemon.connect() as peer:
        acknowledged(peer)
        set_embedded_revision(daemon, LIMIT - 4 * 10**9)
    daemon.stop()
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", daemon.data, copy], check=True)
    for _ in range(2):
        with pytest.raises(AssertionError, match=f"kvd: cannot use the store: {USED_UP}.*copy what it holds") as says:
            start_daemon(data=copy)
        # Where there is no revision left, nothing can be restored either.
        assert "restore a backup" not in str(says.value)


def set_embedded_revision(daemon: Daemon, revision: int) -> None:
    """And begin the change log after it."""
    asking = ["redis-cli", "-s", str(daemon.data / "run" / "redis.sock")]
    for command in (
        ["HSET", META, "revision", str(revision), "floor", str(revision)], ["XTRIM", "{kvd}:log", "MAXLEN", "0"]
    ):  # fmt: skip
        subprocess.run([*asking, *command], check=True, capture_output=True)


@pytest.mark.parametrize("left", [0, 2])
def test_writes_beyond_the_last_revision_are_refused_and_the_rest_goes_on(
    start_daemon: StartDaemon, redis: Redis, left: int
) -> None:
    daemon = start_daemon("--store", redis.unix_url)
    with daemon.connect() as peer, daemon.connect() as watcher:
        acknowledged(peer)
        assert peer.ask("PUT k9 ttl=600 = v").startswith("OK")
        set_revision(redis, LIMIT - 1 - left)
        assert watcher.ask("WATCH").startswith(f"OK {LIMIT - 1 - left}@")
        for number in range(left):
            assert peer.ask(f"SET k0 {number}") == f"OK {LIMIT - left + number}"
            assert watcher.line().endswith(f"SET k0 {number}")
        for request in ("SET a 1", "PUT a = 1", "DEL k1", "INCR n", "PUT a ttl=1 = x"):
            assert peer.ask(request).startswith(f"ERR unavailable the store refuses writes: {USED_UP}"), request
        assert peer.ask("BEGIN") == "OK"
        peer.ask("SET b 1")
        assert peer.ask("COMMIT").startswith("ERR unavailable ")
        assert peer.ask("GET k1") == "OK v"
        assert peer.ask("TOUCH k1 ttl=600").startswith("OK")
        # Not sooner, for its end would take a revision where there is one left.
        assert peer.ask("TOUCH k9 ttl=0.1").startswith("OK")
        wait_for("the end of a key", lambda: peer.ask("GET k9") == "NONE")
        assert peer.ask("COUNT") == "OK 5"
        assert peer.ask("PING x") == "OK x"
        assert watcher.ask("PROGRESS 0").startswith("OK")
    daemon.kill(signal.SIGTERM)
    assert daemon.wait() == 0
    daemon.start()
    with daemon.connect() as peer:
        assert USED_UP in peer.ask("SET a 1")
        assert peer.ask("GET k1") == "OK v"
