"""Where to listen: a TCP address, with TLS or without, or the path of a unix socket."""

import re
from ipaddress import ip_address
from typing import NamedTuple

from kvd.errors import StartError
from kvd.options import shown

DEFAULT_PORT, DEFAULT_HTTP_PORT = 5830, 5880
LONGEST_PATH = 107
"""Bytes of a unix socket's path; macOS takes 103."""
UNIX, TLS = "unix:", "tls:"

# An interface's name has up to 15 bytes: all but spaces, slashes and colons.
_ADDRESS = re.compile(
    r"(?:\[([0-9A-Fa-f:.]+(?:%[^\x00-\x20\x7f/:%\[\]\s]{1,15})?)\]|([^\[\]:\s]*))(?::([0-9]{1,5}))?"
).fullmatch


class Address(NamedTuple):
    """A TCP address.

    host: a name or an address; one of IPv6 may end with % and its scope, the name or the number of an interface.
    tls: whether only TLS is spoken there.
    """

    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        place = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        return TLS + place if self.tls else place


class UnixAddress(NamedTuple):
    """The path of a unix socket."""

    path: str

    def __str__(self) -> str:
        return UNIX + self.path


AnyAddress = Address | UnixAddress


def is_loopback(address: AnyAddress) -> bool:
    """Whether only this machine can reach an address; its host is none that must be looked up."""
    if isinstance(address, UnixAddress):
        return True
    found = ip_address(address.host.partition("%")[0])
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


def http_address(given: str, where: str) -> AnyAddress:
    """The same, for HTTP, with its own default port."""
    return address(given, where, DEFAULT_HTTP_PORT)


def address(given: str, where: str, default: int = DEFAULT_PORT) -> AnyAddress:
    """HOST, HOST:PORT, [IPV6]:PORT, [IPV6%INTERFACE]:PORT, :PORT of this machine alone; tls: before any; or unix:PATH.

    Raises StartError.
    """
    if given.startswith(UNIX):
        return UnixAddress(_path(given.removeprefix(UNIX), where))
    place = given.removeprefix(TLS)
    match = _ADDRESS(place)
    port = int(match[3]) if match and match[3] else default
    # Digits alone are a port to most people, and an IPv4 address to the system.
    if not match or not place or place.isdigit() or port > 65535:
        raise StartError(
            f"{where}: invalid address {shown(given)}: expected HOST:PORT, such as 127.0.0.1:{default}, "
            f"{TLS}HOST:PORT or {UNIX}PATH"
        )
    return Address(match[1] or match[2] or "127.0.0.1", port, tls=place != given)


def _path(given: str, where: str) -> str:
    """Of a socket.  Whatever is written at the start shows it, so it has no control characters."""
    if not given.isprintable() or not 0 < len(given.encode()) <= LONGEST_PATH:
        raise StartError(
            f"{where}: invalid path of a unix socket {shown(given)}: expected {UNIX}PATH, with 1 to {LONGEST_PATH} "
            "bytes that can be shown"
        )
    return given
