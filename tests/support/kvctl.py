"""kvctl as a program, for tests, and daemons that do not behave."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from tests.support.forks import Forks
from tests.support.processes import ROOT

PROGRAM = ROOT / "kvctl.py"
PATIENCE = 60  # seconds until a program that hangs fails its test

ENVIRONMENT = {
    name: text for name, text in os.environ.items() if not name.startswith("KVCTL_") and name != "PYTHONUNBUFFERED"
} | {"XDG_CONFIG_HOME": "/nowhere"}
"""Without what would give another address, or hide that kvctl does not flush."""

_FORKS = Forks(PROGRAM, ENVIRONMENT)

Word = str | bytes
Result = subprocess.CompletedProcess[bytes]


def run(*words: Word, stdin: bytes = b"", **variables: str) -> Result:
    """Run kvctl to its end, with these variables in its environment."""
    environment = ENVIRONMENT | variables
    if _FORKS.can_run(environment):
        return _FORKS.run(words, environment, stdin, PATIENCE)
    return subprocess.run(
        [sys.executable, str(PROGRAM), *words], input=stdin, capture_output=True, env=environment, timeout=PATIENCE,
        check=False,
    )  # fmt: skip


def run_into(stdout: int, *words: Word) -> Result:
    """Run kvctl to its end with this descriptor as its standard output."""
    return subprocess.run(
        [sys.executable, str(PROGRAM), *words], stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE,
        env=ENVIRONMENT, timeout=PATIENCE, check=False,
    )  # fmt: skip


def on_a_terminal(*words: Word, **variables: str) -> bytes:
    """Run kvctl to its end with standard output on a terminal; return what that got."""
    terminal, stdout = os.openpty()
    process = subprocess.Popen([sys.executable, str(PROGRAM), *words], stdout=stdout, env=ENVIRONMENT | variables)
    os.close(stdout)
    try:
        return b"".join(iter(lambda: _read(terminal), b""))
    finally:
        os.close(terminal)
        process.wait(PATIENCE)


def _read(terminal: int) -> bytes:
    with contextlib.suppress(OSError):  # Linux answers EIO when the last process on the terminal has ended
        return os.read(terminal, 1 << 16)
    return b""


def printed(result: Result) -> bytes:
    """Return what a run that went well has printed."""
    assert (result.returncode, result.stderr) == (0, b"")
    return result.stdout


def complaint(result: Result, status: int) -> str:
    """Return the one line of a run that failed with this status."""
    assert result.returncode == status, result.stderr
    text = result.stderr.decode()
    assert text.startswith("kvctl: ")
    assert text.endswith("\n")
    assert text.count("\n") == 1
    return text


class Watching:
    """A kvctl watch that has begun; options are those of Popen."""

    def __init__(self, address: str, words: Sequence[str], stdout: int, **options: Any) -> None:
        command = [sys.executable, str(PROGRAM), "--addr", address, "watch", *words]
        self.process: subprocess.Popen[bytes] = subprocess.Popen(
            command, bufsize=0, stdout=stdout, stderr=subprocess.PIPE, env=ENVIRONMENT, **options
        )
        assert self.process.stderr
        self.first = self.process.stderr.readline()
        assert self.first.startswith(b"kvctl: watching from ")

    def line(self) -> bytes:
        assert self.process.stdout
        return self.process.stdout.readline()

    def says(self) -> bytes:
        """The next line on standard error."""
        assert self.process.stderr
        return self.process.stderr.readline()

    def end(self) -> tuple[int, bytes]:
        """Wait for its end; return its exit status and what it said last."""
        _, said = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, said

    def interrupt(self) -> tuple[int, bytes]:
        self.process.send_signal(signal.SIGINT)
        return self.end()


@contextlib.contextmanager
def watching(address: str, *words: str, stdout: int = subprocess.PIPE, **options: Any) -> Iterator[Watching]:
    """A watch that does not outlive the test."""
    begun = Watching(address, words, stdout, **options)
    try:
        yield begun
    finally:
        begun.process.kill()
        begun.process.communicate()


@contextlib.contextmanager
def scripted(*replies: bytes, greeting: bytes = b"OK\n") -> Iterator[str]:
    """A daemon that answers PING, then each request more with the next of these bytes; then it is gone."""

    def serve() -> None:
        peer, _ = server.accept()
        with peer, peer.makefile("rb") as requests, contextlib.suppress(OSError):
            for answer in (greeting, *replies):
                requests.readline()
                peer.sendall(answer)
            # Closed with unread requests, the connection would be reset, and replies lost that were sent.
            peer.shutdown(socket.SHUT_WR)
            requests.read()

    with socket.create_server(("127.0.0.1", 0)) as server:
        serving = threading.Thread(target=serve)
        serving.start()
        host, port = server.getsockname()
        yield f"{host}:{port}"
        serving.join(PATIENCE)
