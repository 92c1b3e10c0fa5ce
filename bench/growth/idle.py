"""More connections that do nothing: the daemon's memory."""

import resource
import socket
from contextlib import ExitStack

import psutil

from bench import servers
from bench.curves import Check, Curve
from bench.measure import Bench
from bench.others.servers import HOST, NotInstalled
from bench.servers import System

STEPS = (1000, 5000, 10_000)
MOST_KILOBYTES = 20
"""Of the daemon for each connection."""
SPARE = 200
"""Descriptors for everything else."""
KIB = 1024
COLUMN = "KiB a connection"


def measure(bench: Bench) -> list[Curve]:
    """Open connections, one request on each, and see how the daemon grows.  Raises NotInstalled."""
    bench.say(f"{STEPS[-1]:,} idle connections ...")
    allow_descriptors(STEPS[-1] + SPARE)
    each = []
    with ExitStack() as stack:
        system = stack.enter_context(servers.kvd(bench.kvd_arguments))
        before, opened = _resident(system), 0
        for step in STEPS:
            for _ in range(step - opened):
                _greet(stack.enter_context(socket.create_connection((HOST, system.server.port))))
            opened = step
            each.append((_resident(system) - before) / step / KIB)
    check = Check(f"KiB a connection with {STEPS[-1]:,}", each[-1], limit=MOST_KILOBYTES)
    sizes = [f"{step:,}" for step in STEPS]
    return [Curve("idle", "Idle connections", HOW, "connections", sizes, {COLUMN: each}, [check])]


def in_words(curve: Curve) -> list[str]:
    """What it shows, for readers."""
    each = curve.columns[COLUMN][-1]
    return [f"With {STEPS[-1]:,} idle connections, each takes {each:.1f} KiB of the daemon's memory."]


def _greet(connection: socket.socket) -> None:
    """One request and its reply, so that the daemon has made all that it makes for a connection."""
    connection.sendall(b"PING\n")
    connection.recv(64)


def _resident(system: System) -> int:
    """Bytes of memory of the daemon's processes, without its store."""
    return sum(int(psutil.Process(pid).memory_info().rss) for pid in system.daemons)


def allow_descriptors(wanted: int) -> None:
    """Have so many descriptors, here and in what is started.  Raises NotInstalled."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise NotInstalled(f"{STEPS[-1]:,} connections need {wanted:,} descriptors; ulimit -Hn allows {hard:,}")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # The daemon inherits it.
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


HOW = (
    "Each connection has sent one PING and read its reply, and is then idle. The figure is the growth of the daemon's "
    "resident memory, without its store's, over the number of connections; the kernel's own buffers are not in it."
)
