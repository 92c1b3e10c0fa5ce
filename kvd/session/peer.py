"""What the kernel knows of a peer: its name, for people, and whether it is gone."""

import asyncio
import socket
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from kvd.process import unix_sockets
from kvd.process.identity import Identity

GONE_INTERVAL = 30.0
"""Seconds between looks whether a peer that only watches is still there."""
_TCP_CLOSE = 7
"""The state of a connection that was reset (linux/tcp_states.h), first in TCP_INFO."""


def is_gone(connection: Any) -> bool:
    """Whether the kernel knows that a peer is gone; False where it does not say."""
    if connection is not None and connection.family == socket.AF_UNIX:
        return unix_sockets.is_hung_up(connection)
    if connection is None or not hasattr(socket, "TCP_INFO"):
        return False
    return bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE)


async def until_gone(writer: asyncio.StreamWriter, stopped: Coroutine[None, None, None]) -> None:
    """Returns when a peer that has ended its sending side is gone, or with `stopped`.  Raises OSError.

    Nothing is read any more, so that keep-alive's finding has to be asked for.
    """
    events = {asyncio.ensure_future(writer.wait_closed()), asyncio.ensure_future(stopped)}
    connection = writer.get_extra_info("socket")
    try:
        while not (await asyncio.wait(events, timeout=GONE_INTERVAL, return_when=asyncio.FIRST_COMPLETED))[0]:
            if is_gone(connection):
                writer.transport.abort()
        for event in events:
            if event.done():
                await event
    finally:
        for event in events:
            event.cancel()


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
