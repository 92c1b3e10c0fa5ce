"""A file of the data directory that the daemon may not read or write is named, with the reason, in one line.

Reported: a traceback of 25 lines, or another history at every start without the reason.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.daemons import fill, one_line_error, run_kvd
from tests.support.processes import Daemon
from tests.support.users import DaemonOf, User, give, needs_root, open_path, run_kvd_as, running

__all__ = ["open_path"]

KVD = User()
FILES = [
    "life",
    "mark",
    "sums",
    "kvd.lock",
    "redis.lock",
    "run",
    "append-only file",
    "appendonlydir",
    "manifest",
    "base",
    ".",
]
KINDS = [name for name in FILES if name not in (".", "run", "appendonlydir")]


def path_of(daemon: Daemon, name: str) -> Path:
    """One of its files; the tests of those that its engine does not have are skipped."""
    parts = daemon.data / "appendonlydir"
    path = {
        "append-only file": daemon.append_only_file,
        "manifest": parts / "appendonly.aof.manifest",
        "base": next(parts.glob("*.base.*"), parts / "base"),
    }.get(name, daemon.data / name)
    if not path.exists():
        pytest.skip(f"this engine has no {name}")
    return path


@contextmanager
def stopped(data: Path) -> Iterator[DaemonOf]:
    """A daemon that has run there, and whose data are whole when it is started again."""
    data.mkdir()
    give(data, KVD, 0o700)
    with running(KVD, data) as daemon:
        fill(daemon, 5)
    yield daemon
    with running(KVD, data) as daemon, daemon.connect() as peer:
        assert peer.ask("COUNT") == "OK 5"
        assert "another" not in daemon.log


@pytest.mark.slow
@needs_root
@pytest.mark.parametrize(("name", "mode"), [(name, 0) for name in FILES] + [("life", 0o400), (".", 0o500)])
def test_a_file_without_the_right_to_it_is_named(open_path: Path, name: str, mode: int) -> None:
    with stopped(open_path / "data") as daemon:
        path = path_of(daemon, name)
        before = path.stat().st_mode
        path.chmod(mode)
        for _ in range(2):
            message = one_line_error(run_kvd_as(KVD, daemon.data))
            assert f"kvd: cannot use {path} for the data: Permission denied; give user {KVD.uid} the right" in message
        path.chmod(before)


@pytest.mark.slow
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
@pytest.mark.parametrize("name", KINDS)
def test_what_is_not_a_file_is_named(daemon: Daemon, name: str, make: Callable[[Path], None]) -> None:
    fill(daemon, 5)
    daemon.stop()
    path = path_of(daemon, name)
    path.rename(daemon.data.with_name("kept"))
    make(path)
    message = one_line_error(run_kvd("--data", str(daemon.data)))
    assert str(path) in message
    assert "it is not a file; move it away" in message


@pytest.mark.parametrize("name", ["run", "appendonlydir"])
def test_a_file_in_the_place_of_a_directory_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    message = one_line_error(run_kvd("--data", str(tmp_path)))
    assert f"cannot use {tmp_path / name}: it is not a directory; move it away" in message


def test_a_directory_in_the_place_of_the_socket_is_named(tmp_path: Path) -> None:
    (tmp_path / "run" / "redis.sock").mkdir(parents=True)
    assert f"cannot use {tmp_path / 'run' / 'redis.sock'}: it is not a file" in one_line_error(
        run_kvd("--data", str(tmp_path))
    )


@needs_root
def test_a_disk_that_is_mounted_for_reading_is_named(daemon: Daemon) -> None:
    fill(daemon, 5)
    daemon.stop()
    data = str(daemon.data)
    if shutil.which("mount") is None or subprocess.run(["mount", "--bind", data, data], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", data], check=True)
        message = one_line_error(run_kvd("--data", data))
        assert f"cannot use {data} for the data: Read-only file system; mount it for writing" in message
    finally:
        subprocess.run(["umount", data], check=True)


@pytest.mark.slow
@needs_root
@pytest.mark.parametrize("name", ["life", "append-only file", "kvd.lock"])
def test_a_file_that_cannot_be_changed_is_named(daemon: Daemon, name: str) -> None:
    fill(daemon, 5)
    daemon.stop()
    path = path_of(daemon, name)
    if shutil.which("chattr") is None or subprocess.run(["chattr", "+i", path], check=False).returncode:
        pytest.skip("this file system has no such attribute")
    try:
        message = one_line_error(run_kvd("--data", str(daemon.data)))
        assert f"cannot use {path} for the data: Operation not permitted" in message
    finally:
        subprocess.run(["chattr", "-i", path], check=True)
