"""Reported: `kvctl del --prefix`, interrupted or left by the daemon, printed `0` while thousands of keys were gone."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.kvctl import ENVIRONMENT, PATIENCE, PROGRAM, run, scripted

DELETE = ("del", "--prefix", "slow/", "--yes")


MORE = b" before the last request, and perhaps more by it"


@pytest.mark.parametrize(
    ("replies", "status", "said"),
    [
        ([], 7, b"0 keys were deleted" + MORE),
        ([b"OK 9 10000\n"], 7, b"10000 keys were deleted" + MORE),
        ([b"OK 9 10000\n", b"ERR unavailable later\n"], 6, b"10000 keys were deleted"),
        ([b"OK 9 10000\n", b"ERR uncertain 300 keys are gone\n"], 7, b"10000 keys were deleted" + MORE),
    ],
)
@pytest.mark.parametrize("option", [[], ["--json"]])
def test_no_count_is_printed_that_is_not_all(replies: list[bytes], status: int, said: bytes, option: list[str]) -> None:
    with scripted(*replies) as address:
        result = run("--addr", address, *DELETE, *option)
    assert (result.returncode, result.stdout) == (status, b"")
    assert result.stderr.endswith(b"\nkvctl: %s; to run del again is safe\n" % said)


@contextmanager
def amid(*words: str, answers: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run kvctl with a daemon that answers so many deletions with 10,000 keys, and has taken the next one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        command = [sys.executable, str(PROGRAM), "--addr", f"{host}:{port}", *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT) as kvctl:
            server.settimeout(PATIENCE)
            peer, _ = server.accept()
            with peer, peer.makefile("rb") as requests:
                for answer in (b"OK\n", *[b"OK 9 10000\n"] * answers):
                    requests.readline()
                    peer.sendall(answer)
                assert requests.readline().startswith(b"DEL ")
                yield kvctl


@pytest.mark.parametrize(("answers", "deleted"), [(0, b"0"), (2, b"20000")])
def test_interrupted_amid_a_prefix(answers: int, deleted: bytes) -> None:
    with amid(*DELETE, answers=answers) as kvctl:
        kvctl.send_signal(signal.SIGINT)
        printed, said = kvctl.communicate(timeout=PATIENCE)
    assert (kvctl.returncode, printed) == (130, b"")
    assert said == b"kvctl: %s keys were deleted%s; to run del again is safe\n" % (deleted, MORE)
