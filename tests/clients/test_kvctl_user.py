"""kvctl user: the file of users, edited and questioned."""

import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kvd.access.passwords import matches
from kvd.access.users import User
from kvd.access.users_file import load
from tests.support.kvctl import ENVIRONMENT, PATIENCE, PROGRAM, complaint, printed, run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "users.toml"


def on(file: Path, *words: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    return run("user", *words, "--file", str(file), stdin=stdin)


def user(file: Path, name: str) -> User:
    found = load(file, "--users").get(name)
    assert found
    return found


def test_a_user_is_added_found_and_deleted(file: Path) -> None:
    added = on(file, "add", "alice", "--rule", "app/*=read,write,watch", "--rule", "a=b=read", stdin=b"geheim wort\n")
    assert printed(added) == b"added alice\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    alice = user(file, "alice")
    assert [pattern for pattern, _ in alice.rules] == [b"app/*", b"a=b"]
    assert matches(alice.hashes[0], b"geheim wort")
    assert b"geheim" not in file.read_bytes()
    assert printed(on(file, "list")) == b"alice passwords=1 app/*=read,write,watch a=b=read\n"
    assert "there is a user alice already" in complaint(on(file, "add", "alice", stdin=b"x\n"), 2)
    assert printed(on(file, "del", "alice")) == b"deleted alice\n"
    assert complaint(on(file, "del", "alice"), 1) == "kvctl: there is no user alice\n"
    assert printed(on(file, "list")) == b""


def test_a_rule_may_have_a_quota(file: Path) -> None:
    rule = "a=b/*=read,write,max-keys=1000,max-bytes=10MB"
    on(file, "add", "bob", "--no-password", "--rule", rule)
    assert user(file, "bob").rights.quota == b"a=b/* 1000 10000000\n"
    assert printed(on(file, "list")) == f"bob passwords=0 {rule}\n".encode()
    assert printed(on(file, "can", "bob", "read", "a=b/c")) == f"yes: {rule}\n".encode()
    wrong = "a*=write,max-keys=many"
    assert "invalid max-keys 'many'" in complaint(on(file, "add", "c", "--no-password", "--rule", wrong), 2)


def test_a_password_is_changed_with_and_without_the_old_one(file: Path) -> None:
    on(file, "add", "bob", stdin=b"one\n")
    assert printed(on(file, "passwd", "bob", "--keep-old", stdin=b"two\r\n")) == b"bob has 2 valid passwords\n"
    hashes = user(file, "bob").hashes
    assert [matches(hashed, word) for hashed, word in zip(hashes, (b"two", b"one"), strict=True)] == [True, True]
    on(file, "passwd", "bob", "--keep-old", stdin=b"three")
    assert user(file, "bob").hashes[1] == hashes[0]
    assert printed(on(file, "passwd", "bob", "--drop-old")) == b"bob has 1 valid password\n"
    assert matches(user(file, "bob").hashes[0], b"three")
    on(file, "passwd", "bob", stdin=b"four")
    assert len(user(file, "bob").hashes) == 1


def test_can_says_which_rule_allows_it_and_warns_of_owners(file: Path) -> None:
    on(file, "add", "default", "--rule", "pub/*=read,write")
    assert printed(on(file, "can", "default", "read", "pub/x")) == b"yes: pub/*=read,write\n"
    assert on(file, "can", "default", "read", "p").returncode == 1
    assert on(file, "can", "default", "watch", "pub/x").stdout == b"no: no rule allows it\n"
    assert on(file, "can", "default", "read", "pub*").returncode == 1
    writes = on(file, "can", "default", "write", "pub/*")
    assert (writes.returncode, writes.stdout) == (0, b"yes: pub/*=read,write\n")
    assert b"deletes with it the keys that live with it" in writes.stderr
    assert complaint(on(file, "can", "eve", "read", "x"), 1) == "kvctl: there is no user eve\n"


def test_what_people_have_written_stays(file: Path) -> None:
    file.write_text('# ours\n[users.eve]  # she\nrules = { "*" = ["read"] }  # all\n')
    on(file, "add", "alice", "--no-password")
    assert file.read_text().startswith('# ours\n[users.eve]  # she\nrules = { "*" = ["read"] }  # all\n')
    assert user(file, "alice").hashes == ()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("words", "stdin", "said"),
    [
        (["frob"], b"", "unknown action 'frob'"),
        (["add"], b"x", "expected kvctl user add <NAME>"),
        (["add", "a b"], b"x", "invalid name 'a b'"),
        (["add", "a"], b"", "it is empty"),
        (["add", "a"], b"two\nlines", "one password, of one line"),
        (["add", "a"], b"same\nsame\n", "one password, of one line"),
        (["add", "a"], b"bell\x07", "control characters"),
        (["add", "a"], b"x" * 1026, "more than 1024 bytes"),
        (["add", "a", "--rule", "x"], b"x", "invalid rule 'x'"),
        (["add", "a", "--rule", "x=reed"], b"x", "expected any of read, write, watch, admin"),
        (["add", "a", "--rule", "x/*=write,max-foo=1"], b"x", "unknown right or quota 'max-foo=1' of 'x/*'"),
        (["add", "a", "--rule", "x/*=write,keys=1"], b"x", "unknown right or quota 'keys=1' of 'x/*'"),
        (["add", "a", "--rule", "x=write,max-foo=1"], b"x", "unknown right or quota 'max-foo=1' of 'x'"),
        (["add", "a", "--rule", "x/*=admin"], b"x", "expected it for '*' only"),
        (["add", "a", "--rule", "x=read", "--rule", "x=write"], b"x", "two rules for 'x'"),
        (["passwd", "default"], b"x", "default has no password"),
        (["can", "a", "reed", "x"], b"", "expected any of read"),
        (["list", "a"], b"", "expected kvctl user list"),
    ],
)
def test_wrong_words_are_explained_and_change_nothing(file: Path, words: list[str], stdin: bytes, said: str) -> None:
    file.write_text("[users.a2]\n[users.a]\n" if words[0] == "can" else "[users.a2]\n")
    before = file.read_text()
    assert said in complaint(on(file, *words, stdin=stdin), 2)
    assert file.read_text() == before


def test_a_broken_file_is_left_as_it_is(file: Path) -> None:
    file.write_text("[users.a]\nrules = 1\n")
    assert "user a: rules: expected a table" in complaint(on(file, "add", "b", stdin=b"x"), 2)
    assert file.read_text() == "[users.a]\nrules = 1\n"
    assert list(file.parent.iterdir()) == [file]


def test_a_file_that_could_not_be_made_leaves_nothing(tmp_path: Path, file: Path) -> None:
    assert "cannot write" in complaint(on(tmp_path / "nowhere" / "users.toml", "add", "a", stdin=b"x"), 2)
    assert on(file, "del", "a").returncode == 1
    assert not file.exists()
    assert "no file of users" in complaint(run("user", "list"), 2)
    assert printed(run("user", "add", "a", stdin=b"x", KVD_USERS=str(file))) == b"added a\n"


def test_what_edits_at_the_same_time_loses_nothing(file: Path) -> None:
    command = [sys.executable, str(PROGRAM), "user", "add", "--no-password", "--file", str(file)]
    added = [subprocess.Popen([*command, f"user{n}"], stdout=subprocess.DEVNULL) for n in range(6)]
    assert [process.wait(PATIENCE) for process in added] == [0] * 6
    assert [one.name for one in load(file, "--users").all] == [f"user{n}" for n in range(6)]


@pytest.mark.parametrize(("second", "status"), [(b"geheim", 0), (b"other", 2)])
def test_on_a_terminal_it_is_asked_for_twice_and_not_shown(file: Path, second: bytes, status: int) -> None:
    pid, master = pty.fork()
    if pid == 0:
        command = [sys.executable, str(PROGRAM), "user", "add", "a", "--file", str(file)]
        os.execve(sys.executable, command, ENVIRONMENT)  # noqa: S606
    shown = b""
    for prompt, word in [(b"new password of a: ", b"geheim"), (b"the same again: ", second)]:
        while prompt not in shown:
            shown += os.read(master, 1024)
        os.write(master, word + b"\n")
    while piece := _read(master):
        shown += piece
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status
    os.close(master)
    assert b"geheim" not in shown
    assert file.exists() == (status == 0)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1024)
    except OSError:  # Linux answers EIO when the last process on the terminal has ended
        return b""
