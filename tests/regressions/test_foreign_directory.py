"""A data directory that another user owns or may write to is not trusted, and nothing in one leads elsewhere.

Reported by an attacker: an append-only file with MODULE LOAD was run with kvd's rights; links in the place of kvd's
files had their targets cut, overwritten and made 0700; the append-only file was made 0644 in a directory of mode 0755.
"""

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kvd.embedded.aof import NAME as AOF
from tests.support.checking import commands
from tests.support.daemons import fill, one_line_error, run_kvd
from tests.support.processes import PATIENCE, Daemon, StartDaemon, needs, wait_for
from tests.support.users import User, give, modes, needs_root, open_path, run_kvd_as, running

pytestmark = pytest.mark.slow

__all__ = ["open_path"]

KVD, STRANGER = User(), User(uid=61802, gid=61802)
VOLUME = 61900
"""The group of a volume that several may write to, as Kubernetes's fsGroup makes it."""
NAMES = [
    "kvd.lock", "redis.lock", "life", "mark", "sums", "run", AOF, "appendonlydir", "dump.rdb", "temp-rewriteaof-1.aof",
    "kvd.lock.new", f"{AOF}.cut-1", "run/redis.sock", "appendonlydir/appendonly.aof.manifest",
]  # fmt: skip
FORBIDDEN = [
    "MODULE LOAD {}", "DEBUG SLEEP 0", "REPLICAOF 127.0.0.1 1", "SLAVEOF 127.0.0.1 1", "SAVE",
    "EXPIRE {{kvd}}:data 100", "PEXPIREAT {{kvd}}:meta 99999999999999",
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), [(os.symlink, name) for name in NAMES] + [(os.link, "life"), (os.link, AOF)])
def test_nothing_in_the_directory_is_followed_as_a_link(
    tmp_path: Path, name: str, kind: Callable[[Path, Path], None]
) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    target.chmod(0o644)
    data = tmp_path / "data"
    (data / name).parent.mkdir(parents=True)
    data.chmod(0o755)
    kind(target, data / name)
    assert str(data / name) in one_line_error(run_kvd("--data", str(data)))
    assert (target.read_text(), target.stat().st_mode & 0o777) == ("precious", 0o644)
    assert data.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("name", ["run", "appendonlydir"])
def test_a_link_to_a_directory_is_not_followed(tmp_path: Path, name: str) -> None:
    target = tmp_path / "target"
    target.mkdir(mode=0o755)
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / name).symlink_to(target)
    assert "is a symbolic link" in one_line_error(run_kvd("--data", str(data)))
    assert (target.stat().st_mode & 0o777, list(target.iterdir())) == (0o755, [])


@pytest.mark.parametrize("command", FORBIDDEN)
def test_a_command_that_is_not_kvds_is_not_run(tmp_path: Path, command: str) -> None:
    needs("gcc")
    ran = tmp_path / "ran"
    source = f'#include <stdio.h>\n__attribute__((constructor)) static void f(void) {{ fopen("{ran}", "w"); }}\n'
    module = tmp_path / "module.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-o", module, "-"], input=source.encode(), check=True)
    module.chmod(0o755)
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / AOF).write_bytes(commands("SELECT 0", command.format(module)))
    message = one_line_error(run_kvd("--data", str(data)))
    assert f"holds the command {command.split()[0]}, which kvd never writes" in message
    assert not ran.exists()
    assert not (data / "dump.rdb").exists()


def test_a_directory_of_an_older_kvd_is_closed_to_others_and_goes_on(daemon: Daemon) -> None:
    fill(daemon, 5)
    daemon.stop()
    for path in [daemon.data, *daemon.data.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    daemon.start()
    assert daemon.log.count("was open to others (mode 0755); it was closed to them (mode 0700)") == 1
    assert all(mode in (0o600, 0o700) for mode in modes(daemon.data).values())
    assert modes(daemon.data)["kvd.lock"] == modes(daemon.data)["life"] == 0o600
    with daemon.connect() as peer:
        assert peer.ask("COUNT") == "OK 5"
    daemon.stop()
    daemon.start()
    assert "open to others" not in daemon.log[daemon.log.rindex("closed to them") :]


def test_a_link_of_ones_own_to_the_directory_is_followed(start_daemon: StartDaemon, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "other")
    (tmp_path / "other").symlink_to("disk")
    daemon = start_daemon(data=tmp_path / "link")
    assert (tmp_path / "disk" / "kvd.lock").exists()
    with daemon.connect() as peer:
        assert peer.ask("SET a 1") == "OK 1"


def test_a_directory_that_is_swapped_is_not_written_to(daemon: Daemon) -> None:
    fill(daemon, 5)
    daemon.data.rename(daemon.data.with_name("moved"))
    daemon.data.mkdir()
    (daemon.data / "life").write_text("precious")
    daemon.stop()
    assert (daemon.data / "life").read_text() == "precious"
    assert list(daemon.data.iterdir()) == [daemon.data / "life"]
    assert "was replaced by another directory" in daemon.log


@needs_root
def test_a_directory_of_another_user_is_refused(open_path: Path) -> None:
    data = open_path / "data"
    data.mkdir()
    give(data, STRANGER, 0o755)
    (data / AOF).write_bytes(commands("SELECT 0", "SET a b"))
    message = one_line_error(run_kvd_as(KVD, data))
    assert f"is another user's ({STRANGER.uid})" in message
    assert "--data DIR" in message
    assert list(data.iterdir()) == [data / AOF]


@needs_root
def test_root_begins_no_empty_store_beside_anothers_data(open_path: Path) -> None:
    data = open_path / "data"
    data.mkdir()
    give(data, STRANGER, 0o755)
    with running(User(0, 0), data) as daemon:
        assert f"the data directory is {data / 'kvd'}" in daemon.log
    subprocess.run(["rm", "-r", data / "kvd"], check=True)
    (data / AOF).write_bytes(commands("SELECT 0", "SET a b"))
    give(data / AOF, STRANGER, 0o600)
    assert "itself holds data of kvd" in one_line_error(run_kvd_as(User(0, 0), data))


@needs_root
@pytest.mark.parametrize("name", ["life", "stray", "appendonlydir/x", "run/x"])
def test_a_file_of_another_user_is_refused(open_path: Path, name: str) -> None:
    data = open_path / "data"
    (data / name).parent.mkdir(parents=True)
    (data / name).write_text("")
    for path in [data, *data.rglob("*")]:
        give(path, KVD, 0o777)
    os.chown(data / name, STRANGER.uid, STRANGER.gid)
    assert f"{data / name} is another user's" in one_line_error(run_kvd_as(KVD, data))
    assert set(modes(data).values()) == {0o777}


@needs_root
def test_a_link_of_another_user_to_the_directory_is_refused(open_path: Path) -> None:
    target = open_path / "target"
    target.mkdir()
    give(target, KVD, 0o755)
    (open_path / "link").symlink_to(target)
    os.chown(open_path / "link", STRANGER.uid, STRANGER.gid, follow_symlinks=False)
    assert "is a symbolic link, and another user's" in one_line_error(run_kvd_as(KVD, open_path / "link"))
    assert (target.stat().st_mode & 0o777, list(target.iterdir())) == (0o755, [])


@needs_root
@pytest.mark.parametrize("mode", [0o2775, 0o2777])
def test_a_volume_of_a_group_holds_a_directory_for_kvd_alone(open_path: Path, mode: int) -> None:
    volume = open_path / "volume"
    volume.mkdir()
    os.chown(volume, 0, VOLUME)
    volume.chmod(mode)
    user = KVD._replace(groups=(VOLUME,), umask="002")
    with running(user, volume) as daemon:
        assert f"the data directory is {volume / 'kvd'}, which is closed to others" in daemon.log
        assert f"data: {volume / 'kvd'}/" in daemon.rest_of_greeting()
        fill(daemon, 5)
    # As it is mounted the next time.
    subprocess.run(["chgrp", "-R", str(VOLUME), volume], check=True)
    subprocess.run(["chmod", "-R", "g+rwX", volume], check=True)
    with running(user, volume) as daemon, daemon.connect() as peer:
        assert peer.ask("COUNT") == "OK 5"
        assert all(mode in (0o600, 0o700) for mode in modes(volume / "kvd").values())
    assert list(volume.iterdir()) == [volume / "kvd"]


@needs_root
def test_a_volume_in_which_kvd_is_another_users_is_refused(open_path: Path) -> None:
    volume = open_path / "volume"
    (volume / "kvd").mkdir(parents=True)
    os.chown(volume, 0, VOLUME)
    volume.chmod(0o2775)
    give(volume / "kvd", STRANGER, 0o777)
    user = KVD._replace(groups=(VOLUME,))
    assert f"{volume / 'kvd'}, which would be used instead, is another user's" in one_line_error(
        run_kvd_as(user, volume)
    )
    (volume / "kvd").rmdir()
    (volume / "kvd").symlink_to(open_path)
    assert "which would be used instead, cannot be used" in one_line_error(run_kvd_as(user, volume))
    assert list(open_path.iterdir()) == [volume]


@needs_root
def test_data_that_lie_openly_in_a_volume_are_not_an_empty_store(open_path: Path) -> None:
    volume = open_path / "volume"
    volume.mkdir()
    give(volume, KVD, 0o700)
    with running(KVD, volume) as daemon:
        fill(daemon, 5)
    os.chown(volume, 0, VOLUME)
    volume.chmod(0o2775)
    user = KVD._replace(groups=(VOLUME,))
    message = one_line_error(run_kvd_as(user, volume))
    assert "itself holds data of kvd" in message
    subprocess.run(["bash", "-c", "mv appendonly* life mark kvd/"], cwd=volume, check=True)
    with running(user, volume) as daemon, daemon.connect() as peer:
        assert peer.ask("COUNT") == "OK 5"


@needs_root
def test_a_directory_of_ones_own_that_is_opened_to_a_group_is_closed_again(open_path: Path) -> None:
    data = open_path / "data"
    user = KVD._replace(umask="002")
    data.mkdir()
    give(data, user, 0o775)
    for count in (5, 10):
        with running(user, data) as daemon, daemon.connect() as peer:
            assert "(mode 0775)" in daemon.log or "(mode 0720)" in daemon.log
            fill(daemon, count)
            assert peer.ask("COUNT") == f"OK {count}"
            assert all(mode in (0o600, 0o700) for mode in modes(data).values())
        subprocess.run(["chmod", "-R", "g+w", data], check=True)
    assert not (data / "kvd").exists()


@needs_root
def test_directories_that_are_made_cannot_be_written_to_by_others(open_path: Path) -> None:
    give(open_path, KVD, 0o755)
    with running(KVD._replace(umask="000"), open_path / "a" / "b") as daemon:
        fill(daemon, 5)
    assert (open_path / "a").stat().st_mode & 0o777 == 0o755
    assert all(mode in (0o600, 0o700) for mode in modes(open_path / "a" / "b").values())


@needs_root
def test_a_lock_that_others_could_open_is_not_theirs(open_path: Path) -> None:
    """A directory of an older kvd could be read by all."""
    name = "kvd.lock"
    data = open_path / "data"
    data.mkdir()
    give(data, KVD, 0o755)
    (data / name).write_text("1\n")
    give(data / name, KVD, 0o644)
    hold = (
        "import fcntl, os, sys; os.setuid(int(sys.argv[2])); f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); "
        "print(flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, data / name, str(STRANGER.uid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        assert holder.stdin
        assert holder.stdout.readline() == b"\n"
        with running(KVD, data) as daemon:
            assert "is in use by another kvd" in one_line_error(run_kvd_as(KVD, data))
            fill(daemon, 5)
        holder.communicate(b"\n", timeout=PATIENCE)


def test_a_lock_that_others_could_open_before_is_made_anew(daemon: Daemon) -> None:
    daemon.stop()
    lock = daemon.data / "kvd.lock"
    lock.chmod(0o644)
    with lock.open() as opened:
        daemon.start()
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        daemon.stop()
        daemon.start()
    assert lock.stat().st_mode & 0o777 == 0o600


def test_an_older_daemon_that_still_runs_keeps_its_locks(daemon: Daemon) -> None:
    """Its files were open to all; the lock is its own all the same."""
    daemon.data.chmod(0o755)
    for path in daemon.data.glob("*.lock"):
        path.chmod(0o644)
    assert f"is in use by another kvd (process {daemon.pid})" in one_line_error(run_kvd("--data", str(daemon.data)))
    wait_for("a request", lambda: daemon.redis_pid() > 0)


def test_a_directory_with_other_files_stays_open_to_who_uses_them(start_daemon: StartDaemon, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (project / "notes.txt").write_text("for all")
    before = {path: path.stat().st_mode for path in (project, *project.iterdir())}
    daemon = start_daemon(data=project)
    assert f"{project} holds other files than kvd's, and is open to others; the data directory is" in daemon.log
    with daemon.connect() as peer:
        assert peer.ask("SET a 1") == "OK 1"
    daemon.stop()
    assert {path: path.stat().st_mode for path in before} == before
    assert all(mode in (0o600, 0o700) for mode in modes(project / "kvd").values())
    with start_daemon(data=project).connect() as peer:
        assert peer.ask("GET a") == "OK 1"


def test_a_start_that_fails_has_not_closed_a_directory(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "kvd").write_text("in the way")
    tmp_path.chmod(0o755)
    assert "kvd, which would be used instead, cannot be used" in one_line_error(run_kvd("--data", str(tmp_path)))
    assert tmp_path.stat().st_mode & 0o777 == 0o755
