"""Sockets that a service manager listens on and passes on (systemd's socket activation).

It goes on listening while the daemon is started again, so that clients which connect meanwhile wait instead of being
refused.
"""

import os
import re
import socket
import stat
from typing import NamedTuple

from kvd.errors import StartError

PROCESS, COUNT, NAMES = "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"
"""What it says in the environment: whom it means, how many there are, and what they are called, with colons between."""
FIRST = 3
"""The descriptor of the first one."""
TLS, HTTP, HTTPS = "tls", "http", "https"
"""The names (FileDescriptorName=) of those on which only TLS is spoken, or HTTP, or HTTP over TLS."""

_number = re.compile("[0-9]{1,7}").fullmatch
"""Of a process, or of sockets."""


class Passed(NamedTuple):
    """A socket that listens.  is_tls, is_http: whether its name says that TLS, or HTTP, is spoken there."""

    socket: socket.socket
    is_tls: bool
    is_http: bool


def passed() -> list[Passed]:
    """Take those that were passed to this process; a second time there are none.  Raises StartError."""
    given = {name: os.environ.pop(name, "") for name in (PROCESS, COUNT, NAMES)}
    for name in (PROCESS, COUNT):
        if given[name] and not _number(given[name]):
            raise StartError(f"{name}: invalid value {given[name]!a}: expected a number, as systemd gives it")
    if given[PROCESS] != f"{os.getpid()}":
        return []
    count = int(given[COUNT] or "0")
    names = given[NAMES].split(":") + [""] * count
    return [
        Passed(_socket(FIRST + place), name in (TLS, HTTPS), name in (HTTP, HTTPS))
        for place, name in enumerate(names[:count])
    ]


def _socket(descriptor: int) -> socket.socket:
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise StartError(f"{COUNT} says that descriptor {descriptor} is a socket, and it is none")
        os.set_inheritable(descriptor, False)
        taken = socket.socket(fileno=descriptor)
        is_listening = taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise StartError(f"{COUNT}: descriptor {descriptor} cannot be used: {error.strerror}") from None
    if taken.type != socket.SOCK_STREAM or not is_listening:
        raise StartError(f"{COUNT}: descriptor {descriptor} does not listen for streams (ListenStream=, Accept=no)")
    return taken
