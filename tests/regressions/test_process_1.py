"""Reported: as process 1 of a container, kvd left the children that it adopted as zombies."""

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress

import psutil
import pytest

from tests.support.processes import Daemon, StartDaemon, wait_for

ORPHANS = 20
PR_SET_CHILD_SUBREAPER = 36
NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
BACKGROUND = f"(for _ in $(seq {ORPHANS}); do sleep 1000 & done; exec sleep 1000) >&- 2>&- &"
"""A shell's child that leaves its own children when it ends, and has none of the daemon's pipes open."""


def as_process_1(daemon: Daemon) -> psutil.Process:
    """Start a daemon as process 1 of a namespace, and have others there leave their children to it."""
    if not shutil.which("unshare") or subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespace of processes can be made here")
    daemon._prefix = NAMESPACE
    daemon.start()
    (process,) = psutil.Process(daemon.pid).children()
    subprocess.run(["nsenter", "-t", str(process.pid), "--pid", "--mount", "sh", "-c", BACKGROUND], check=True)
    return process


def as_subreaper(daemon: Daemon) -> psutil.Process:
    """Start a daemon by a shell that has children, in a process to which the kernel gives those that are left."""
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux has subreapers")
    become = f"import ctypes, os, sys; ctypes.CDLL(None).prctl({PR_SET_CHILD_SUBREAPER}, 1, 0, 0, 0); "
    start = [sys.executable, "-c", f"{become}os.execv(sys.argv[1], sys.argv[1:])"]
    daemon._prefix = ["bash", "-c", f'{BACKGROUND} exec "$@"', "bash", *start]
    daemon.start()
    return psutil.Process(daemon.pid)


def named(process: psutil.Process, name: str) -> list[psutil.Process]:
    found = []
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # such as of a shell that has counted up to the last of them
            if child.name() == name:
                found.append(child)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("start", [as_process_1, as_subreaper])
def test_adopted_children_are_reaped_and_its_own_keep_their_status(start: object, start_daemon: StartDaemon) -> None:
    assert callable(start)
    daemon = start_daemon("--workers", "2")
    daemon.stop()
    process = start(daemon)
    wait_for("the shell's children", lambda: len(named(process, "sleep")) == ORPHANS + 1)
    orphans = named(process, "sleep")
    for orphan in orphans:
        orphan.kill()
    # A zombie keeps its number.
    wait_for("their end", lambda: not any(psutil.pid_exists(orphan.pid) for orphan in orphans))
    (store,) = [child for child in process.children() if child.name() in ("redis-server", "valkey-server")]
    worker = next(child for child in process.children() if "kvd.workers" in child.cmdline())
    for own in (store, worker):
        own.kill()
    assert daemon.says(" server ended (by signal SIGKILL); starting it again")
    ended = re.compile(r"worker [12] ended \(by signal SIGKILL\); starting it again")
    wait_for("the worker's end in the log", lambda: ended.search(daemon.log))
    with daemon.connect() as peer:
        wait_for("the store", lambda: peer.ask("SET a 1").startswith("OK "))
    os.kill(process.pid, signal.SIGTERM)
    assert daemon.wait() == 0
