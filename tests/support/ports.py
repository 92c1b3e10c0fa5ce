"""Ports of loopback that nobody else takes."""

import random
import socket
import sys
import weakref
from contextlib import suppress

QUIET = (12000, 22000)
"""Ports from which the kernel gives none to whom does not ask for it, and
BUS: what a cluster's nodes add to theirs."""
BUS = 10000
_reserved: list[socket.socket] = []
"""What says that ports are taken, as long as this process lives."""


def quiet_port() -> int:
    """A free port that no connection is given by chance, nor any other test; and so is the one of a cluster's bus."""
    while True:
        port = random.randrange(*QUIET)
        with socket.socket() as first, socket.socket() as second, suppress(OSError):
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + BUS))
            _reserve(port)
            return port


def _reserve(port: int) -> None:
    """Keep other processes from it before a server has it, or while that is down.  Raises OSError: one has it."""
    mark = socket.socket(socket.AF_UNIX)
    try:
        mark.bind(f"\0kvd's tests take port {port}")
    except OSError:
        mark.close()
        raise
    _reserved.append(mark)


def kept_port(owner: object) -> int:
    """A free port that nobody else is given as long as its owner lives, also while no server has it.

    On Linux a socket that is bound only keeps it, and lets those listen who ask for it by its number; else it is 0.
    """
    if sys.platform != "linux":
        return 0
    mark = socket.socket()
    weakref.finalize(owner, mark.close)
    mark.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    mark.bind(("127.0.0.1", 0))
    return int(mark.getsockname()[1])
