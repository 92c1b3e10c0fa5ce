"""kvctl mirror: one daemon followed into another, through kill -9 of everything."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from kvd import client
from kvd.cli.mirroring import lag
from kvd.client import WatchOptions
from kvd.client.sync import connect
from kvd.errors import KvdError
from tests.support.kvctl import ENVIRONMENT, PROGRAM, complaint, run
from tests.support.processes import PATIENCE, Daemon, StartDaemon, wait_for

Process = subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, Daemon]]:
    """Two daemons."""
    both = Daemon(tmp_path_factory.mktemp("source")), Daemon(tmp_path_factory.mktemp("destination"))
    for daemon in both:
        daemon.start()
    yield both
    for daemon in both:
        daemon.stop()


@pytest.fixture
def empty(pair: tuple[Daemon, Daemon]) -> tuple[Daemon, Daemon]:
    """Two daemons without keys."""
    for daemon in pair:
        with connect(daemon.addr) as kv:
            kv.delete_all("*", limit=10**6)
    return pair


@contextmanager
def mirroring(source: str, destination: str, *words: str) -> Iterator[Process]:
    command = [sys.executable, str(PROGRAM), "--json", "mirror", source, destination, "--report=0.1", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def caught_up(process: Process) -> int:
    """Wait until it says that it has all; return how many changes it has applied."""
    assert process.stdout
    for line in process.stdout:
        report = json.loads(line)
        if report["behind"] == 0:
            return int(report["applied"])
    raise AssertionError(process.communicate())


def stored(daemon: Daemon, pattern: str = "*") -> dict[str, bytes]:
    with connect(daemon.addr) as kv:
        return {item.key: item.value for item in kv.list(pattern) if not item.key.startswith("kvctl-mirror/")}


def test_a_copy_and_then_each_change(empty: tuple[Daemon, Daemon]) -> None:
    source, destination = empty
    with connect(source.addr) as kv:
        kv.set("a", b"\0\xff")
        kv.set("gone", "x")
        with mirroring(source.addr, destination.addr) as mirror:
            assert caught_up(mirror) == 2
            assert stored(destination) == {"a": b"\0\xff", "gone": b"x"}
            kv.delete("gone")
            kv.set("b", "1")
            kv.set("short", "x", ttl=0.1)
            with kv.transaction() as together:
                for number in range(120):
                    together.set(f"many/{number}", "x")
            wait_for("the end of a key", lambda: kv.get("short") is None)
            kv.set("last", "x")
            wait_for("all", lambda: "last" in stored(destination) and stored(destination) == stored(source))
    with connect(destination.addr) as kv:
        assert next(kv.keys("kvctl-mirror/*")) == "kvctl-mirror/%2A"


def test_it_goes_on_where_it_was(empty: tuple[Daemon, Daemon]) -> None:
    source, destination = empty
    with connect(source.addr) as kv, connect(destination.addr) as other:
        kv.set("app/a", "1")
        kv.set("elsewhere", "1")
        other.set("own", "stays")
        with mirroring(source.addr, destination.addr, "app/*") as mirror:
            caught_up(mirror)
        kv.set("app/b", "2")
        kv.delete("app/a")
        before = other.info()["revision"]
        with mirroring(source.addr, destination.addr, "app/*") as mirror:
            wait_for("all", lambda: stored(destination) == {"app/b": b"2", "own": b"stays"})
            assert caught_up(mirror) == 2
        changes = other.changes(f"{before}@{other.info()['store']}").events
        assert [change.key for change in changes if not change.key.startswith("kvctl-mirror/")] == ["app/b", "app/a"]


def test_a_first_copy_deletes_nothing_unless_it_is_told_to(empty: tuple[Daemon, Daemon]) -> None:
    source, destination = empty
    with connect(source.addr) as kv, connect(destination.addr) as other:
        kv.set("a", "new")
        kv.set("same", "x")
        for key in ("a", "b", "same"):
            other.set(key, "x")
        said = complaint(run("mirror", source.addr, destination.addr), 2)
        assert "there are keys that match * in the destination, such as a" in said
        same = other.gets("same")
        with mirroring(source.addr, destination.addr, "--replace") as mirror:
            assert caught_up(mirror) == 2
            assert stored(destination) == {"a": b"new", "same": b"x"}
            assert other.gets("same") == same  # it was not written again


def test_what_cannot_be(empty: tuple[Daemon, Daemon]) -> None:
    source, destination = empty
    assert "both are of one store" in complaint(run("mirror", source.addr, source.addr), 2)
    assert "cannot reach kvd at 127.0.0.1:1" in complaint(run("mirror", "127.0.0.1:1", destination.addr), 3)
    assert "cannot reach kvd at 127.0.0.1:1" in complaint(run("mirror", source.addr, "127.0.0.1:1"), 3)
    assert "invalid address" in complaint(run("mirror", source.addr, "::1"), 2)


def test_two_mirrors_of_the_same(empty: tuple[Daemon, Daemon]) -> None:
    """From the moment that the second one has begun nothing that the first one has sent is done any more."""
    source, destination = empty
    with connect(source.addr) as kv, mirroring(source.addr, destination.addr) as first:
        kv.set("a", "1")
        caught_up(first)
        with mirroring(source.addr, destination.addr) as second:
            caught_up(second)
            kv.set("a", "2")
            assert first.wait(PATIENCE) == 4
            assert first.stderr
            assert b"another mirror writes here, too" in first.stderr.read()
            kv.set("b", "last")
            wait_for("the last one", lambda: stored(destination) == stored(source))
            assert second.poll() is None


def test_one_that_was_killed_before_its_first_copy_is_gone_on_for(empty: tuple[Daemon, Daemon]) -> None:
    source, destination = empty
    with connect(source.addr) as kv, connect(destination.addr) as other:
        for key in "abc":
            kv.set(key, "x")
        other.set("kvctl-mirror/%2A", " 0123456789abcdef")  # it had begun
        other.set("a", "x")
        with mirroring(source.addr, destination.addr) as mirror:
            assert caught_up(mirror) == 2


def test_values_of_the_greatest_length(empty: tuple[Daemon, Daemon]) -> None:
    source, destination = empty
    with connect(source.addr) as kv, mirroring(source.addr, destination.addr) as mirror:
        kv.set("before", "x")
        caught_up(mirror)
        for number in range(3):
            kv.set(f"long/{number}", b"%d" % number + b"x" * (2**20 - 1))
        kv.set("after", "x")
        wait_for("all", lambda: stored(destination) == stored(source))


@pytest.mark.slow
def test_changes_come_once_through_kill_9_of_everything(start_daemon: StartDaemon, tmp_path: Path) -> None:
    source, destination = start_daemon(data=tmp_path / "source"), start_daemon(data=tmp_path / "destination")
    stopped = threading.Event()
    written = 0

    def write() -> None:
        """Count: two keys together."""
        nonlocal written
        with connect(source.addr, reconnect=PATIENCE) as kv:
            while not stopped.is_set():
                with suppress(KvdError), kv.transaction() as together:
                    together.set("x/1", f"{written}")
                    together.set("x/2", f"{written}")
                    together.set(f"x/{written % 50 + 10}", f"{written}")
                written += 1

    with connect(destination.addr) as other:
        began = f"{other.info()['revision']}@{other.info()['store']}"
    writing = threading.Thread(target=write)
    writing.start()
    try:
        for harm in ("mirror", "destination", "mirror", "source", "mirror", "stop"):
            with mirroring(source.addr, destination.addr) as mirror:
                seen = stored(destination).get("x/1")
                wait_for("some changes", lambda seen=seen: stored(destination).get("x/1") != seen)
                if harm == "stop":
                    mirror.send_signal(signal.SIGSTOP)
                    time.sleep(0.2)
                    mirror.send_signal(signal.SIGCONT)
                elif harm != "mirror":
                    daemon = source if harm == "source" else destination
                    daemon.kill()
                    daemon.wait()
                    daemon.start()
                    seen = stored(destination).get("x/1")
                    wait_for("changes after it", lambda seen=seen: stored(destination).get("x/1") != seen)
    finally:
        stopped.set()
        writing.join()
    with mirroring(source.addr, destination.addr):
        wait_for("all", lambda: stored(destination) == stored(source))
    with connect(destination.addr) as other:
        values: list[int] = []
        together: list[bool] = []
        while page := other.changes(began, "x/1", "x/2", options=WatchOptions(batches=True)).events:
            began = page[-1].position
            values += [int(change.value or b"") for change in page]
            together += [bool(change.left) for change in page]
    assert all(together[::2])
    assert values[::2] == values[1::2]  # both of each transaction
    assert values[::2] == sorted(set(values))  # and each once


async def test_how_far_another_history_is_behind_nobody_knows(pair: tuple[Daemon, Daemon]) -> None:
    """Its revisions may be any: a source whose history was replaced is not some thousands of millions ahead."""
    async with await client.connect(pair[0].addr) as source:
        revision, store = await source.set("lag", "1"), (await source.info())["store"]
        assert await lag(source, f"{revision}@{store}", PATIENCE) == 0
        assert await lag(source, f"{revision - 1}@{store}", PATIENCE) == 1
        assert await lag(source, "1@another", PATIENCE) is None
