"""The sockets that the daemon listens on."""

import socket
from collections.abc import Sequence
from typing import Any

from kvd.errors import StartError
from kvd.settings import Address

BACKLOG = 4096
"""Connections that may wait to be accepted, which is Linux's own limit: of a crowd that comes back at once, those that
find no place try again seconds later."""
LARGEST_SCOPE = 2**32 - 1
"""What the number of an interface may be, in a socket's address."""


def listen(addresses: Sequence[Address]) -> list[socket.socket]:
    """Listen on each address, alone.  A name may resolve to several.

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
    host, port, *rest = bound.getsockname()
    scope = rest[1] if rest else 0
    return Address(f"{host}%{_name_of(scope)}" if scope else host, port)


def cannot_listen(address: Address, error: Exception) -> StartError:
    """What to say when one cannot listen on an address."""
    reason = getattr(error, "strerror", None) or str(error)
    if address.host.lower().startswith("fe80:") and "%" not in address.host:
        reason = f"{reason} (it needs its interface: [{address.host}%eth0]:{address.port})"
    return StartError(f"cannot listen on {address}: {reason}; choose another with --listen HOST:PORT")


def _resolve(address: Address) -> Sequence[tuple[int, Any]]:
    """Families, and addresses as sockets take them.  Raises OSError, UnicodeError."""
    host, _, scope = address.host.partition("%")
    found = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    places = dict.fromkeys((family, where) for family, _, _, _, where in found)
    if not scope:
        return list(places)
    # Not left to the resolver, which takes a name only where an address needs it.
    index = _index_of(scope)
    scoped = [(family, (*where[:3], index)) for family, where in places if family == socket.AF_INET6]
    if not scoped:
        raise OSError("only an IPv6 address has a scope")
    return scoped


def _index_of(scope: str) -> int:
    """The number of an interface, by its name or as it is.  Raises OSError."""
    try:
        return socket.if_nametoindex(scope)
    except OSError:
        if scope.isascii() and scope.isdigit() and int(scope) <= LARGEST_SCOPE:
            return int(scope)
        raise


def _name_of(index: int) -> str:
    """The name of an interface; its number where it has none any more."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return str(index)


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
