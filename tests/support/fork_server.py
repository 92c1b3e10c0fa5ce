"""Runs of kvctl or kvd without a start of Python each: `python -m tests.support.fork_server PROGRAM NUMBER`.

It reads a program's code once, and makes a process of itself for each run, a fifth of the work.  A run has descriptors,
words, variables, and an end of its own, as any other.  Over the socket of this NUMBER comes a byte for each run, with
five descriptors: the run's standard ones, a file that tells the rest as JSON, and a socket over which the run's process
id goes back, and then how it ended (as os.waitstatus_to_exitcode has it).  Until that socket is closed its end is not
forgotten, as with any child that nobody has waited for.
"""

import gc
import importlib
import io
import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

DESCRIPTORS = 5
_STREAMS = ("stdin", "stdout", "stderr")


def _kvctl() -> Callable[[], NoReturn]:
    from kvd.cli.commands import COMMANDS
    from kvd.cli.main import command

    tuple(COMMANDS.values())  # which loads them
    return command


def _kvd() -> Callable[[], NoReturn]:
    from kvd.__main__ import command

    for name in LOADED_WHEN_USED:
        importlib.import_module(name)
    return command


LOADED_WHEN_USED = (
    "kvd.server", "kvd.workers.pool", "kvd.edge.location", "kvd.store.replicated.parts", "kvd.http.serving", "uvloop",
)  # fmt: skip
"""What a daemon loads by and by, according to its options."""
PROGRAMS = {"kvctl.py": _kvctl, "__main__.py": _kvd}
"""What loads them, and returns what runs them."""


class Server:
    """The runs that somebody wants, and who is told of them."""

    def __init__(self, program: str, control: socket.socket) -> None:
        self._program = program
        self._main = PROGRAMS[Path(program).name]()
        self._control = control
        self._ready = selectors.DefaultSelector()
        self._woken, self._waking = socket.socketpair()
        for one in (self._woken, self._waking):
            one.setblocking(False)
        for one in (self._woken, control):
            self._ready.register(one, selectors.EVENT_READ)
        self._runs: dict[socket.socket, int] = {}
        self._running: set[int] = set()

    def serve(self) -> None:
        """Start one run after another, until nobody wants any."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # with the end of the tests it ends by itself
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waking.fileno())
        gc.freeze()  # what is never looked at is never copied
        while True:
            for key, _ in self._ready.select():
                if key.fileobj is self._control:
                    _, descriptors, _, _ = socket.recv_fds(self._control, 1, DESCRIPTORS)
                    if not descriptors:
                        return
                    self._start(descriptors)
                elif key.fileobj is self._woken:
                    self._woken.recv(1 << 10)
                    self._tell_of_ends()
                elif isinstance(key.fileobj, socket.socket):
                    self._forget(key.fileobj)

    def _start(self, descriptors: list[int]) -> None:
        *standard, task, answer = descriptors
        process = os.fork()
        if not process:
            self._leave_all()
            os.close(answer)
            _prepare(self._program, standard, task)
            self._main()
        for descriptor in (*standard, task):
            os.close(descriptor)
        told = socket.socket(fileno=answer)
        self._runs[told] = process
        self._running.add(process)
        self._ready.register(told, selectors.EVENT_READ)
        told.sendall(b"%d\n" % process)

    def _leave_all(self) -> None:
        """Have nothing of this in a run's process."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._ready.close()
        for one in (self._control, self._woken, self._waking, *self._runs):
            one.close()

    def _tell_of_ends(self) -> None:
        for told, process in self._runs.items():
            if process in self._running:
                ended = os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if ended:
                    self._running.remove(process)
                    is_by_itself = ended.si_code == os.CLD_EXITED
                    with suppress(BrokenPipeError):
                        told.sendall(b"%d\n" % (ended.si_status if is_by_itself else -ended.si_status))

    def _forget(self, told: socket.socket) -> None:
        """Nobody asks any more."""
        self._ready.unregister(told)
        told.close()
        process = self._runs.pop(told)
        if process in self._running:
            self._running.remove(process)
            os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def _prepare(program: str, standard: list[int], task: int) -> None:
    """Do as Python does that is started."""
    with os.fdopen(task, "rb") as told:
        directory, words, variables = json.load(told)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = [program, *words]
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
        os.close(descriptor)
        former = getattr(sys, _STREAMS[number])
        raw = io.FileIO(number, former.mode, closefd=False)
        buffered = io.BufferedWriter(raw) if number else io.BufferedReader(raw)
        text = io.TextIOWrapper(buffered, former.encoding, former.errors, line_buffering=former is sys.stderr)
        setattr(sys, _STREAMS[number], text)


if __name__ == "__main__":
    Server(sys.argv[1], socket.socket(fileno=int(sys.argv[2]))).serve()
