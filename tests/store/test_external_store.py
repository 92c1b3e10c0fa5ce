"""Daemons on a Redis of somebody's own: `kvd --store URL`."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.peers import Peer
from tests.support.processes import ROOT, Redis, StartDaemon, wait_for

pytestmark = pytest.mark.slow


def changes(peer: Peer, count: int) -> list[str]:
    return [line.removeprefix("CHANGE ") for line in peer.lines(count)]


def test_two_daemons_see_each_others_writes_in_the_same_order(start_daemon: StartDaemon, redis: Redis) -> None:
    first = start_daemon("--store", redis.tcp_url)
    second = start_daemon("--store", redis.unix_url)
    with first.connect() as one, second.connect() as two, first.connect() as w1, second.connect() as w2:
        assert w1.ask("WATCH") == w2.ask("WATCH")
        for number in range(100):
            one.send(f"SET from-one {number}\nINCR both\n")
            two.send(f"SET from-two {number}\nINCR both\n")
        ones, twos = one.lines(200), two.lines(200)
        assert all(line.startswith("OK") for line in ones + twos)
        assert sorted(int(line.split()[1]) for line in ones[1::2] + twos[1::2]) == list(range(1, 201))
        seen = changes(w1, 400)
        assert seen == changes(w2, 400)
        assert [int(line.split("@")[0]) for line in seen] == list(range(1, 401))
        assert one.ask("GET from-two") == "OK 99"


def test_a_store_that_goes_away_and_comes_back_leaves_no_gap_in_a_watch(
    start_daemon: StartDaemon, redis: Redis
) -> None:
    daemon = start_daemon("--store", redis.tcp_url)
    with daemon.connect() as peer, daemon.connect() as watcher:
        store = watcher.ask("WATCH").split("@")[1]
        assert peer.ask("SET a 1") == "OK 1"
        redis.kill()
        assert peer.ask("GET a").startswith("ERR unavailable ")
        assert peer.ask("SET a 2").startswith(("ERR unavailable ", "ERR uncertain "))
        assert peer.ask("COUNT").startswith("ERR unavailable ")
        assert peer.ask("INFO").startswith("ERR unavailable ")
        assert peer.ask("PING here") == "OK here"
        redis.start()
        wait_for("the store", lambda: peer.ask("SET b 3").startswith("OK"))
        assert changes(watcher, 2) == [f"1@{store} SET a 1", f"2@{store} SET b 3"]


def test_a_store_that_is_stopped_for_a_while_answers_when_it_goes_on(start_daemon: StartDaemon, redis: Redis) -> None:
    daemon = start_daemon("--store", redis.unix_url)
    with daemon.connect() as peer, daemon.connect() as other:
        assert peer.ask("SET a 1") == "OK 1"
        redis.kill(signal.SIGSTOP)
        peer.send("SET a 2\nGET a\n")
        assert other.ask("PING x") == "OK x"
        redis.kill(signal.SIGCONT)
        assert peer.lines(2) == ["OK 2", "OK 2"]


def test_a_store_that_was_emptied_ends_the_watch_and_begins_anew(start_daemon: StartDaemon, redis: Redis) -> None:
    daemon = start_daemon("--store", redis.unix_url)
    with daemon.connect() as peer, daemon.connect() as watcher:
        store = watcher.ask("WATCH").split("@")[1]
        for number in range(3):
            assert peer.ask("SET a 1") == f"OK {number + 1}"
        assert len(changes(watcher, 3)) == 3
        redis.cli("FLUSHALL")
        wait_for("a new store", lambda: peer.ask("SET b 2").startswith("OK"))
        assert watcher.line().startswith(f"END 3@{store} store ")
        fresh = watcher.ask("WATCH").split("@")[1]
        assert fresh != store
        assert peer.ask("SET c 3").startswith("OK")
        assert changes(watcher, 1)[0].endswith(f"@{fresh} SET c 3")


def test_a_store_that_cannot_be_reached_is_one_clear_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable, "-m", "kvd", "--listen", "127.0.0.1:0",
            "--store", f"unix://{tmp_path}/no.sock", "--store-wait", "0",
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("kvd: cannot reach the store: ")
    assert done.stderr.count("\n") == 1
    assert not (ROOT / "kvd-data").exists()


def test_the_password_is_never_shown(start_daemon: StartDaemon, redis: Redis) -> None:
    daemon = start_daemon("--store", redis.tcp_url, "--log-level", "debug")
    with daemon.connect() as peer:
        redis.kill()
        peer.ask("SET a 1")
        redis.start()
        wait_for("the store", lambda: peer.ask("SET b 3").startswith("OK"))
    daemon.stop()
    assert "lost the store" in daemon.log
    assert "s3cret" not in daemon.log
