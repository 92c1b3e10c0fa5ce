"""What tests ask of daemons from outside: how they end, what they hold, who serves."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil

from tests.support.peers import Peer
from tests.support.processes import Daemon, run_forked, wait_for


def run_kvd(*options: str) -> subprocess.CompletedProcess[str]:
    """A daemon that is expected to give up by itself."""
    return run_forked(["--listen", "127.0.0.1:0", *options])


def one_line_error(done: subprocess.CompletedProcess[str]) -> str:
    """What it said, which must be one line for a person, and exit status 1."""
    assert done.returncode == 1
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.startswith("kvd: ")]
    assert len(lines) == 1
    return lines[0]


def fill(daemon: Daemon, count: int) -> None:
    with daemon.connect() as peer:
        peer.send("".join(f"SET key{number} value{number}\n" for number in range(count)))
        assert peer.lines(count)[-1].startswith("OK ")


def connections(daemon: Daemon) -> int:
    """How many connections the daemon has, as the kernel sees it."""
    return sum(
        found.laddr.port == daemon.port and found.status != psutil.CONN_LISTEN
        for found in psutil.Process(daemon.pid).net_connections("tcp")
    )


def worker_of(daemon: Daemon, peer: Peer) -> int:
    """The process that serves a connection."""
    for pid in daemon.worker_pids():
        for connection in psutil.Process(pid).net_connections("tcp"):
            if connection.raddr and connection.raddr == peer.socket.getsockname():
                return pid
    raise LookupError("no worker serves it")


@contextmanager
def one_each(daemon: Daemon) -> Iterator[list[Peer]]:
    """A connection to each worker, in the order of worker_pids."""
    found: dict[int, Peer] = {}
    with ExitStack() as stack:

        def complete() -> bool:
            peer = stack.enter_context(daemon.connect())
            assert peer.ask("PING") == "OK"
            found[worker_of(daemon, peer)] = peer
            return len(found) == len(daemon.worker_pids())

        wait_for("a connection to each worker", complete)
        yield [found[pid] for pid in daemon.worker_pids()]


def gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def processor_time(pid: int) -> float:
    """Seconds that a process has taken, with those of threads that have ended, to the nanosecond."""
    return time.clock_gettime(~pid << 3 | 2)  # as clock_getcpuclockid(3) makes it


@contextmanager
def stopped_store(daemon: Daemon) -> Iterator[None]:
    """Its store answers nothing meanwhile."""
    store = daemon.redis_pid()
    os.kill(store, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(store, signal.SIGCONT)
