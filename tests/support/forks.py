"""Runs of kvctl as processes that tests/support/kvctl_forks.py makes of itself."""

import atexit
import json
import os
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

from tests.support.processes import ROOT

_FROM_THE_START = ("PYTHON", "LC_", "LANG")
"""How the names of variables begin that Python reads when it starts."""
_PIECE = 1 << 16
"""Bytes that a pipe takes and gives at once."""


class Forks:
    """Runs of kvctl, with these variables in their environment and more."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)

    def can_run(self, variables: Mapping[str, str]) -> bool:
        """Whether a run with these variables more does what one does for which Python is started."""
        # What a process reaches of the code is noted from its start on.
        is_measured = "COVERAGE_PROCESS_START" in self._environment
        return not is_measured and not any(name.startswith(_FROM_THE_START) for name in variables)

    def run(
        self, words: Sequence[str | bytes], variables: Mapping[str, str], stdin: bytes, timeout: float
    ) -> subprocess.CompletedProcess[bytes]:
        """Run kvctl to its end.  Raises subprocess.TimeoutExpired after so many seconds."""
        (given, feeding), (printed, out), (said, err) = os.pipe(), os.pipe(), os.pipe()
        told, telling = socket.socketpair()
        with tempfile.TemporaryFile() as task, telling:
            task.write(self._task(words, variables))
            task.seek(0)
            socket.send_fds(self._control, [b"\0"], [given, out, err, task.fileno(), telling.fileno()])
        for end in (given, out, err):
            os.close(end)
        text, complaints, ends = _exchange(feeding, stdin, [printed, said, told.detach()], timeout)
        process, *status = map(int, ends.split())
        if not status:
            os.kill(process, signal.SIGKILL)
            raise subprocess.TimeoutExpired(list(words), timeout)
        return subprocess.CompletedProcess(list(words), os.waitstatus_to_exitcode(status[0]), text, complaints)

    def _task(self, words: Sequence[str | bytes], variables: Mapping[str, str]) -> bytes:
        task = [str(Path.cwd()), [os.fsdecode(word) for word in words], self._environment | {**variables}]
        return json.dumps(task).encode()

    @cached_property
    def _control(self) -> socket.socket:
        """The way to the process that makes runs; it ends when nobody holds this any more."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.kvctl_forks", str(theirs.fileno())], cwd=ROOT,
                env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
            )  # fmt: skip

        def end() -> None:
            ours.close()
            process.wait()

        atexit.register(end)
        return ours


def _exchange(feeding: int, data: bytes, sources: Sequence[int], timeout: float) -> list[bytes]:
    """Write what is to go in, and read all that comes out, of each source; closes all."""
    got: dict[int, list[bytes]] = {source: [] for source in sources}
    give_up = time.monotonic() + timeout
    os.set_blocking(feeding, False)
    with selectors.DefaultSelector() as ready:
        ready.register(feeding, selectors.EVENT_WRITE)
        for source in sources:
            ready.register(source, selectors.EVENT_READ)
        while ready.get_map():
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
            if time.monotonic() > give_up:
                break
    return [b"".join(pieces) for pieces in got.values()]


def _fed(feeding: int, data: bytes) -> bytes:
    """Write what is taken; what is left."""
    try:
        return data[os.write(feeding, data[:_PIECE]) :]
    except BrokenPipeError:
        return b""
