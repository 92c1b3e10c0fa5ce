"""Stores that older versions of kvd wrote are taken over whole: real ones, kept in samples/."""

import gzip
import signal
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvd.store.redis.scripts import LAYOUT
from tests.store.samples.make import LARGE, LARGER, RAW
from tests.support.checking import ask_engine, check, is_well
from tests.support.daemons import one_line_error, run_kvd
from tests.support.peers import Peer
from tests.support.processes import Daemon, Redis, StartDaemon, needs, wait_for
from tests.support.text import without_retry

SAMPLES = Path(__file__).parent / "samples"
LAYOUTS = ("1", "2", "3", "4", "5")
DIRECTORIES = ("4", "5")
META = "{kvd}:meta"
TEXTS = {
    "text": "hello world", "ключ": "значение", "late": "kept", "large": LARGER, "number": "42",
    "one": "1", "two": LARGE, "three": "3", **{f"key{number}": f"value {number}" for number in range(16)},
}  # fmt: skip
BYTES = {"bytes": bytes(range(256)), "raw": RAW}
ENDED = ("soon", "lost")


@pytest.fixture(params=LAYOUTS)
def sample(request: pytest.FixtureRequest) -> bytes:
    return gzip.decompress((SAMPLES / f"layout-{request.param}.aof.gz").read_bytes())


@pytest.fixture
def store(tmp_path: Path, sample: bytes) -> Iterator[Redis]:
    """A Redis that has it."""
    needs("redis-server")
    redis = Redis(tmp_path / "redis")
    (redis.directory / "appendonly.aof").write_bytes(sample)
    redis.start()
    yield redis
    redis.stop()


def check_keys(peer: Peer) -> None:
    for key, text in TEXTS.items():
        assert peer.ask(f"GET {key}") == f"OK {text}"
    for key, raw in BYTES.items():
        reply = peer.ask(f"GET {key}")
        assert reply.startswith("OK64 ")
        assert len(reply) >= len(raw)
    for key in (*ENDED, "gone", "empty"):
        assert peer.ask(f"GET {key}") == "NONE"
    assert peer.ask("COUNT") == f"OK {len(TEXTS) + len(BYTES)}"
    for key in ("late", "raw", "three"):
        assert 9 * 10**8 < float(peer.ask(f"TTL {key}").removeprefix("OK ")) <= 10**9


def test_a_store_of_an_older_layout_is_taken_over_with_its_history(start_daemon: StartDaemon, store: Redis) -> None:
    identity = store.cli("HGET", META, "store")
    daemon = start_daemon("--store", store.unix_url)
    with daemon.connect() as peer:
        check_keys(peer)
        wait_for("the ends", lambda: peer.ask("UNWATCH") == f"OK 36@{identity}")
        assert peer.ask(f"RESUME 0@{identity}").startswith("OK ")
        changes = [line.split(" ", 2)[2] for line in peer.lines(36)]
    assert changes[6:9] == [f"SET large {LARGE}", f"SET large {LARGER}", changes[8]]
    assert changes[8].startswith("SET64 raw ")
    assert changes[9] == f"SET lost {LARGE}"
    assert changes[12:18] == ["SET gone 1", "DEL gone", "SET one 1", f"SET two {LARGE}", "SET three 3", "DEL empty"]
    assert changes[18:34] == [f"SET key{number} value {number}" for number in range(16)]
    assert sorted(changes[34:]) == sorted(f"EXPIRE {key}" for key in ENDED)
    assert store.cli("HGET", META, "layout") == "5"
    assert store.cli("EXISTS", "{kvd}:big:before") == "0"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_directory_of_an_older_layout_is_taken_over_and_written_to(
    start_daemon: StartDaemon, tmp_path: Path, sample: bytes, workers: str
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "appendonly.aof").write_bytes(sample)
    daemon = start_daemon("--workers", workers, data=data)
    for number in range(2):
        with daemon.connect() as peer:
            check_keys(peer)
            assert peer.ask("SET large small").startswith("OK ")
            assert peer.ask(f"PUT large = {LARGER}").startswith("OK ")
            assert peer.ask("INCR number").startswith("OK 43")
            assert peer.ask("INCR number -1") == "OK 42"
            assert peer.ask(f"PUT new if=0 ttl=900 = {number}").startswith("OK ")
            assert peer.ask("DEL new").startswith("OK ")
        daemon.stop()
        daemon.start()


@pytest.mark.parametrize("layout", DIRECTORIES)
def test_a_whole_directory_of_an_older_version_is_opened_and_is_whole_then(
    start_daemon: StartDaemon, tmp_path: Path, layout: str
) -> None:
    data = tmp_path / "data"
    with tarfile.open(SAMPLES / f"directory-{layout}.tar.gz") as sample:
        sample.extractall(data, filter="data")
    before = (data / "appendonly.aof").read_bytes()
    if layout == LAYOUT:
        assert is_well(data)
    else:
        done = check(data)
        assert done.returncode == 1
        assert f"its layout is {layout}" in done.stderr
        assert "start kvd on it once" in done.stderr
    assert (data / "appendonly.aof").read_bytes() == before
    daemon = start_daemon(data=data)
    with daemon.connect() as peer:
        check_keys(peer)
    daemon.stop()
    assert "it is a copy" in daemon.log
    assert is_well(data)


def test_a_directory_of_a_newer_layout_is_refused_and_stays_as_it_is(daemon: Daemon) -> None:
    with daemon.connect() as peer:
        assert peer.ask("SET a 1") == "OK 1"
    ask_engine(daemon.data, "HSET", META, "layout", "6")
    assert_ended(daemon, "6")
    before = daemon.append_only_file.read_bytes()
    message = one_line_error(run_kvd("--data", str(daemon.data)))
    assert "its layout is 6, and this kvd works on layout 5" in message
    assert message.endswith("start the newest")  # nothing is to be restored
    assert daemon.append_only_file.read_bytes() == before


def test_a_running_daemon_never_takes_over(start_daemon: StartDaemon, redis: Redis) -> None:
    """Not even when it looks anew at a store that was set back under it."""
    daemon = start_daemon("--store", redis.unix_url)
    with daemon.connect() as peer:
        assert peer.ask("SET a 1") == "OK 1"
        redis.cli("HSET", META, "layout", "3")
        redis.cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert_ended(daemon, "3")
    assert redis.cli("HGET", META, "layout") == "3"
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask("GET a") == "OK 1"
    assert redis.cli("HGET", META, "layout") == "5"


def assert_ended(daemon: Daemon, layout: str) -> None:
    """It ended by itself, with one line that says why."""
    assert daemon.wait() == 1
    (line,) = [line for line in daemon.log.splitlines() if line.startswith("kvd: ")]
    assert line.startswith(f"kvd: the store cannot be used: its layout is {layout}, and this kvd works on layout 5")
    assert "Traceback" not in daemon.log


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("layout", ["4", "6", "5 to 6"])
def test_a_daemon_whose_store_was_taken_over_by_another_version_ends_in_order(
    start_daemon: StartDaemon, redis: Redis, layout: str, workers: str
) -> None:
    daemon = start_daemon("--store", redis.unix_url, "--workers", workers)
    with daemon.connect() as peer, daemon.connect() as watcher:
        assert peer.ask("SET a 1") == "OK 1"
        position = watcher.ask("WATCH").removeprefix("OK ")
        redis.cli("HSET", META, "layout", layout)
        assert [without_retry(line) for line in watcher.rest()] == [f"END {position} shutdown the daemon stops"]
        assert peer.rest() == []
    assert_ended(daemon, layout)
    assert redis.cli("HGET", META, "revision") == "1"


def test_writes_that_such_a_store_refuses_are_certainly_not_done(start_daemon: StartDaemon, redis: Redis) -> None:
    daemon = start_daemon("--store", redis.unix_url)
    with daemon.connect() as peer, socket.create_connection(("127.0.0.1", redis.port)) as other:
        other.sendall(f"AUTH {redis.password}\r\n".encode())
        assert other.recv(100) == b"+OK\r\n"
        assert peer.ask("SET a 1") == "OK 1"
        sets = "".join(f"SET a {number}\n" for number in range(2000))
        # It comes amid them, for the store does nothing before all have come.
        redis.kill(signal.SIGSTOP)
        peer.send(sets + "INCR b\nPUT c ttl=9 = 1\nDEL a\n" * 100)
        other.sendall(f"HSET {META} layout 6\r\n".encode())
        redis.kill(signal.SIGCONT)
        replies = peer.rest()
    assert_ended(daemon, "6")
    done = [reply for reply in replies if reply.startswith("OK ")]
    refused = {reply.partition(":")[0] for reply in replies[len(done) :]}
    assert refused == {"ERR unavailable the store cannot be used"}
    assert redis.cli("HGET", META, "revision") == str(1 + len(done))
