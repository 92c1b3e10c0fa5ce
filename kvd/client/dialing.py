"""Addresses, and connecting to them."""

import asyncio
import errno
import os
import re
import socket
from typing import Any

from kvd.client.errors import BadAddress, shown
from kvd.process.half_open import keep_alive

DEFAULT_PORT = 5830
DEFAULT_ADDRESS = f"127.0.0.1:{DEFAULT_PORT}"
UNSENT = 1 << 17
"""Bytes that the kernel takes before it can send them, if it can be told: what waits is to wait where it can be seen to
move, for a large value on a slow line is no silence."""

_ADDRESS = re.compile(r"(?:\[([^\s\[\]/]+)\]|([^\s\[\]/:]+))(?::([0-9]{1,5}))?")
_NOT_FROM_HERE = frozenset((errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENETUNREACH))
"""Says nothing of the daemon: a machine without IPv6 has no way to the ::1 that the name localhost stands for."""


def parse_address(address: str) -> tuple[str, int]:
    """Take HOST:PORT, HOST or [IPV6]:PORT apart; raise BadAddress, TypeError."""
    if not isinstance(address, str):
        raise TypeError(f"address must be str, not {type(address).__name__}")
    match = _ADDRESS.fullmatch(address)
    port = int(match[3] or DEFAULT_PORT) if match else 0
    if not match or not 0 < port < 65536:
        raise BadAddress(f"invalid address {shown(address)}: expected HOST:PORT, HOST or [IPV6]:PORT")
    return match[1] or match[2], port


async def dial(host: str, port: int) -> socket.socket:
    """Connect to the first of the host's addresses that accepts; raise OSError, UnicodeError: no name of a host.

    Of several errors it is the one that says most; asyncio's own connecting makes one text of them, without a number.
    """
    loop = asyncio.get_running_loop()
    errors: list[OSError] = []
    for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            return await _dial(socket.socket(family, kind, protocol), address)
        except OSError as error:
            errors.append(error)
    raise max(errors, key=_weight)


async def _dial(connection: socket.socket, address: Any) -> socket.socket:
    try:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, address)
        keep_alive(connection)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
    except BaseException:
        connection.close()
        raise
    return connection


def _weight(error: OSError) -> int:
    """Nothing listens only where no address of the host says anything else."""
    if error.errno in _NOT_FROM_HERE:
        return 0
    return 1 if isinstance(error, ConnectionRefusedError) else 2


def reason_of(error: OSError) -> str:
    """What an error of the system says, without its number."""
    if isinstance(error, socket.gaierror):
        return str(error.strerror).lower()
    return os.strerror(error.errno).lower() if error.errno else str(error)
