"""Runs of kvctl and of the daemon, as processes that tests/support/fork_server.py makes of itself."""

import atexit
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_FROM_THE_START = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_", "GLIBC_", "OPENSSL_", "COVERAGE_")
"""How the names of variables begin that are read when Python or a library starts."""
_PIECE = 1 << 16
"""Bytes that a pipe takes and gives at once."""


class Fork:
    """A run's process; as a subprocess.Popen."""

    def __init__(self, told: socket.socket, words: Sequence[str]) -> None:
        self._told = told
        # Not more than a line at a time: what is in a buffer would not be seen by select.
        self._lines = told.makefile("rb", buffering=0)
        self._words = list(words)
        self.pid = int(self._lines.readline())
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; its exit status.  Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            if timeout is not None and not select.select([self._told], [], [], max(timeout, 0))[0]:
                raise subprocess.TimeoutExpired(self._words, timeout)
            self.returncode = int(self._lines.readline())
            self._lines.close()
            self._told.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Signal it, unless it was waited for."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """End it in order."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


class Forks:
    """Runs of a program, with an environment that has all that is read from the start."""

    def __init__(self, program: Path, environment: Mapping[str, str]) -> None:
        self._program = program
        self._environment = dict(environment)

    def can_run(self, environment: Mapping[str, str]) -> bool:
        """Whether a run with this environment does what one does for which Python is started."""
        here, there = _from_the_start(self._environment), _from_the_start(environment)
        # What a process reaches of the code is noted from its start on.
        return here == there and "COVERAGE_PROCESS_START" not in there

    def start(
        self, words: Sequence[str | bytes], environment: Mapping[str, str], standard: Sequence[int], directory: Path
    ) -> Fork:
        """Start it.  standard: the descriptors 0, 1 and 2."""
        given = [os.fsdecode(word) for word in words]
        told, telling = socket.socketpair()
        with tempfile.TemporaryFile() as task, telling:
            task.write(json.dumps([str(directory), given, dict(environment)]).encode())
            task.seek(0)
            socket.send_fds(self._control, [b"\0"], [*standard, task.fileno(), telling.fileno()])
        return Fork(told, given)

    def run(
        self, words: Sequence[str | bytes], environment: Mapping[str, str], stdin: bytes, timeout: float
    ) -> subprocess.CompletedProcess[bytes]:
        """Run it to its end.  Raises subprocess.TimeoutExpired after so many seconds."""
        give_up = time.monotonic() + timeout
        (given, feeding), (printed, out), (said, err) = os.pipe(), os.pipe(), os.pipe()
        fork = self.start(words, environment, [given, out, err], Path.cwd())
        for end in (given, out, err):
            os.close(end)
        stdout, stderr = _exchange(feeding, stdin, [printed, said], give_up)
        try:
            status = fork.wait(give_up - time.monotonic())
        except subprocess.TimeoutExpired:
            fork.kill()
            fork.wait()
            raise
        return subprocess.CompletedProcess(list(words), status, stdout, stderr)

    @cached_property
    def _control(self) -> socket.socket:
        """The way to the process that makes runs; it ends when nobody holds this any more."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.fork_server", str(self._program), str(theirs.fileno())],
                cwd=_ROOT, env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )  # fmt: skip

        def end() -> None:
            ours.close()
            process.wait()

        atexit.register(end)
        return ours


def _from_the_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in environment.items() if name.startswith(_FROM_THE_START)}


def _exchange(feeding: int, data: bytes, sources: Sequence[int], give_up: float) -> list[bytes]:
    """Write what is to go in, and read all that comes out, of each source; closes all."""
    got: dict[int, list[bytes]] = {source: [] for source in sources}
    os.set_blocking(feeding, False)
    with selectors.DefaultSelector() as ready:
        ready.register(feeding, selectors.EVENT_WRITE)
        for source in sources:
            ready.register(source, selectors.EVENT_READ)
        while ready.get_map() and time.monotonic() < give_up:
            for key, _ in ready.select(give_up - time.monotonic()):
                if key.fd == feeding:
                    data = _fed(feeding, data)
                    is_over = not data
                else:
                    got[key.fd].append(os.read(key.fd, _PIECE))
                    is_over = not got[key.fd][-1]
                if is_over:
                    ready.unregister(key.fd)
                    os.close(key.fd)
    return [b"".join(pieces) for pieces in got.values()]


def _fed(feeding: int, data: bytes) -> bytes:
    """Write what is taken; what is left."""
    try:
        return data[os.write(feeding, data[:_PIECE]) :]
    except BrokenPipeError:
        return b""
