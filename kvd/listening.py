"""The sockets that the daemon listens on."""

import socket
from collections.abc import Sequence
from typing import Any

from kvd.errors import StartError
from kvd.settings import Address

BACKLOG = 1024
"""Connections that may wait to be accepted."""


def listen(addresses: Sequence[Address]) -> list[socket.socket]:
    """Listen on each address, alone.  A name may stand for several.

    Raises StartError if somebody else listens there, or if there is no such address.
    """
    sockets: list[socket.socket] = []
    for address in addresses:
        try:
            for family, where in _resolve(address):
                sockets.append(_bound(family, where))
                sockets[-1].listen(BACKLOG)
        except (OSError, UnicodeError) as error:  # UnicodeError: the name cannot be a host's
            for bound in sockets:
                bound.close()
            raise cannot_listen(address, error) from None
    return sockets


def share(taken: socket.socket) -> socket.socket:
    """Another socket at the address of one, for a process that will listen there, too.  Raises OSError.

    The kernel gives each new connection to one of those that listen.  Who does not ask to share, as `listen` does
    not, is refused the address while any of them listens.
    """
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return _bound(taken.family, taken.getsockname(), shared=True)


def address_of(bound: socket.socket) -> Address:
    """Where a socket is bound to."""
    host, port, *_ = bound.getsockname()
    return Address(host, port)


def cannot_listen(address: Address, error: Exception) -> StartError:
    """What to say when one cannot listen on an address."""
    reason = getattr(error, "strerror", None) or str(error)
    return StartError(f"cannot listen on {address}: {reason}; choose another with --listen HOST:PORT")


def _resolve(address: Address) -> list[tuple[int, Any]]:
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, where) for family, _, _, _, where in found))


def _bound(family: int, where: Any, *, shared: bool = False) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # The same port of IPv4 is another address.
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(where)
    except OSError:
        bound.close()
        raise
    return bound
