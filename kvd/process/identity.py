"""Who a peer is, as far as its connection tells: a user of this machine, or the owner of a certificate."""

import asyncio
import socket
from contextlib import suppress
from typing import NamedTuple

from kvd.process import unix_sockets


class Identity(NamedTuple):
    """What is known of a peer before it has said anything.

    user: of a unix socket's peer, its user id, as the kernel says.
    certificate: of a TLS peer, the common name in its certificate, which was verified.
    """

    user: int | None = None
    certificate: str | None = None


NOBODY = Identity()
"""Of whom nothing is known."""


def identify(transport: asyncio.BaseTransport) -> Identity:
    """Ask a connection's transport."""
    # uvloop raises ValueError when the connection is gone.
    with suppress(OSError, ValueError):
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family == socket.AF_UNIX:
            return Identity(user=unix_sockets.user_of(connection))
        return Identity(certificate=transport.get_extra_info("certificate"))
    return NOBODY
