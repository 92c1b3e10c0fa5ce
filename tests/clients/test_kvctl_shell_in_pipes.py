"""kvctl shell without a terminal."""

import signal
import subprocess
import sys

import pytest

from kvd.cli.status import INTERRUPTED, LOST, REFUSED, UNKNOWN, USAGE
from tests.support.kvctl import ENVIRONMENT, PATIENCE, PROGRAM, complaint, printed, run, scripted
from tests.support.processes import Daemon


def shell(daemon: Daemon) -> subprocess.Popen[bytes]:
    """One that runs."""
    command = [sys.executable, str(PROGRAM), "--addr", daemon.addr, "shell"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, bufsize=0, stdin=pipe, stdout=pipe, stderr=pipe, env=ENVIRONMENT)


def test_lines_are_answered_without_a_prompt(daemon: Daemon) -> None:
    lines = b"SET a \xe2\x80\xae two\r\nget a\nPUT b base64 = AAo=\nGET b\nKEYS\nGET none\n"
    replies = b"OK 1\nOK \xe2\x80\xae two\nOK 2\nOK64 AAo=\nKEY a\nKEY b\nOK 2\nNONE\n"
    assert printed(run("--addr", daemon.addr, "shell", stdin=lines)) == replies


def test_many_lines_are_pipelined_and_answered(shared_daemon: Daemon) -> None:
    lines = b"".join(b"PING %d\n" % number for number in range(20_000))
    replies = b"".join(b"OK %d\n" % number for number in range(20_000))
    assert printed(run("--addr", shared_daemon.addr, "shell", stdin=lines)) == replies


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"FROB\nPING\n", USAGE),
        (b"GET a*\n", USAGE),
        (b"RESUME 1@store\nPING\n", REFUSED),
        (b"AUTH ada x\nFROB\n", REFUSED),
        (b"GET none\nDEL none if=1\n", 0),
    ],
)
def test_the_status_is_that_of_the_most_serious_error(lines: bytes, status: int, shared_daemon: Daemon) -> None:
    result = run("--addr", shared_daemon.addr, "shell", stdin=lines)
    assert (result.returncode, result.stderr) == (status, b"")
    assert result.stdout.count(b"\n") == lines.count(b"\n")


def test_a_line_without_its_end_is_not_sent(daemon: Daemon) -> None:
    result = run("--addr", daemon.addr, "shell", stdin=b"SET user/10 x\nDEL user/1")
    assert result.stdout == b"OK 1\n"
    assert complaint(result, USAGE) == "kvctl: the last line has no line end and was not sent\n"


def test_a_watch_goes_on_after_the_last_line(daemon: Daemon) -> None:
    process = shell(daemon)
    assert process.stdin
    assert process.stdout
    process.stdin.write(b"WATCH a*\n")
    process.stdin.close()
    assert process.stdout.readline().startswith(b"OK 0@")
    with daemon.connect() as peer:
        peer.ask("SET a1 x")
        assert process.stdout.readline().endswith(b" SET a1 x\n")
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == INTERRUPTED
    process.stdout.close()
    assert process.stderr
    process.stderr.close()


def test_it_ends_when_nobody_reads(daemon: Daemon) -> None:
    process = shell(daemon)
    assert process.stdin
    assert process.stdout
    assert process.stderr
    process.stdin.write(b"WATCH a*\n")
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(PATIENCE) == 0  # its input is still open
    assert process.stderr.read() == b""
    process.stdin.close()
    process.stderr.close()


@pytest.mark.parametrize(("line", "status"), [(b"GET a\n", LOST), (b"INCR a\n", UNKNOWN)])
def test_a_daemon_that_is_lost_is_told(line: bytes, status: int) -> None:
    with scripted(b"") as address:
        result = run("--addr", address, "shell", stdin=line)
    assert complaint(result, status).startswith(f"kvctl: lost kvd at {address}")
