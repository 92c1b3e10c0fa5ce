"""Runs of kvctl that tests have made of a process: each comes to its own end."""

import socket
import subprocess
import sys

import pytest

from tests.support.forks import Fork, Forks
from tests.support.kvctl import ENVIRONMENT, PROGRAM, run


def test_an_end_that_was_told_before_anybody_looked_is_seen() -> None:
    told, telling = socket.socketpair()
    with telling:
        telling.sendall(b"7\n-9\n")
        fork = Fork(told, ["kvctl"])
        assert (fork.pid, fork.wait(60), fork.wait(0)) == (7, -9, -9)


def test_an_end_that_does_not_come_is_not_waited_for_longer() -> None:
    told, telling = socket.socketpair()
    with told, telling:
        telling.sendall(b"7\n")
        with pytest.raises(subprocess.TimeoutExpired):
            Fork(told, ["kvctl"]).wait(0)


@pytest.mark.parametrize("words", [["--version"], ["help", "set"], ["frob"], ["--addr", "127.0.0.1:1", "get", b"\xff"]])
def test_a_run_says_and_does_what_one_of_its_own_python_does(words: list[str | bytes]) -> None:
    command = [sys.executable, str(PROGRAM), *words]
    alone = subprocess.run(command, capture_output=True, env=ENVIRONMENT, timeout=60, check=False)
    forked = run(*words)
    assert (forked.returncode, forked.stdout, forked.stderr) == (alone.returncode, alone.stdout, alone.stderr)


def test_what_is_read_when_python_starts_needs_a_start() -> None:
    forks = Forks(PROGRAM, {"LANG": "C.UTF-8"})
    assert forks.can_run({"LANG": "C.UTF-8", "KVCTL_ADDR": "127.0.0.1:1"})
    assert not forks.can_run({"LANG": "C"})
    assert not forks.can_run({})
    assert not forks.can_run({"LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"})
