"""Who can reach the daemon: an address beyond this machine needs TLS, and a way to know who comes."""

from collections.abc import Iterable
from contextlib import suppress

from kvd.addresses import Address, AnyAddress, is_loopback
from kvd.errors import StartError
from kvd.process.sockets import LISTEN, resolve
from kvd.settings import Settings


def check(settings: Settings) -> None:
    """See that no address to listen on lets in everybody who can reach it.  Raises StartError that says what to add.

    A name that cannot be resolved is left to who listens.
    """
    if settings.insecure:
        return
    for option, address in settings.addresses:
        if isinstance(address, Address):
            with suppress(OSError, UnicodeError):
                _check(settings, option, address, (str(where[0]) for _, where in resolve(address)))


def check_bound(settings: Settings, bound: Iterable[AnyAddress], option: str = LISTEN) -> None:
    """The same of the addresses that were found for an option: a name may have got others meanwhile."""
    if not settings.insecure:
        for address in bound:
            if isinstance(address, Address):
                _check(settings, option, address, [address.host])


def _check(settings: Settings, option: str, address: Address, hosts: Iterable[str]) -> None:
    if all(is_loopback(Address(host, 0)) for host in hosts):
        return
    missing = []
    if not address.tls:
        missing.append(f"TLS: {option} {address._replace(tls=True)} with --tls-cert FILE and --tls-key FILE")
    if not (settings.users or (settings.tls_client_ca and address.tls)):
        missing.append("users (--users FILE) or certificates of clients (--tls-client-ca FILE)")
    if missing:
        raise StartError(
            f"{option} {address}: other machines can reach it; expected {', and '.join(missing)}; or --insecure to let "
            "everybody in who can reach it"
        )
