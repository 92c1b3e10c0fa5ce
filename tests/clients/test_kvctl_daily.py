"""kvctl's daily commands on several keys, with files, editors and prefixes, and waiting."""

import json
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from signal import SIGKILL

import pytest

from tests.support.kvctl import ENVIRONMENT, PATIENCE, PROGRAM, Result, Word, complaint, printed, run
from tests.support.processes import Daemon, StartDaemon, wait_for
from tests.support.terminal import CTRL_C, on_a_terminal

Ctl = Callable[..., Result]


@pytest.fixture
def ctl(shared_daemon: Daemon) -> Ctl:
    def ctl(*words: Word, stdin: bytes = b"", **variables: str) -> Result:
        return run("--addr", shared_daemon.addr, *words, stdin=stdin, **variables)

    return ctl


def test_get_takes_several_keys_and_shows_revisions(ctl: Ctl) -> None:
    one = int(printed(ctl("set", "g/1", "one")))
    printed(ctl("set", "g/2", "-", stdin=b"\xff\n"))
    assert printed(ctl("get", "g/1")) == b"one"
    assert printed(ctl("get", "g/2", "g/1")) == b"\xff\n\none\n"
    assert printed(ctl("get", "g/1", "--show-rev")) == b"%d one\n" % one
    assert printed(ctl("--show-rev", "get", "g/1", "g/2")) == b"%d one\n%d \xff\n\n" % (one, one + 1)
    result = ctl("get", "g/1", "g/x", "g/2", "g/y", "--json")
    assert [json.loads(line)["key"] for line in result.stdout.splitlines()] == ["g/1", "g/2"]
    assert complaint(result, 1) == "kvctl: no such key: g/x, g/y\n"


def test_set_takes_a_file_and_creates(ctl: Ctl, tmp_path: Path) -> None:
    file = tmp_path / "value"
    file.write_bytes(bytes(range(256)) * 100)
    for words in (["set", "f", "--file", str(file)], ["set", "--file", str(file), "f"], ["set", f"--file={file}", "f"]):
        printed(ctl(*words))
        assert printed(ctl("get", "f")) == file.read_bytes()
    printed(ctl("set", "f", "--file"))
    assert printed(ctl("get", "f")) == b"--file"
    assert "kvctl: --create does not hold: the key's revision is " in complaint(ctl("set", "f", "x", "--create"), 1)
    printed(ctl("set", "--create", "f/new", "x"))
    file.write_bytes(b"x" * ((1 << 20) + 1))
    assert "is too long: this daemon takes at most 1048576 bytes" in complaint(ctl("set", "f", "--file", str(file)), 2)


def test_append_makes_keys_in_order(ctl: Ctl) -> None:
    keys = [printed(ctl("append", "q/", value)).decode().rstrip() for value in ("a", "-x", "c")]
    assert keys == sorted(keys)
    assert all(key.startswith("q/") and len(key) == 18 for key in keys)
    assert printed(ctl("get", *keys)) == b"a\n-x\nc\n"
    printed(ctl("append", "q/*", "-", "--ttl", "100", stdin=b"\n"))
    assert printed(ctl("count", "q/*")) == b"4\n"


def test_del_of_a_prefix_says_how_many(ctl: Ctl) -> None:
    for number in range(3):
        printed(ctl("set", f"dp/{number}", "v"))
    printed(ctl("set", "dp", "v"))
    assert printed(ctl("del", "--prefix", "dp/")) == b"3\n"
    assert printed(ctl("del", "--prefix", "dp/*", "--json")) == b'{"prefix": "dp/", "deleted": 0}\n'
    assert printed(ctl("get", "dp")) == b"v"


@pytest.mark.parametrize("prefix", ["", "*"])
def test_a_prefix_that_is_empty_by_oversight_deletes_nothing(daemon: Daemon, prefix: str) -> None:
    printed(run("--addr", daemon.addr, "set", "k", "v"))
    refused = run("--addr", daemon.addr, "del", "--prefix", prefix)
    assert refused.returncode == 2
    assert b"--prefix: all keys begin with ''; expected --yes" in refused.stderr
    assert printed(run("--addr", daemon.addr, "get", "k")) == b"v"
    assert printed(run("--addr", daemon.addr, "del", "--prefix", prefix, "--yes")) == b"1\n"


@pytest.mark.parametrize(
    ("words", "typed"),
    [
        (["set", "typed", "-"], b"abc\n\x04"),
        (["txn"], b"SET typed abc\n\x04"),
        (["import"], b'{"key": "typed", "value": "abc"}\n\x04'),
        (["send"], b"SET typed abc\n\x04"),
    ],
)
def test_what_waits_for_a_terminal_says_so(ctl: Ctl, shared_daemon: Daemon, words: list[str], typed: bytes) -> None:
    shown, ended = at_a_terminal(shared_daemon, words, b"Ctrl-D at the beginning of a line\r\n", typed)
    assert shown.startswith(b"kvctl: reading ")  # and no bar, amid which somebody would type
    assert ended == 0
    assert printed(ctl("get", "typed")).rstrip() == b"abc"


@pytest.mark.parametrize(("answer", "status", "left"), [(b"n\n", 1, b"2\n"), (b"\n", 1, b"2\n"), (b"y\n", 0, b"0\n")])
def test_del_of_a_prefix_asks_on_a_terminal(
    ctl: Ctl, shared_daemon: Daemon, answer: bytes, status: int, left: bytes
) -> None:
    printed(ctl("set", "ask/1", "v"))
    printed(ctl("set", "ask/2", "v"))
    shown, ended = at_a_terminal(shared_daemon, ["del", "--prefix", "ask/"], b"[y/N] ", answer)
    assert b"delete 2 keys that begin with 'ask/'? [y/N] " in shown
    assert ended == status
    assert printed(ctl("count", "ask/*")) == left
    printed(ctl("del", "--prefix", "ask/", "--yes"))


def at_a_terminal(daemon: Daemon, words: list[str], prompt: bytes, answer: bytes) -> tuple[bytes, int]:
    """Run a command on a terminal and answer it."""
    master, slave = pty.openpty()
    command = [sys.executable, str(PROGRAM), *words]
    variables = ENVIRONMENT | {"KVCTL_ADDR": daemon.addr}
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=variables)
    os.close(slave)
    shown = b""
    while prompt not in shown:
        shown += os.read(master, 1024)
    os.write(master, answer)
    try:
        return shown, process.wait(PATIENCE)
    finally:
        os.close(master)


def editor(tmp_path: Path, script: str) -> str:
    file = tmp_path / "an editor"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return f"'{file}' "


def test_edit_writes_back_what_was_changed(ctl: Ctl, tmp_path: Path) -> None:
    printed(ctl("set", "e.json", "old", "--ttl", "100"))
    changes = editor(tmp_path, 'case "$1" in *.json) ;; *) exit 9;; esac; printf "%s new\\n" "$(cat "$1")" > "$1"')
    revision = printed(ctl("edit", "e.json", EDITOR=changes, TMPDIR=str(tmp_path)))
    assert printed(ctl("get", "e.json", "--show-rev")) == revision.rstrip() + b" old new\n"
    assert 0 < float(printed(ctl("ttl", "e.json"))) <= 100
    assert list(tmp_path.glob("kvctl-*")) == []
    result = ctl("edit", "e.json", VISUAL="true", EDITOR="false")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"kvctl: nothing was changed\n")
    printed(ctl("edit", "e/new", EDITOR=editor(tmp_path, 'echo first > "$1"')))
    assert printed(ctl("get", "e/new")) == b"first"
    assert "ended with status 1; nothing was changed" in complaint(ctl("edit", "e/new", EDITOR="false"), 126)
    assert "cannot run '/nowhere/ed'" in complaint(ctl("edit", "e/new", EDITOR="/nowhere/ed"), 126)


@pytest.mark.parametrize("key", ["e.$(touch${IFS}ran)", "e.`touch${IFS}ran`", "e.;touch${IFS}ran;", "e.x'y", "e.-é"])
def test_edit_gives_an_editor_a_plain_name(ctl: Ctl, tmp_path: Path, key: str) -> None:
    """Many an EDITOR is a script that has its words expanded once more."""
    seen = tmp_path / "seen"
    program = editor(tmp_path, f'echo "$1" > {seen}; echo new > "$1"')
    printed(ctl("edit", key, EDITOR=program, TMPDIR=str(tmp_path)))
    assert re.fullmatch(r"kvctl-[a-z0-9_]+", Path(seen.read_text().rstrip("\n")).name)
    assert printed(ctl("get", key)) == b"new"


def test_edit_leaves_the_owner(daemon: Daemon, tmp_path: Path) -> None:
    with daemon.connect() as peer:
        assert peer.ask("PUT e/owner ttl=100 = x") == "OK 1"
        assert peer.ask("PUT e/owned with=e/owner = old") == "OK 2"
    editing = editor(tmp_path, 'echo new > "$1"')
    printed(run("--addr", daemon.addr, "edit", "e/owned", EDITOR=editing))
    item = json.loads(run("--addr", daemon.addr, "export", "e/owned").stdout)
    assert (item["value"], item["with"]) == ("new", "e/owner")
    printed(run("--addr", daemon.addr, "del", "e/owner"))
    complaint(run("--addr", daemon.addr, "get", "e/owned"), 1)


def test_edit_leaves_ctrl_c_to_the_editor(ctl: Ctl, shared_daemon: Daemon, tmp_path: Path) -> None:
    program = tmp_path / "editor.py"
    program.write_text(
        "import signal, sys\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\n"  # it may come before it is waited for
        "print('editing', flush=True)\n"
        "signal.sigwait([signal.SIGINT])\n"
        "open(sys.argv[1], 'w').write('edited')\n"
    )
    words = ("--addr", shared_daemon.addr, "edit", "e/int")
    with on_a_terminal(*words, EDITOR=f"'{sys.executable}' '{program}'") as terminal:
        terminal.shows("editing")
        terminal.type(CTRL_C)
        assert terminal.finish() == 0
    assert printed(ctl("get", "e/int")) == b"edited"


def test_edit_does_not_overwrite_what_another_wrote(ctl: Ctl, shared_daemon: Daemon, tmp_path: Path) -> None:
    printed(ctl("set", "e/race", "old"))
    other = f"{sys.executable} {PROGRAM} --addr {shared_daemon.addr} set e/race theirs"
    script = editor(tmp_path, f'echo mine > "$1"; {other} > /dev/null')
    said = complaint(ctl("edit", "e/race", EDITOR=script, TMPDIR=str(tmp_path)), 1)
    assert said.startswith("kvctl: not written, for the key was written meanwhile; what you have edited is in ")
    assert Path(said.rstrip().rpartition(" ")[2]).read_text() == "mine\n"
    assert printed(ctl("get", "e/race")) == b"theirs"


def test_what_cannot_be_written_back_is_kept(start_daemon: StartDaemon, tmp_path: Path) -> None:
    daemon = start_daemon("--fsync", "no")
    gone, statuses = tmp_path / "gone", list[int]()
    os.mkfifo(gone)

    def see_its_end() -> None:
        statuses.append(daemon.wait())
        gone.write_text("\n")

    script = editor(tmp_path, f'echo mine > "$1"; kill -9 {daemon.pid}; read end < {gone}')
    seeing = threading.Thread(target=see_its_end, daemon=True)
    seeing.start()
    said = complaint(run("--addr", daemon.addr, "edit", "k", EDITOR=script, TMPDIR=str(tmp_path)), 3)
    seeing.join()
    assert statuses == [-SIGKILL]
    assert said.startswith("kvctl: not written, for cannot reach kvd at ")
    assert Path(said.rstrip().rpartition(" ")[2]).read_text() == "mine\n"


def test_listing_a_part(ctl: Ctl) -> None:
    for key in ("l/a", "l/b/1", "l/b/2", "l/c", "l/d"):
        printed(ctl("set", key, "v"))
    assert printed(ctl("keys", "l/*", "--reverse", "--limit", "2")) == b"l/d\nl/c\n"
    assert printed(ctl("keys", "l/*", "--after", "l/a", "--before", "l/c")) == b"l/b/1\nl/b/2\n"
    assert printed(ctl("keys", "l/*", "--fold", "/")) == b"l/a\nl/b/\nl/c\nl/d\n"
    listed = [line.split()[0] for line in printed(ctl("list", "l/*", "--fold", "/", "--before", "l/d")).splitlines()]
    assert listed == [b"PAIR", b"KEY", b"PAIR"]


def test_wait_for_what_is_there_and_for_what_comes(ctl: Ctl, shared_daemon: Daemon) -> None:
    printed(ctl("set", "w", "here"))
    assert printed(ctl("wait", "w")) == b"here"
    assert printed(ctl("wait", "w", "here")) == b""
    assert printed(ctl("wait", "w/none", "--gone")) == b""
    for words, stays in (
        (["w", "other"], "w does not have that value"),
        (["w", "--gone"], "w is still there"),
        (["w/none"], "w/none is not there"),
        (["w", "here", "--gone"], "w still has that value"),
    ):
        result = ctl("wait", *words, "--for", "0.05")
        assert complaint(result, 8) == f"kvctl: {stays} after 0.05 s\n"
    with waiting(shared_daemon, "w", "-") as process:
        for value in (b"almost", b"-"):
            assert process.poll() is None
            printed(ctl("set", "w", "-", stdin=value))
        assert process.wait(PATIENCE) == 0
    with waiting(shared_daemon, "w", "--gone") as process:
        printed(ctl("del", "w"))
        assert process.wait(PATIENCE) == 0
    with waiting(shared_daemon, "w", "--json") as process:
        revision = int(printed(ctl("set", "w", "new")))
        assert process.wait(PATIENCE) == 0
        assert process.stdout
        assert json.loads(process.stdout.read()) == {"key": "w", "revision": revision, "value": "new"}


def waiting(daemon: Daemon, *words: str) -> "subprocess.Popen[bytes]":
    """Begin to wait; return when the daemon knows of it."""

    def watchers() -> int:
        facts = json.loads(printed(run("--addr", daemon.addr, "info", "--json")))
        return int(facts["watchers"])

    wait_for("the last one to be gone", lambda: watchers() == 0)
    command = [sys.executable, str(PROGRAM), "--addr", daemon.addr, "wait", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT)
    wait_for("kvctl to wait", lambda: watchers() == 1)
    return process


def test_wait_lasts_through_a_restart(daemon: Daemon) -> None:
    with waiting(daemon, "k", "v") as process:
        daemon.stop()
        daemon.start()
        printed(run("--addr", daemon.addr, "set", "k", "v"))
        assert process.wait(PATIENCE) == 0
