"""Limits that the free space of the disk does not show: a quota, the largest size of a file, no inodes left.

Reported: with `ulimit -f`, a quota or without inodes the store ended at a write, was started again, was sent the same
write and ended again, for ever, with one more `.cut-*` file a round; reads were refused, too.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from kvd.embedded.aof import AppendOnlyFile
from kvd.embedded.disk import FIRST_PAUSE
from kvd.embedded.repair import KEPT_CUTS
from tests.support.daemons import gone
from tests.support.peers import Peer
from tests.support.processes import Daemon, StartDaemon, needs, wait_for

pytestmark = pytest.mark.slow

FULL = "ERR unavailable the store's disk is nearly full"
CHECKER = """#!/bin/sh
echo "AOF analyzed: size=100, ok_up_to=60, ok_up_to_line=1, diff=40"
"""
CUT = """
import sys
from pathlib import Path
from kvd.embedded.aof import AppendOnlyFile
from kvd.embedded.disk import FIRST_PAUSE
from kvd.embedded.repair import cut_tail
assert cut_tail(Path(sys.argv[1]), AppendOnlyFile(Path(sys.argv[2])), 1000, lambda: None) == 40
"""
NO_WRITES = "takes no writes"
WORKERS = pytest.mark.parametrize("workers", ["1", "2"])


@contextmanager
def running(daemon: Daemon) -> Iterator[Peer]:
    daemon.start()
    try:
        with daemon.connect() as peer:
            yield peer
    finally:
        daemon.stop()


@pytest.fixture
def few_inodes(tmp_path: Path) -> Iterator[Path]:
    """A disk with 40 inodes."""
    needs("mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=40", "tmpfs", str(disk)]
    if subprocess.run(command, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(daemon: Daemon, count: int) -> None:
    """Keys k0 and on, of 20,000 bytes each."""
    with daemon.connect() as peer:
        for number in range(count):
            assert peer.ask(f"SET k{number} {'x' * 20_000}").startswith("OK ")


def reads_come_back(daemon: Daemon) -> None:
    """Each kind has a connection of its own to the store, which come back one after the other."""
    with daemon.connect() as peer:
        for request in ("GET k1", "COUNT", "WATCH nothing"):
            wait_for(request, lambda request=request: peer.ask(request).startswith("OK "))


def reads_go_on(daemon: Daemon, count: int) -> None:
    with daemon.connect() as peer:
        assert peer.ask("GET k1") == f"OK {'x' * 20_000}"
        assert peer.ask("COUNT") == f"OK {count}"
        assert peer.ask("WATCH").startswith("OK ")


def writes_come_back(daemon: Daemon) -> None:
    with daemon.connect() as peer:
        wait_for("writes", lambda: peer.ask("SET back 1").startswith("OK "))


def restart_the_store(daemon: Daemon) -> None:
    """Kill it, and wait until it serves again."""
    store = daemon.redis_pid()
    os.kill(store, signal.SIGKILL)
    wait_for("its end", lambda: gone(store))
    reads_come_back(daemon)


@WORKERS
def test_a_limit_on_the_size_of_files_refuses_writes_before_it_is_reached(tmp_path: Path, workers: str) -> None:
    daemon = Daemon(tmp_path / "data", ["--workers", workers], limits="-f 2000")
    with running(daemon) as peer:
        store = daemon.redis_pid()
        acknowledged = 0
        while (reply := peer.ask(f"SET k{acknowledged} {'x' * 20_000}")).startswith("OK "):
            acknowledged += 1
        assert reply.startswith(FULL)
        assert acknowledged > 20
        assert peer.ask("DEL k0").startswith("OK ")
        reads_go_on(daemon, acknowledged - 1)
        # The file is written anew without what was overwritten, and so is shorter.
        for number in range(2, acknowledged):
            peer.ask(f"DEL k{number}")
        writes_come_back(daemon)
        assert daemon.redis_pid() == store


@WORKERS
def test_a_file_beyond_the_limit_at_the_start_is_read_and_then_written_anew(
    start_daemon: StartDaemon, workers: str
) -> None:
    before = start_daemon("--history-bytes", "100KiB")
    with before.connect() as peer:
        for number in range(200):
            assert peer.ask(f"SET k{number % 2} {'x' * 20_000}").startswith("OK ")
    before.stop()
    daemon = Daemon(before.data, ["--workers", workers, "--history-bytes", "100KiB"], limits="-f 2000")
    with running(daemon) as peer:
        assert peer.ask("SET a 1").startswith(FULL)
        reads_go_on(daemon, 2)
        restart_the_store(daemon)
        reads_go_on(daemon, 2)
        writes_come_back(daemon)


def test_no_file_may_be_written_at_all(start_daemon: StartDaemon) -> None:
    before = start_daemon()
    fill(before, 10)
    before.stop()
    daemon = Daemon(before.data, limits="-f 0")
    with running(daemon) as peer:
        assert peer.ask("SET a 1").startswith(FULL)
        assert peer.ask("DEL k1").startswith(FULL)
        reads_go_on(daemon, 10)
        restart_the_store(daemon)
        reads_go_on(daemon, 10)


def use_up(disk: Path) -> list[Path]:
    """All inodes that are left."""
    used = [disk / f"used{number}" for number in range(100)]
    for number, file in enumerate(used):
        try:
            file.touch()
        except OSError:
            return used[:number]
    raise AssertionError("inodes without end")


def writes_are_refused_without_inodes(daemon: Daemon, disk: Path) -> None:
    """A file that goes just then, as by a rename, leaves one, which is used up, too."""
    with daemon.connect() as peer:

        def is_refused() -> bool:
            use_up(disk)
            return peer.ask("SET k0 1").startswith(FULL)

        wait_for("a refusal", is_refused)


@WORKERS
def test_no_inodes_left_while_it_runs(start_daemon: StartDaemon, few_inodes: Path, workers: str) -> None:
    daemon = start_daemon("--workers", workers, data=few_inodes / "data")
    fill(daemon, 10)
    used = use_up(few_inodes)
    writes_are_refused_without_inodes(daemon, few_inodes)
    reads_go_on(daemon, 10)
    restart_the_store(daemon)
    reads_go_on(daemon, 10)
    used[0].unlink()
    writes_come_back(daemon)


@pytest.mark.parametrize("end", [Daemon.stop, Daemon.crash])
def test_no_inodes_left_at_the_start(
    start_daemon: StartDaemon, few_inodes: Path, end: Callable[[Daemon], object]
) -> None:
    daemon = start_daemon(data=few_inodes / "data")
    fill(daemon, 10)
    end(daemon)
    used = use_up(few_inodes)
    daemon.start()
    writes_are_refused_without_inodes(daemon, few_inodes)
    reads_go_on(daemon, 10)
    restart_the_store(daemon)
    reads_go_on(daemon, 10)
    used[0].unlink()
    writes_come_back(daemon)


class Quota:
    """One that is reached at will, on files whose path begins with `on`: to those nothing can be written then."""

    def __init__(self, directory: Path, on: Path) -> None:
        needs("gcc")
        library = directory / "quota.so"
        source = Path(__file__).with_name("quota.c")
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
        self._reached = directory / "reached"
        self.environment = {"LD_PRELOAD": str(library), "QUOTA_REACHED": str(self._reached), "QUOTA_ON": str(on)}

    def reach(self) -> None:
        self._reached.touch()

    def raise_(self) -> None:
        self._reached.unlink()


@WORKERS
def test_a_quota_that_is_reached(start_daemon: StartDaemon, tmp_path: Path, workers: str) -> None:
    quota = Quota(tmp_path, tmp_path / "data")
    daemon = start_daemon("--workers", workers, **quota.environment)
    fill(daemon, 10)
    quota.reach()
    with daemon.connect() as writer, daemon.connect() as watcher:
        assert watcher.ask("WATCH").startswith("OK ")
        # Under this one the store ends; it is done or not, which shows later.
        writer.send("SET last 1\n")
        assert daemon.says(NO_WRITES)
        with daemon.connect() as peer:
            assert peer.ask("SET a 1").startswith(FULL)
            # Its end is seen, and the next one may take longer to come than a read waits.
            reads_come_back(daemon)
            reads_go_on(daemon, 10)
            store = daemon.redis_pid()
            assert peer.ask("SET a 1").startswith(FULL)
            assert peer.ask("DEL k1").startswith(FULL)
        assert daemon.says("was tried: Disk quota exceeded")
        reads_go_on(daemon, 10)
        assert daemon.redis_pid() == store
        quota.raise_()
        writes_come_back(daemon)
        # Found not to be done, it was sent again, unless all this took too long.
        done = writer.line().startswith("OK ")
        changes = "".join(watcher.lines(2 if done else 1))
        assert ("SET last 1" in changes) == done
    assert daemon.log.count("starting it again") == 1
    reads_go_on(daemon, 11 + done)


def test_a_quota_that_is_reached_at_the_start(start_daemon: StartDaemon, tmp_path: Path) -> None:
    quota = Quota(tmp_path, tmp_path / "data")
    daemon = start_daemon(**quota.environment)
    fill(daemon, 10)
    daemon.stop()
    quota.reach()
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask("SET a 1").startswith(FULL)
    reads_go_on(daemon, 10)
    quota.raise_()
    writes_come_back(daemon)
    assert "starting it again" not in daemon.log


def test_a_quota_that_is_reached_by_a_store_that_syncs_every_second(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """It does not end, but refuses writes by itself."""
    quota = Quota(tmp_path, tmp_path / "data")
    daemon = start_daemon("--fsync", "everysec", **quota.environment)
    fill(daemon, 10)
    store = daemon.redis_pid()
    quota.reach()
    with daemon.connect() as peer:
        wait_for("a refusal", lambda: peer.ask("SET a 1").startswith("ERR unavailable "))
        assert peer.ask("GET k1") == f"OK {'x' * 20_000}"
        quota.raise_()
        writes_come_back(daemon)
    assert daemon.redis_pid() == store


def test_an_end_that_was_cut_off_is_not_forgotten_where_there_was_no_room_to_note_it(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """A history that is another one needs a write; the start that cannot do it is refused, and the next one does it."""
    quota = Quota(tmp_path, tmp_path / "data")
    daemon = start_daemon(**quota.environment)
    fill(daemon, 3)
    with daemon.connect() as peer:
        position = peer.ask("WATCH").removeprefix("OK ")
    daemon.crash()
    with daemon.append_only_file.open("r+b") as file:
        file.truncate(daemon.append_only_file.stat().st_size - 7)
    quota.reach()
    with pytest.raises(AssertionError, match="nearly full"):
        daemon.start()
    quota.raise_()
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask(f"RESUME {position}").startswith("ERR store ")
        assert peer.ask("COUNT") == "OK 2"


def times(daemon: Daemon, text: str) -> list[float]:
    """When it wrote each of these lines to its log, in seconds."""
    lines = [line for line in daemon.log.splitlines() if text in line]
    return [datetime.fromisoformat(line.split()[0]).timestamp() for line in lines]


def test_a_limit_on_the_append_only_file_alone_ends_the_store_more_and_more_rarely(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """What is tried beside it goes well, and the next write does not."""
    quota = Quota(tmp_path, tmp_path / "data" / "appendonly")
    daemon = start_daemon(**quota.environment)
    fill(daemon, 10)
    quota.reach()
    with daemon.connect() as peer:
        peer.send("SET last 1\n")
        wait_for("three ends", lambda: daemon.log.count(NO_WRITES) >= 3)
        quota.raise_()
        assert peer.line().startswith(("OK ", "ERR uncertain "))
        writes_come_back(daemon)
    # Longer and longer, however long the machine paused; a timer may be early by a moment.
    ends, tries = times(daemon, NO_WRITES), times(daemon, "takes writes again")
    pauses = [again - ended for ended, again in zip(ends, tries, strict=True)]
    assert len(pauses) >= 3
    assert all(pause > 0.9 * FIRST_PAUSE * 2**number for number, pause in enumerate(pauses))
    assert daemon.log.count("starting it again") <= len(pauses)
    assert list(daemon.append_only_file.parent.glob("*.cut-*")) == []


@pytest.mark.parametrize("can_keep", [True, False])
def test_few_cut_files_are_kept_also_where_there_is_no_room_for_them(tmp_path: Path, can_keep: bool) -> None:
    checker = tmp_path / "checker"
    checker.write_text(CHECKER)
    checker.chmod(0o700)
    aof = AppendOnlyFile(tmp_path)
    limit = "unlimited" if can_keep else "0"
    for _ in range(KEPT_CUTS + 2):
        aof.single.write_bytes(b"x" * 60 + b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n".ljust(40, b"\0"))
        script = f'ulimit -f {limit}; exec "$@"'
        subprocess.run(
            ["bash", "-c", script, "bash", sys.executable, "-c", CUT, str(checker), str(tmp_path)], check=True
        )
        assert aof.single.stat().st_size == 60
    kept = list(tmp_path.glob("*.cut-*"))
    assert [file.stat().st_size for file in kept] == ([40] * KEPT_CUTS if can_keep else [])
