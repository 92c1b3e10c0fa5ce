"""The sockets that the daemon listens on."""

import os
import socket
from collections.abc import Sequence
from typing import Any, NamedTuple

from kvd.addresses import Address, AnyAddress, UnixAddress
from kvd.errors import StartError
from kvd.process import unix_sockets
from kvd.process.activation import Passed

BACKLOG = 4096
"""Connections that may wait to be accepted, which is Linux's own limit: of a crowd that comes back at once, those that
find no place try again seconds later."""
LISTEN, HTTP = "--listen", "--http"
"""The options that say where."""
LARGEST_SCOPE = 2**32 - 1
"""What the number of an interface may be, in a socket's address."""


class Listener(NamedTuple):
    """A socket that listens, or is bound to.

    address: where it is bound to.  file: of a unix socket, if it is this process that removes it.
    is_passed: whether another process listens on it as well, and goes on when this one ends.
    is_http: whether HTTP is spoken there.
    """

    socket: socket.socket
    address: AnyAddress
    file: unix_sockets.SocketFile | None = None
    is_passed: bool = False
    is_http: bool = False

    @property
    def is_tls(self) -> bool:
        """Whether only TLS is spoken there."""
        return isinstance(self.address, Address) and self.address.tls

    def share(self) -> "Listener":
        """Another one at the same address, for a process that will listen there, too.  Raises OSError.

        TCP: the kernel gives each new connection to one of those that listen.  Who does not ask to share, as `listen`
        does not, is refused the address while any of them listens.
        Unix, or passed: it is the same socket, whose connections go to the process that comes first.
        """
        if self.socket.family == socket.AF_UNIX or self.is_passed:
            return Listener(self.socket.dup(), self.address, is_passed=self.is_passed, is_http=self.is_http)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        shared = _bound(self.socket.family, self.socket.getsockname(), shared=True)
        return Listener(shared, self.address, is_http=self.is_http)

    def remove(self) -> None:
        """Let nobody else find it; who has connected stays."""
        if self.file:
            self.file.remove()


def taken(given: Sequence[Passed]) -> list[Listener]:
    """Those that were passed to this process."""
    listeners = []
    for passed in given:
        if passed.socket.family == socket.AF_UNIX:
            address: AnyAddress = UnixAddress(os.fsdecode(passed.socket.getsockname()))
        else:
            address = _address_of(passed.socket)._replace(tls=passed.is_tls)
        listeners.append(Listener(passed.socket, address, is_passed=True, is_http=passed.is_http))
    return listeners


def listen(
    addresses: Sequence[AnyAddress], passed: Sequence[Listener] = (), *, is_http: bool = False
) -> list[Listener]:
    """Listen on each address, alone, but for those at which sockets were passed.  A name may resolve to several.

    Raises StartError if somebody else listens there, or if there is no such address.
    """
    listeners = list(passed)
    known = {str(listener.address) for listener in passed}
    for address in addresses:
        if str(address) in known:
            continue
        try:
            if isinstance(address, UnixAddress):
                bound, file = unix_sockets.bind(address.path)
                listeners.append(Listener(bound, address, file, is_http=is_http))
                bound.listen(BACKLOG)
                continue
            for family, where in resolve(address):
                bound = _bound(family, where)
                place = _address_of(bound)._replace(tls=address.tls)
                listeners.append(Listener(bound, place, is_http=is_http))
                bound.listen(BACKLOG)
        except (OSError, UnicodeError) as error:  # UnicodeError: the name cannot be a host's
            for listener in listeners:
                listener.remove()
                listener.socket.close()
            raise cannot_listen(address, error, HTTP if is_http else LISTEN) from None
    return listeners


def cannot_listen(address: AnyAddress, error: Exception, option: str = LISTEN) -> StartError:
    """What to say when one cannot listen on an address.  option: that it was given with."""
    reason = getattr(error, "strerror", None) or str(error)
    if isinstance(address, UnixAddress):
        return StartError(f"cannot listen on {address}: {reason}; choose another with {option} unix:PATH")
    if address.host.lower().startswith("fe80:") and "%" not in address.host:
        reason = f"{reason} (it needs its interface: [{address.host}%eth0]:{address.port})"
    form = "tls:HOST:PORT" if address.tls else "HOST:PORT"
    return StartError(f"cannot listen on {address}: {reason}; choose another with {option} {form}")


def _address_of(bound: socket.socket) -> Address:
    """Where a TCP socket is bound to."""
    host, port, *rest = bound.getsockname()
    scope = rest[1] if rest else 0
    return Address(f"{host}%{_name_of(scope)}" if scope else host, port)


def resolve(address: Address) -> Sequence[tuple[int, Any]]:
    """What an address stands for: families, and addresses as sockets take them.  Raises OSError, UnicodeError."""
    host, _, scope = address.host.partition("%")
    # As bytes it needs none of the tables of Unicode.
    named = host.encode() if host.isascii() else host
    found = socket.getaddrinfo(named, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
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
