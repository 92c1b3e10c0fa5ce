"""Addresses, and connecting to them."""

import asyncio
import errno
import os
import re
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from kvd.client.detached import detached
from kvd.client.errors import BadAddress, ProtocolError, TlsFailed, Unreachable, shown
from kvd.client.tls import TlsSocket
from kvd.errors import ConnectionLost, Unavailable
from kvd.process.half_open import keep_alive
from kvd.process.tls_bytes import reason_of as tls_reason_of

Made = TypeVar("Made")

DEFAULT_PORT = 5830
DEFAULT_ADDRESS = f"127.0.0.1:{DEFAULT_PORT}"
UNSENT = 1 << 17
"""Bytes that the kernel takes before it can send them, if it can be told: what waits is to wait where it can be seen to
move, for a large value on a slow line is no silence."""

UNIX, TLS = "unix:", "tls:"
_CANNOT_REACH = "cannot reach kvd at "

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


class Target(NamedTuple):
    """Where a daemon is.  path: of its unix socket, "" for TCP.  tls: whether the address says that it takes TLS."""

    host: str
    port: int
    path: str = ""
    tls: bool = False

    @property
    def address(self) -> str:
        """What stands for it, with its port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return UNIX + self.path if self.path else f"{TLS * self.tls}{host}:{self.port}"

    def context(self, given: ssl.SSLContext | None) -> ssl.SSLContext | None:
        """What to speak TLS with, None for none.  Raises BadAddress: TLS was given for a unix socket."""
        if given and self.path:
            raise BadAddress(f"no TLS is spoken on unix sockets such as {shown(UNIX + self.path)}: expected HOST:PORT")
        return given or (ssl.create_default_context() if self.tls else None)


def parse_target(address: str) -> Target:
    """Take HOST:PORT, HOST, [IPV6]:PORT, any of these after tls:, or unix:PATH apart; raise BadAddress, TypeError."""
    if isinstance(address, str) and address.startswith(UNIX):
        path = address.removeprefix(UNIX)
        if not path or "\0" in path:
            raise BadAddress(f"invalid address {shown(address)}: expected {UNIX}PATH")
        return Target("", 0, path)
    if isinstance(address, str) and address.startswith(TLS):
        return Target(*parse_address(address.removeprefix(TLS)), tls=True)
    return Target(*parse_address(address))


def check_address(address: str) -> None:
    """Raise BadAddress, TypeError if it is no address that can be connected to."""
    parse_target(address)


class Addresses:
    """The daemons of one store, any of which will do."""

    def __init__(self, addresses: Sequence[str]) -> None:
        """Raises BadAddress, TypeError."""
        self._addresses = [parse_target(address).address for address in addresses]
        self._next = 0

    async def first(self, make: Callable[[str], Awaitable[Made]]) -> Made:
        """Make something of the first address that lets it; the next time, begin after that.

        Raises what the last one raised: Unreachable (of all where none was reached), ConnectionLost, Unavailable; at
        once any other error.
        """
        errors: list[ConnectionLost | Unavailable] = []
        while len(errors) < len(self._addresses):
            address = self._addresses[self._next]
            self._next = (self._next + 1) % len(self._addresses)
            try:
                return await make(address)
            except (ConnectionLost, Unavailable) as error:
                errors.append(error)
        raise _together(errors)


async def dial(target: Target) -> socket.socket:
    """Connect to the first of the host's addresses that accepts; raise OSError, UnicodeError: no name of a host.

    Of several errors it is the one that says most; asyncio's own connecting makes one text of them, without a number.
    """
    if target.path:
        return await _dial(socket.socket(socket.AF_UNIX), target.path)
    errors: list[OSError] = []
    # A name server that does not answer keeps no program, which has given up, from its end.
    found = await detached(partial(socket.getaddrinfo, target.host, target.port, type=socket.SOCK_STREAM))
    for family, kind, protocol, _, address in found:
        try:
            return await _dial(socket.socket(family, kind, protocol), address)
        except OSError as error:
            errors.append(error)
    raise max(errors, key=_weight)


async def _dial(connection: socket.socket, address: Any) -> socket.socket:
    try:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, address)
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def dial_blocking(target: Target, until: float, tls: ssl.SSLContext | None) -> socket.socket | TlsSocket:
    """The same, without an event loop, until a time of the monotonic clock; the socket does not block.

    tls: None for a plain one.
    """
    connection = _dial_blocking(target, until)
    try:
        if not tls:
            connection.setblocking(False)
            return connection
        connection.settimeout(max(until - time.monotonic(), 0.001))
        encrypted = connection = tls.wrap_socket(connection, server_hostname=target.host)
        connection.setblocking(False)
        return TlsSocket(encrypted)
    except BaseException:
        connection.close()
        raise


def _dial_blocking(target: Target, until: float) -> socket.socket:
    found: Sequence[tuple[Any, ...]] = [(socket.AF_UNIX, socket.SOCK_STREAM, 0, "", target.path)]
    if not target.path:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    errors: list[OSError] = []
    for family, kind, protocol, _, address in found:
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(max(until - time.monotonic(), 0.001))
            connection.connect(address)
            _prepare(connection)
        except BaseException as error:
            connection.close()
            if not isinstance(error, OSError):
                raise
            errors.append(error)
        else:
            return connection
    raise max(errors, key=_weight)


def _prepare(connection: socket.socket) -> None:
    if connection.family == socket.AF_UNIX:
        return
    keep_alive(connection)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)


def _weight(error: OSError) -> int:
    """Nothing listens only where no address of the host says anything else."""
    if error.errno in _NOT_FROM_HERE:
        return 0
    return 1 if isinstance(error, ConnectionRefusedError) else 2


def unreachable(address: str, error: Exception, connect_timeout: float, tls: bool) -> Unreachable:
    """What it means that a daemon cannot be connected to: an OSError, UnicodeError or ConnectionLost."""
    if isinstance(error, TimeoutError) and not error.errno:
        reason = f"no answer within {connect_timeout:g} s"
    elif isinstance(error, OSError):
        reason = reason_of(error)
    elif isinstance(error, UnicodeError):  # from the codec for host names
        reason = "no host has such a name"
    elif isinstance(error, ProtocolError):
        reason = "it does not answer as kvd does"
    elif isinstance(error, TlsFailed):  # TLS 1.3 lets the daemon refuse a client after the handshake
        reason = str(error).removeprefix(f"lost kvd at {address} (").removesuffix(")")
    else:
        reason = "it hangs up; is it kvd?"
    # A unix socket that is not there is as a port where nobody listens.
    refused = isinstance(error, ConnectionRefusedError | FileNotFoundError)
    return Unreachable(f"{_CANNOT_REACH}{address} ({reason})", refused=refused, address=address, tls=tls)


def _together(errors: Sequence[ConnectionLost | Unavailable]) -> ConnectionLost | Unavailable:
    """The last one; where no address was reached, one that tells of each, so that none seems not to have been tried."""
    missed = [error for error in errors if isinstance(error, Unreachable)]
    if len(errors) == 1 or len(missed) < len(errors):
        return errors[-1]
    text = ", nor at ".join(str(error).removeprefix(_CANNOT_REACH) for error in missed)
    refused, tls = all(error.refused for error in missed), any(error.tls for error in missed)
    return Unreachable(_CANNOT_REACH + text, refused=refused, address=missed[-1].address, tls=tls)


def reason_of(error: OSError) -> str:
    """What an error of the system says, without its number."""
    if isinstance(error, ssl.SSLError):
        return f"no TLS: {tls_reason_of(error)}"
    if isinstance(error, socket.gaierror):
        return str(error.strerror).lower()
    return os.strerror(error.errno).lower() if error.errno else str(error)
