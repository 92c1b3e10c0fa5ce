"""Runs of kvctl without a start of Python each: `python -m tests.support.kvctl_forks DESCRIPTOR`.

It reads kvctl's code once, and makes a process of itself for each run, a fifth of the work.  A run has descriptors,
words, variables, and an end of its own, as any other.  Over the socket of DESCRIPTOR comes a byte for each run, with
five descriptors: the run's standard ones, a file that tells the rest as JSON, and a socket over which the run's process
id goes back, and then how it ended (as os.waitpid has it).
"""

import gc
import io
import json
import os
import selectors
import signal
import socket
import sys
from contextlib import suppress
from typing import NoReturn

from kvd.cli.commands import COMMANDS
from kvd.cli.main import main
from tests.support.processes import ROOT

DESCRIPTORS = 5
_STREAMS = ("stdin", "stdout", "stderr")


class Forks:
    """The runs that somebody wants, and who is told of them."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._told: dict[int, socket.socket] = {}
        self._woken, waking = socket.socketpair()
        for one in (self._woken, waking):
            one.setblocking(False)
        self._waking = waking

    def serve(self) -> None:
        """Start one run after another, until nobody wants any."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # with the end of the tests it ends by itself
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waking.fileno())
        with selectors.DefaultSelector() as ready:
            for one in (self._control, self._woken):
                ready.register(one, selectors.EVENT_READ)
            while True:
                if self._control in {key.fileobj for key, _ in ready.select()}:
                    _, descriptors, _, _ = socket.recv_fds(self._control, 1, DESCRIPTORS)
                    if not descriptors:
                        return
                    self._start(descriptors)
                self._tell_of_ends()

    def _start(self, descriptors: list[int]) -> None:
        *standard, task, answer = descriptors
        process = os.fork()
        if not process:
            self._forget()
            os.close(answer)
            _run(standard, task)
        for descriptor in (*standard, task):
            os.close(descriptor)
        self._told[process] = told = socket.socket(fileno=answer)
        told.sendall(b"%d\n" % process)

    def _forget(self) -> None:
        """Have nothing of this in a run's process."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for one in (self._control, self._woken, self._waking, *self._told.values()):
            one.close()

    def _tell_of_ends(self) -> None:
        with suppress(BlockingIOError):
            self._woken.recv(1 << 10)
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                process, status = ended
                with self._told.pop(process) as told, suppress(BrokenPipeError):
                    told.sendall(b"%d\n" % status)


def _run(standard: list[int], task: int) -> NoReturn:
    """As Python does that is started for it."""
    with os.fdopen(task, "rb") as told:
        directory, words, variables = json.load(told)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = [str(ROOT / "kvctl.py"), *words]
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
        os.close(descriptor)
        former = getattr(sys, _STREAMS[number])
        raw = io.FileIO(number, former.mode, closefd=False)
        buffered = io.BufferedWriter(raw) if number else io.BufferedReader(raw)
        text = io.TextIOWrapper(buffered, former.encoding, former.errors, line_buffering=former is sys.stderr)
        setattr(sys, _STREAMS[number], text)
    sys.exit(main())


if __name__ == "__main__":
    tuple(COMMANDS.values())  # which loads them
    gc.freeze()  # what is never looked at is never copied
    Forks(socket.socket(fileno=int(sys.argv[1]))).serve()
