"""A process that ends a command when the lock is lost for which it runs, also if kvctl itself is stopped or killed."""

import math
import os
import select
import signal
import time
from contextlib import suppress

from kvd.client.leasing import clock

LOOK = 0.5
"""Seconds after which the clock is looked at again: it goes on while a machine is suspended, as no timer does."""
STEP = 0.01
"""Seconds between looks whether the command has ended."""
MOST_DESCRIPTORS = 4096


class Guard:
    """Made while this program has one thread; it does nothing until there is a command, and ends with this program."""

    def __init__(self, grace: float) -> None:
        """grace: seconds between SIGTERM and SIGKILL."""
        theirs, self._pipe = os.pipe()
        self._target = 0
        if os.fork() == 0:
            try:
                _stand_alone(theirs)
                _watch(theirs, grace)
            finally:
                os._exit(0)
        os.close(theirs)

    def command(self, sign: int) -> None:
        """Called by the command before it is what it is to be, so that there is no moment in which nobody would end it.

        sign: 1, it is to be ended alone; -1, with its group.
        """
        os.write(self._pipe, f"target {sign * os.getpid()}\n".encode())

    def begun(self, target: int) -> None:
        """Know which process it is, or which group with its number negated."""
        self._target = target

    def extend(self, until: float) -> None:
        """End the command unless that time of `clock` is moved on."""
        self._tell(f"until {until!r}")

    def lose(self) -> None:
        """End it now."""
        self.extend(0.0)

    def done(self) -> None:
        """It has ended."""
        self._target = 0
        self._tell("done")
        os.close(self._pipe)

    def _tell(self, text: str) -> None:
        try:
            os.write(self._pipe, f"{text}\n".encode())
        except BrokenPipeError:  # somebody has killed the guard
            if self._target:
                _signal(self._target, signal.SIGKILL)


def _stand_alone(pipe: int) -> None:
    """Keep nothing of kvctl's but the pipe, and get no signals that are for kvctl."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.closerange(3, pipe)
    os.closerange(pipe + 1, MOST_DESCRIPTORS)


def _watch(pipe: int, grace: float) -> None:
    target, until, told = 0, math.inf, b""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    while not target or clock() < until:
        if not poll.poll(min(until - clock(), LOOK) * 1000 if target else None):
            continue
        came = os.read(pipe, 1 << 12)
        if not came:  # kvctl is gone
            break
        *lines, told = (told + came).split(b"\n")
        for line in lines:
            word, _, text = line.partition(b" ")
            if word == b"done":
                return
            if word == b"target":
                target = int(text)
            else:
                until = float(text)
    if target:
        _end(target, grace)


def _end(target: int, grace: float) -> None:
    _signal(target, signal.SIGTERM)
    last = clock() + grace
    while clock() < last and _signal(target, 0):
        time.sleep(STEP)
    _signal(target, signal.SIGKILL)


def _signal(target: int, number: int) -> bool:
    """Send a signal; return whether there is a process."""
    with suppress(ProcessLookupError):
        os.kill(target, number)
        return True
    return False
