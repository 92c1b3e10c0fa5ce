"""A worker that would be of other code than its parent refuses, and the parent ends in order and says so in one line.

So it is when kvd is changed on disk under a running daemon, and one of its workers dies.
"""

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvd.addresses import Address
from kvd.settings import Settings
from kvd.store.location import StoreLocation
from kvd.workers.config import EXIT_SUPERSEDED, Task, code_on_disk
from tests.support.processes import ROOT, Daemon, wait_for
from tests.support.text import without_retry
from tests.support.workers import start_worker


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of kvd that may be changed."""
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT / "kvd", copy / "kvd", ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.fixture
def daemon(tmp_path: Path, checkout: Path) -> Iterator[Daemon]:
    """A daemon of that copy, with two workers."""
    daemon = Daemon(tmp_path / "data", ["--workers", "2"], {"PYTHONDONTWRITEBYTECODE": "1"}, root=checkout)
    daemon.start()
    yield daemon
    daemon.stop()


def kill_a_worker(daemon: Daemon) -> None:
    os.kill(daemon.worker_pids()[0], signal.SIGKILL)


CHANGES = {
    "a script": ("kvd/lua/write.lua", "", "-- changed\n"),
    "a module": ("kvd/model.py", "", "# changed\n"),
    "the layout": ("kvd/store/redis/scripts.py", 'LAYOUT = "5"', 'LAYOUT = "6"'),
    "the version": ("kvd/__init__.py", "__version__ = ", "__version__ = '99' #"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_worker_of_other_code_refuses_and_its_parent_ends(daemon: Daemon, checkout: Path, change: str) -> None:
    name, old, new = CHANGES[change]
    path = checkout / name
    with daemon.connect() as watcher, daemon.connect() as peer:
        assert peer.ask("SET a 1") == "OK 1"
        position = watcher.ask("WATCH").removeprefix("OK ")
        source = path.read_text()
        assert old in source
        path.write_text(source.replace(old, new) if old else source + new)
        kill_a_worker(daemon)
        assert daemon.wait() == 1
        # They may have been connected to the one that was killed.
        ends = [without_retry(line) for line in watcher.rest()]
        assert ends in ([], [f"END {position} shutdown the daemon stops"])
    (line,) = [line for line in daemon.log.splitlines() if line.startswith("kvd: ")]
    assert "a worker was started from other code than this daemon's" in line
    assert line.endswith("start it again")
    assert daemon.log.count("starting it again") == 1
    assert "Traceback" not in daemon.log
    path.write_text(source)
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask("GET a") == "OK 1"


def test_the_other_workers_watchers_are_told(daemon: Daemon, checkout: Path) -> None:
    first, second = daemon.worker_pids()
    with daemon.connect() as one, daemon.connect() as two, daemon.connect() as three, daemon.connect() as four:
        watchers = [one, two, three, four]
        positions = {watcher.ask("WATCH").removeprefix("OK ") for watcher in watchers}
        (checkout / "kvd/lua/page.lua").write_text("-- nothing\n")
        os.kill(second, signal.SIGKILL)
        assert daemon.wait() == 1
        ends = {f"END {position} shutdown the daemon stops" for position in positions}
        assert all({without_retry(line) for line in watcher.rest()} in (set(), ends) for watcher in watchers)
    wait_for("the other one's end", lambda: not Path(f"/proc/{first}").exists())


def test_code_that_is_as_it_was_is_no_other(daemon: Daemon, checkout: Path) -> None:
    """Times of files, and what Python keeps beside them, do not count."""
    for path in (checkout / "kvd").rglob("*.py"):
        path.touch()
    (checkout / "kvd" / "__pycache__").mkdir(exist_ok=True)
    (checkout / "kvd" / "__pycache__" / "x.pyc").write_bytes(b"x")
    kill_a_worker(daemon)
    wait_for("a new worker", lambda: daemon.log.count(" is process ") == 3)
    with daemon.connect() as peer:
        assert peer.ask("SET a 1") == "OK 1"


def test_a_worker_refuses_before_it_reads_what_it_cannot_understand() -> None:
    theirs = code_on_disk().replace(b"kvd ", b"kvd 9", 1)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        task = Task(
            os.getpid(),
            Settings(),
            StoreLocation("unix:///nowhere", None),
            ((bound.fileno(), Address(*bound.getsockname())),),
        )
        done = start_worker(task, theirs)
    assert done.returncode == EXIT_SUPERSEDED
    said = done.stdout.decode()
    assert said.count("\n") == 1
    assert code_on_disk().decode().strip() in said
    assert theirs.decode().strip() in said
    assert done.stderr == b""
