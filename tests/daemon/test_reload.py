"""SIGHUP has a service read anew what it read, unless the terminal on which it was started is gone."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.processes import PATIENCE, ROOT, needs

PROGRAM = """
import asyncio, signal, sys
from kvd.process import service

class Counting:
    async def start(self): pass
    async def run(self): await asyncio.Event().wait()
    async def drain(self): say("drained")
    async def close(self): say("closed")

def say(line): sys.stdout.write(line + "\\n"); sys.stdout.flush()

times = 0
async def reload():
    global times
    times += 1
    say(f"reloaded {times}")
    if times == 2:
        raise ValueError("nobody foresaw this")

service.run(Counting(), lambda: say("ready"), {signal.SIGTERM, signal.SIGHUP}, reload)
"""


@contextmanager
def started(*by: str, terminal: bool) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The program, in a session of its own, and its terminal's other end, -1 for none.  by: a command before it."""
    begin = "import fcntl, os, sys, termios; "
    begin += "fcntl.ioctl(0, termios.TIOCSCTTY, 0); " if terminal else ""
    program = [sys.executable, "-c", f"{begin}os.execvp(sys.argv[1], sys.argv[1:])", *by, sys.executable, "-c", PROGRAM]
    master, slave = os.openpty() if terminal else (-1, subprocess.DEVNULL)
    process = subprocess.Popen(
        program, cwd=ROOT, stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        start_new_session=True,
    )  # fmt: skip
    if terminal:
        os.close(slave)
    try:
        yield process, master
    finally:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


@pytest.mark.parametrize("terminal", [False, True])
def test_it_reloads_each_time_and_outlives_what_goes_wrong(terminal: bool) -> None:
    with started(terminal=terminal) as (process, master):
        assert said(process) == "ready"
        for number in (1, 2, 3):
            process.send_signal(signal.SIGHUP)
            assert said(process) == f"reloaded {number}"
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=PATIENCE)[0].split() == ["drained", "closed"]
        assert process.returncode == 0
        if terminal:
            os.close(master)


def test_it_ends_when_its_terminal_is_closed() -> None:
    with started(terminal=True) as (process, master):
        assert said(process) == "ready"
        os.close(master)
        assert process.communicate(timeout=PATIENCE)[0].split() == ["drained", "closed"]
        assert process.returncode == 0


def test_under_nohup_it_goes_on_without_its_terminal() -> None:
    needs("nohup")
    with started("nohup", terminal=True) as (process, master):
        assert said(process) == "ready"
        os.close(master)
        assert said(process) == "reloaded 1"
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=PATIENCE)[0].split() == ["drained", "closed"]
