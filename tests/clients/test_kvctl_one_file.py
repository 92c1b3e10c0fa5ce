"""kvctl as one file (deploy/kvctl_zipapp.py): a Python that has nothing installed runs it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.kvctl import ENVIRONMENT, PATIENCE
from tests.support.processes import ROOT, Daemon

LARGEST = 5_000_000


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("one") / "kvctl"
    subprocess.run([sys.executable, ROOT / "deploy" / "kvctl_zipapp.py", made], check=True, stdout=subprocess.DEVNULL)
    return made


def run(program: Path, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """-I and -S: with the standard library alone."""
    command = [sys.executable, "-I", "-S", str(program), *words]
    return subprocess.run(
        command, input=stdin, capture_output=True, timeout=PATIENCE, check=False, env=ENVIRONMENT, cwd=program.parent
    )


def test_it_does_what_kvctl_does(program: Path, shared_daemon: Daemon) -> None:
    assert program.stat().st_mode & 0o111
    assert program.stat().st_size < LARGEST
    at = ("--addr", shared_daemon.addr)
    assert run(program, "set", "one/a", "hello", *at).returncode == 0
    assert run(program, "get", "one/a", *at).stdout == b"hello"
    assert run(program, "get", "one/none", *at).returncode == 1
    # With rich, prompt-toolkit and tomlkit.
    top = run(program, "top", "--once", *at)
    assert (top.returncode, top.stderr) == (0, b"")
    assert run(program, "shell", *at, stdin=b"get one/a\n").stdout == b"OK hello\n"
    assert run(program, "user", "add", "alice", "--file", "users.toml", "--no-password").returncode == 0
    exported = run(program, "export", "one/*", *at).stdout
    assert run(program, "import", *at, stdin=exported).returncode == 0


def test_what_it_lacks_it_says_in_a_line(program: Path, shared_daemon: Daemon) -> None:
    for words, lacks in (
        (("user", "add", "bob", "--file", "others.toml"), b"argon2-cffi"),
        (("import", "--from", "redis", "redis://127.0.0.1:1/0", "--addr", shared_daemon.addr), b"package redis"),
    ):
        done = run(program, *words, stdin=b"a password\n")
        assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
        assert lacks in done.stderr
