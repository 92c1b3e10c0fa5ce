"""kvctl backup and kvd restore: all of a store at one position, or nothing at all."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kvd.backup_file import Entry, entries, look_at, write
from kvd.client.sync import connect
from kvd.errors import StartError
from tests.support.access import users_text
from tests.support.checking import check
from tests.support.daemons import one_line_error, run_kvd
from tests.support.kvctl import Result, complaint, run
from tests.support.odd_values import VALUES as ODD_VALUES
from tests.support.processes import ROOT, Daemon, StartDaemon, wait_for

VALUES = ODD_VALUES | {"bytes": bytes(range(256)) * 40, "4096": b"x" * 4096, "4097": b"x" * 4097}
OWNER = "owner;%3B;é"


def back_up(daemon: Daemon, file: Path) -> str:
    """The position at which it was."""
    done = run("--addr", daemon.addr, "backup", str(file))
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(b"kvctl: backed up ")
    return done.stderr.decode().split()[-1]


def restore(file: Path, data: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kvd", "restore", str(file), "--data", str(data)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def restored(file: Path, data: Path) -> Path:
    done = restore(file, data)
    assert done.returncode == 0, done.stderr
    return data


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of some keys."""
    return written(tmp_path_factory.mktemp("backup") / "file", 3)


def written(path: Path, count: int) -> Path:
    """A backup, made here."""
    lines = b"".join(b'{"key": "key%06d", "revision": %d, "value": "v%d"}\n' % (n, n + 1, n) for n in range(count))
    with path.open("wb") as made:
        write(made, "0.1.0", [lines], lambda: (f"{count}@c3d1a7f0", count))
    return path


def test_any_bytes_times_to_live_and_owners_come_back(start_daemon: StartDaemon, tmp_path: Path) -> None:
    daemon = start_daemon()
    with connect(daemon.addr) as kv:
        for key, value in VALUES.items():
            kv.set(key, value)
        kv.set("gone", "1")
        kv.delete("gone")
        kv.set("session", "alice", ttl=500)
        kv.set(OWNER, "there", ttl=400)
        kv.set("with", "it", owner=OWNER)
        kv.set("lasting", "there")
        kv.set("with/lasting", "it", owner="lasting")
        before = {item.key: (item.revision, item.value) for item in kv.list()}
    file = tmp_path / "file"
    position = back_up(daemon, file)
    old = restored(file, tmp_path / "new")
    daemon = start_daemon(data=old)
    with connect(daemon.addr) as kv, daemon.connect() as peer:
        assert {item.key: (item.revision, item.value) for item in kv.list()} == before
        assert 400 < (kv.ttl("session") or 0) <= 500
        assert 300 < (kv.ttl("with") or 0) <= 400
        assert kv.ttl("with/lasting") == float("inf")
        assert peer.ask(f"RESUME {position}").startswith("ERR store ")
        assert peer.ask("GET plain") == "OK hello"
        assert peer.ask("GETS bytes").startswith("OK64 ")
        # Above whatever the old store may have come to since.
        assert int(peer.ask("SET plain again").removeprefix("OK ")) > 4 * 10**9
        assert peer.ask(f"DEL {OWNER}").startswith("OK ")
        assert peer.ask("GET with") == "NONE"
        assert peer.ask("DEL 4097").startswith("OK ")
        count = len(before) - 3
        assert peer.ask("COUNT") == f"OK {count}"
        watch = peer.ask("WATCH").removeprefix("OK ")
    daemon.stop()
    daemon.start()
    with daemon.connect() as peer:  # its history goes on
        assert peer.ask(f"RESUME {watch}") == f"OK {watch}"
        assert peer.ask("COUNT") == f"OK {count}"


@contextmanager
def under_load(daemon: Daemon) -> Iterator[None]:
    """Meanwhile two keys are written, always both the same, as fast as one connection does that, and some others."""
    over = threading.Event()

    def keep_writing() -> None:
        with daemon.connect() as peer:
            number = 0
            while not over.is_set():
                number += 1
                peer.send(
                    "".join(
                        f"BEGIN\nSET a {number}.{n}\nPUT z ttl=100 = {number}.{n}\nCOMMIT\nINCR n\n" for n in range(50)
                    )
                )
                assert all(line.startswith("OK") for line in peer.lines(250))

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        yield
    finally:
        over.set()
        writer.join()


def test_under_load_it_is_as_of_one_position(start_daemon: StartDaemon, tmp_path: Path) -> None:
    daemon = start_daemon()
    with daemon.connect() as peer:
        peer.send("".join(f"SET key{number} 1\n" for number in range(2000)) + "SET n 0\nSET a 0\nSET z 0\n")
        assert peer.lines(2003)[-1].startswith("OK ")
        with under_load(daemon):
            wait_for("some writes", lambda: int(peer.ask("GET n").removeprefix("OK ")) > 100)
            position = back_up(daemon, tmp_path / "file")
            data = restored(tmp_path / "file", tmp_path / "new")
    copy = start_daemon(data=data)
    with copy.connect() as peer:
        pair = peer.ask("GETS a").split(" "), peer.ask("GETS z").split(" ")
        assert pair[0][2] == pair[1][2]
        assert int(pair[1][1]) == int(pair[0][1]) + 1 <= int(position.partition("@")[0])
        assert peer.ask("COUNT") == "OK 2003"


def test_what_is_not_whole_is_refused_wherever_it_is_damaged(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    assert look_at(file).keys == 3
    damaged = tmp_path / "damaged"
    variants = [whole[:end] for end in range(0, len(whole), 3)]
    variants += [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(0, len(whole), 2)]
    lines = whole.splitlines(keepends=True)
    variants += [whole + b"x", whole + b"\n", whole + whole, b"".join([*lines[:1], *lines[2:]])]
    variants += [b"".join([lines[0], lines[2], lines[1], *lines[3:]]), lines[0] + lines[-1], bytes(10_000)]
    for variant in variants:
        damaged.write_bytes(variant)
        with pytest.raises(StartError, match=r"no backup|not whole|is damaged|newer kvd"):
            look_at(damaged)


@pytest.mark.parametrize("change", [lambda whole: whole[:-1], lambda whole: whole.replace(b"v1", b"w1")])
def test_then_nothing_is_left_behind(file: Path, tmp_path: Path, change: object) -> None:
    assert callable(change)
    damaged = tmp_path / "damaged"
    damaged.write_bytes(change(file.read_bytes()))
    assert str(damaged) in one_line_error(restore(damaged, tmp_path / "some" / "new"))
    assert list(tmp_path.iterdir()) == [damaged]


def test_also_what_is_wrong_in_a_whole_file_leaves_nothing(tmp_path: Path) -> None:
    path, data = tmp_path / "file", tmp_path / "some" / "new"
    with path.open("wb") as made:
        write(made, "x", [b'{"key": "a", "revision": 1, "value": "1", "with": "b"}\n'], lambda: ("1@c3d1a7f0", 1))
    assert "live with b" in one_line_error(restore(path, data))
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_that_is_not_new_is_left_as_it_is(daemon: Daemon, file: Path, tmp_path: Path) -> None:
    with daemon.connect() as peer:
        assert peer.ask("SET a 1") == "OK 1"
    assert "is not empty" in one_line_error(restore(file, daemon.data))
    daemon.stop()
    before = {path: path.read_bytes() for path in daemon.data.iterdir() if path.is_file()}
    assert "is not empty" in one_line_error(restore(file, daemon.data))
    assert {path: path.read_bytes() for path in daemon.data.iterdir() if path.is_file()} == before
    assert "cannot read" in one_line_error(restore(tmp_path / "none", tmp_path / "new"))
    assert "cannot use" in one_line_error(restore(file, file))
    empty = tmp_path / "empty"
    empty.mkdir()
    restored(file, empty)


def test_what_a_restore_that_was_killed_leaves_is_no_store(file: Path, tmp_path: Path) -> None:
    data = restored(file, tmp_path / "new")
    (data / "restoring").touch(mode=0o600)
    assert "is not whole" in one_line_error(run_kvd("--data", str(data)))
    (data / "restoring").unlink()


def test_a_restore_that_is_ended_leaves_nothing(tmp_path: Path) -> None:
    path, data = written(tmp_path / "file", 200_000), tmp_path / "new"
    command = [sys.executable, "-m", "kvd", "restore", str(path), "--data", str(data)]
    for _ in range(5):
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
        wait_for("the engine", lambda: (data / "run" / "redis.sock").exists())
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate()
        if process.returncode != 0:
            break
        # It was done before this process had its turn again.
        shutil.rmtree(data)
    assert process.returncode == 130, said
    assert [path.name for path in data.rglob("*")] == []
    assert not data.exists()


def test_a_file_is_replaced_when_the_new_one_is_whole(shared_daemon: Daemon, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with connect(shared_daemon.addr) as kv:
        kv.set("a", "1")
    back_up(shared_daemon, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    back_up(shared_daemon, path)
    assert path.read_bytes().splitlines()[1:-1] == before.splitlines()[1:-1]
    assert list(tmp_path.iterdir()) == [path]
    assert "cannot write" in complaint(run("--addr", shared_daemon.addr, "backup", str(tmp_path / "no" / "file")), 5)
    piped = run("--addr", shared_daemon.addr, "backup", "/dev/stdout")
    assert piped.stdout.splitlines()[1:-1] == before.splitlines()[1:-1]


def test_who_may_not_read_all_makes_no_backup(start_daemon: StartDaemon, tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text(users_text({"part": {"a*": "read,watch"}, "all": {"*": "read,watch"}}))
    daemon = start_daemon("--users", str(users))
    word = tmp_path / "word"
    word.write_text("geheim wort \n")

    def by(user: str) -> Result:
        who = ["--user", user, "--password-file", str(word)]
        return run("--addr", daemon.addr, *who, "backup", str(tmp_path / "file"))

    assert "denied" in complaint(by("part"), 4)
    assert not (tmp_path / "file").exists()
    assert by("all").returncode == 0


def test_the_lines_are_those_of_export(shared_daemon: Daemon, tmp_path: Path) -> None:
    """So a part of a backup can be taken by hand."""
    with connect(shared_daemon.addr) as kv:
        for key, value in VALUES.items():
            kv.set(key, value)
        keys = kv.count()
    back_up(shared_daemon, tmp_path / "file")
    first, *lines, last = (tmp_path / "file").read_bytes().splitlines(keepends=True)
    assert lines == run("--addr", shared_daemon.addr, "export").stdout.splitlines(keepends=True)
    assert json.loads(first)["kvd-backup"] == 1
    assert json.loads(last)["keys"] == keys


def test_entries_are_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    lines = b'{"key": "a", "revision": 1, "value": "x"}\n{"key": "b", "revision": 2, "base64": "/w==", "ttl": 0.0005}\n'
    with path.open("wb") as made:
        write(made, "x", [lines], lambda: ("2@c3d1a7f0", 2))
    found = [entry for some in entries(look_at(path)) for entry in some]
    assert found == [Entry(b"a", b"1", b"x"), Entry(b"b", b"2", b"\xff", life=1)]


@pytest.mark.parametrize("size", [-100, 23])
def test_an_end_that_is_lost_is_not_cut_off_with_the_store(file: Path, tmp_path: Path, size: int) -> None:
    data = restored(file, tmp_path / "new")
    aof = max((path for path in data.rglob("appendonly.aof*")), key=lambda path: path.is_file() and path.stat().st_size)
    os.truncate(aof, size if size > 0 else aof.stat().st_size + size)
    before = aof.read_bytes()
    assert b"\n{kvd}:meta" in before or size == 23
    for _ in range(2):
        done = check(data, "--repair")
        assert done.returncode == 1
        said = done.stderr + run_kvd("--data", str(data)).stderr
        assert "restore" in said
        assert "empty" not in said
        assert "remove all" not in said
        assert aof.read_bytes() == before


def test_a_store_whose_begin_is_in_the_end_of_its_file_is_not_cut_off(daemon: Daemon) -> None:
    with daemon.connect() as peer:
        assert peer.ask("SET a 1") == "OK 1"
    daemon.stop()
    aof = daemon.append_only_file
    os.truncate(aof, 60)
    done = check(daemon.data, "--repair")
    assert done.returncode == 1
    assert "there is no store of kvd's in" in done.stderr
    assert aof.stat().st_size == 60
    said = run_kvd("--data", str(daemon.data)).stderr
    assert "restore" in said
    assert "empty" not in said


def test_a_backup_is_a_regular_file_or_standard_output(
    shared_daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in ("/dev/null", str(tmp_path), str(pipe)):
        assert "no regular file" in complaint(run("--addr", shared_daemon.addr, "backup", path), 2)
    piped = run("--addr", shared_daemon.addr, "backup", "-")
    assert piped.stdout.startswith(b'{"kvd-backup": 1')
    assert run("--addr", shared_daemon.addr, "export", "*", "-").stdout.splitlines() == piped.stdout.splitlines()[1:-1]
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
    for what in (pipe, Path("-"), tmp_path):
        assert "no regular file" in one_line_error(restore(what, tmp_path / "new"))
    data = tmp_path / "left"
    data.mkdir()
    (data / "restoring").touch()
    (tmp_path / "backup").write_bytes(piped.stdout)
    assert "is not whole" in one_line_error(restore(tmp_path / "backup", data))
