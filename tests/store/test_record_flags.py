"""Flags of records that this version does not know: it passes over them, and INCR and TOUCH keep them."""

import time

import pytest

from kvd.store.redis.records import unpack
from tests.support.peers import Peer
from tests.support.processes import Daemon, Redis, StartDaemon

FLAGS = ";qapp/leader", ";q", ";xa%3Bb%25;yключ;z1"
LARGE = "x" * 5000


@pytest.fixture
def served(start_daemon: StartDaemon, redis: Redis) -> Daemon:
    """A daemon on a store with ten revisions."""
    daemon = start_daemon("--store", redis.unix_url)
    with daemon.connect() as peer:
        peer.send("".join(f"SET old{number} v\n" for number in range(10)))
        peer.lines(10)
    return daemon


def put(redis: Redis, key: str, record: str, deadline: int = 0) -> None:
    """Write a record as a later version may."""
    redis.cli("HSET", "{kvd}:data", key, record)
    redis.cli("ZADD", "{kvd}:index", "0", key)
    if deadline:
        redis.cli("ZADD", "{kvd}:ttl", str(deadline), key)


def raw(redis: Redis, key: str) -> str:
    return redis.cli("HGET", "{kvd}:data", key)


def copy_of(peer: Peer) -> list[str]:
    peer.send("SYNC k*\n")
    lines = [peer.line()]
    while not lines[-1].startswith("OK "):
        lines.append(peer.line())
    return lines[:-1]


@pytest.mark.parametrize("flags", FLAGS)
def test_every_reader_passes_over_them(redis: Redis, served: Daemon, flags: str) -> None:
    later = int(time.time() * 1000) + 3_600_000
    redis.cli("HSET", "{kvd}:big", "4", LARGE)
    put(redis, "k1", f"1 0 t{flags} a  text; with")
    put(redis, "k2", f"2 0 b{flags} \x01")
    put(redis, "k3", f"3 {later} t{flags} ", later)
    put(redis, "k4", f"4 0 T{flags} 5000")
    with served.connect() as peer:
        expected = ["PAIR 1 k1 a  text; with", "PAIR64 2 k2 AQ==", "PAIR 3 k3 ", f"PAIR 4 k4 {LARGE}"]
        peer.send("LIST k*\n")
        assert peer.lines(4) == expected
        assert peer.line().startswith("OK ")
        assert copy_of(peer) == expected
        assert [peer.ask(f"GETS k{number}") for number in (1, 2, 3, 4)] == [
            "OK 1 a  text; with", "OK64 2 AQ==", "OK 3 ", f"OK 4 {LARGE}"
        ]  # fmt: skip
        assert peer.ask("GET k1") == "OK a  text; with"
        assert peer.ask("TTL k1") == "OK -"
        assert peer.ask("TTL k3").startswith("OK 35")
        assert peer.ask("COUNT k*") == "OK 4"


@pytest.mark.parametrize("flags", FLAGS)
def test_incr_and_touch_keep_them_and_all_else_drops_them(redis: Redis, served: Daemon, flags: str) -> None:
    with served.connect() as peer:
        put(redis, "n", f"1 0 t{flags} 41")
        assert peer.ask("INCR n") == "OK 42"
        assert raw(redis, "n") == f"11 0 t{flags} 42"
        assert peer.ask("TOUCH n ttl=3600") == "OK"
        revision, deadline, rest = raw(redis, "n").split(" ", 2)
        assert (revision, rest) == ("11", f"t{flags} 42")
        assert redis.cli("ZSCORE", "{kvd}:ttl", "n") == deadline
        assert peer.ask("INCR n 1") == "OK 43"
        assert raw(redis, "n") == f"12 {deadline} t{flags} 43"
        assert peer.ask("TOUCH n ttl=-") == "OK"
        assert raw(redis, "n") == f"12 0 t{flags} 43"
        redis.cli("HSET", "{kvd}:big", "4", LARGE)
        put(redis, "large", f"4 0 T{flags} 5000")
        assert peer.ask("TOUCH large ttl=3600") == "OK"
        assert raw(redis, "large").split(" ", 2)[2] == f"T{flags} 5000"
        assert peer.ask("GET large") == f"OK {LARGE}"
        assert peer.ask("INCR large").startswith("ERR not-a-number ")
        for request in ("SET n 1", "PUT n = 2", "PUT n ttl=900 = 3", "PUT n if=11 base64 = AA=="):
            put(redis, "n", f"11 0 t{flags} 43")
            assert peer.ask(request).startswith("OK ")
            assert ";" not in raw(redis, "n")
        put(redis, "n", f"11 0 t{flags} 43")
        assert peer.ask("DEL n if=11").startswith("OK ")
        assert peer.ask("INCR n") == "OK 1"
        assert ";" not in raw(redis, "n")
        assert peer.ask("SET large small").startswith("OK ")
        assert redis.cli("ZRANGE", "{kvd}:replaced", "0", "-1") + redis.cli("HKEYS", "{kvd}:big") != ""


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("request_", ["", "SET k new", "INCR k", "PUT k ttl=900 = new", "DEL k", "TOUCH k ttl=900"])
def test_keys_that_have_them_expire(redis: Redis, served: Daemon, flags: str, request_: str) -> None:
    """By the sweep, and by a write, which the sweep cannot forestall here: it is another daemon's turn."""
    over = int(time.time() * 1000) - 1
    if request_:
        redis.cli("HSET", "{kvd}:meta", "sweep", f"ff {over + 3_600_000}")
    with served.connect() as peer, served.connect() as watcher:
        assert watcher.ask("WATCH k").startswith("OK ")
        put(redis, "k", f"1 {over} t{flags} 5", over)
        reply = peer.ask(request_) if request_ else ""
        assert watcher.line().endswith(" EXPIRE k")
        assert peer.ask("GET k") == {"S": "OK new", "I": "OK 1", "P": "OK new"}.get(request_[:1], "NONE")
        assert (reply == "NONE") == (request_[:1] in ("D", "T"))
        assert ";" not in raw(redis, "k")


@pytest.mark.parametrize(("kind", "letter"), [(b"t", b"t"), (b"b", b"b"), (b"T", b"t"), (b"B", b"b")])
def test_a_record_is_unpacked_without_them(kind: bytes, letter: bytes) -> None:
    for flags in (b"", b";oa", b";o;x%3B"):
        record = unpack(b"12 34 " + kind + flags + b" v w", b"value")
        assert record[:3] == (b"12", b"34", letter)
        assert record.value == (b"v w" if kind == letter else b"value")
