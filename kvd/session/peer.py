"""What the kernel knows of a peer: its name, for people, and whether it is gone."""

import asyncio
import socket
from contextlib import suppress
from typing import Any

from kvd.process import unix_sockets
from kvd.process.identity import Identity

_TCP_CLOSE = 7
"""The state of a connection that was reset (linux/tcp_states.h), first in TCP_INFO."""


def is_gone(connection: Any) -> bool:
    """Whether the kernel knows that a peer is gone; False where it does not say."""
    if connection is not None and connection.family == socket.AF_UNIX:
        return unix_sockets.is_hung_up(connection)
    if connection is None or not hasattr(socket, "TCP_INFO"):
        return False
    return bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE)


def host_of(writer: asyncio.StreamWriter, identity: Identity) -> str:
    """The peer's address without its port."""
    return name_of(writer, identity).rpartition(":")[0] or "this machine"


def address_of(writer: asyncio.StreamWriter, identity: Identity) -> str:
    """The peer's address as HOST:PORT, with brackets for IPv6; "" on a unix socket, and for one that is gone."""
    with suppress(OSError, ValueError):
        peer = writer.get_extra_info("peername")
        if identity.user is None and isinstance(peer, tuple):
            return f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}"
    return ""


def name_of(writer: asyncio.StreamWriter, identity: Identity) -> str:
    """The peer's address, for the log: asked while it is there, for uvloop raises ValueError when it is not."""
    peer = None
    with suppress(OSError, ValueError):
        peer = writer.get_extra_info("peername")
    if isinstance(peer, tuple):
        return f"{peer[0]}:{peer[1]}" + (f" ({identity.certificate})" if identity.certificate else "")
    return "a peer" if identity.user is None else f"user {identity.user} of this machine"
