"""A daemon with `--store` that was started a moment before its Redis ended with exit status 1.

It waits for the store, says so once, and does not listen meanwhile.  What waiting does not mend is refused at once.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.ports import quiet_port
from tests.support.processes import PATIENCE, ROOT, Redis, needs, wait_for

pytestmark = pytest.mark.slow

ARGUMENTS = [sys.executable, "-m", "kvd", "--store"]
WAITING = "the store is unreachable: "


class Waiting:
    """A daemon that may not listen yet; `log` and `greeting` are what it has said."""

    def __init__(self, url: str, *options: str) -> None:
        self.port = quiet_port()
        self.process = subprocess.Popen(
            [*ARGUMENTS, url, "--listen", f"127.0.0.1:{self.port}", *options],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.log = self.greeting = ""
        self._readers = [threading.Thread(target=read) for read in (self._read_log, self._read_greeting)]
        for reader in self._readers:
            reader.start()

    def _read_log(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.log += line

    def _read_greeting(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.greeting += line

    def end(self) -> int:
        """Wait for its end; its exit status."""
        status = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe
            pipe.close()
        return status

    def listens(self) -> bool:
        with socket.socket() as peer:
            return peer.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def waiting(url: str, *options: str) -> Iterator[Waiting]:
    daemon = Waiting(url, *options)
    try:
        wait_for("a word of its waiting", lambda: WAITING in daemon.log)
        assert not daemon.listens()
        yield daemon
        assert daemon.log.count(WAITING) == 1
    finally:
        if daemon.process.returncode is None:
            daemon.process.kill()
            daemon.end()


@pytest.fixture
def away(tmp_path: Path) -> Iterator[Redis]:
    """A Redis that does not run yet."""
    needs("redis-server")
    server = Redis(tmp_path / "redis")
    yield server
    server.stop()


def says(server: Redis, *command: str) -> str:
    """What a server answers that may not be there."""
    with suppress(subprocess.CalledProcessError):
        return server.cli(*command)
    return ""


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_a_store_that_comes_is_waited_for(away: Redis, options: tuple[str, ...]) -> None:
    with waiting(away.tcp_url, *options) as daemon:
        away.start()
        wait_for("the greeting", lambda: " listens on " in daemon.greeting)
        assert daemon.listens()
        wait_for("the log", lambda: "the store is there" in daemon.log)
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.end() == 0


def test_a_store_that_reads_its_data_is_waited_for(away: Redis) -> None:
    away.start()
    # While it reads, it answers once every 1024 commands.
    away.cli("EVAL", "for i = 1, 150000 do redis.call('RPUSH', 'mine', i) end", "0")
    away.kill()
    away._options = ("--key-load-delay", "200")
    starting = threading.Thread(target=away.start)
    starting.start()
    # redis-cli says what it is told, and nothing where there is no server yet.
    wait_for("its loading", lambda: says(away, "PING").startswith("LOADING"))
    with waiting(away.unix_url) as daemon:
        assert "loading" in daemon.log.lower()
        says(away, "CONFIG", "SET", "key-load-delay", "0")
        wait_for("the greeting", lambda: " listens on " in daemon.greeting)
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.end() == 0
    starting.join(PATIENCE)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("url", ["unix:///nowhere/redis.sock", "redis://127.0.0.1:1", "redis://nowhere.invalid"])
def test_a_daemon_that_waits_ends_cleanly_when_told_to(url: str, number: int) -> None:
    with waiting(url) as daemon:
        daemon.process.send_signal(number)
        assert daemon.end() == 0
        assert daemon.greeting == ""


def test_a_store_that_does_not_come_in_time_is_one_line() -> None:
    with waiting("redis://127.0.0.1:1", "--store-wait", "1") as daemon:
        assert daemon.end() == 1
        assert daemon.greeting == ""
        *_, last = daemon.log.splitlines()
        assert last.startswith("kvd: cannot reach the store: ")


def refused(url: str, **environment: str) -> str:
    """The only line of a daemon that does not start."""
    done = subprocess.run(
        [*ARGUMENTS, url, "--listen", "127.0.0.1:0"], env=os.environ | environment,
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


def test_what_waiting_does_not_mend_is_refused_at_once(away: Redis) -> None:
    away.start()
    wait = {"KVD_STORE_WAIT": "600"}
    assert "cannot use the store: " in refused(away.tcp_url.replace("s3cret", "wrong"), **wait)
    assert "cannot use the store: " in refused(f"unix://{away.directory}/redis.sock", **wait)
    assert "DB index" in refused(away.tcp_url.replace("/0", "/99"), **wait)
    assert "expected redis://" in refused("http://localhost", **wait)
    away.cli("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    assert "noeviction" in refused(away.tcp_url, **wait)
    away.cli("CONFIG", "SET", "maxmemory-policy", "noeviction")
    away.cli("SET", "{kvd}:data", "of somebody else")
    assert "not a hash" in refused(away.tcp_url, **wait)


def test_not_to_wait_is_possible_and_seconds_are_checked() -> None:
    assert "cannot reach the store: " in refused("redis://127.0.0.1:1", KVD_STORE_WAIT="0")
    for wrong in ("1m", "-1", "1.2345"):
        assert "KVD_STORE_WAIT" in refused("redis://127.0.0.1:1", KVD_STORE_WAIT=wrong)
