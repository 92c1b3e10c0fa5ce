"""Ports of loopback that nobody else takes."""

import random
import socket
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
