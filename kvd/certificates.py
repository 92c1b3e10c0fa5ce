"""The daemon's certificate and key, and who may sign those of clients: read from files, and given to OpenSSL."""

import logging
import os
import ssl
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from kvd.errors import StartError
from kvd.opening import read_named
from kvd.validity import now, validities

logger = logging.getLogger("kvd")

LARGEST = 1024 * 1024
"""Bytes of a file; far more than a chain has, or a bundle of all authorities of the world."""


class Certificates(NamedTuple):
    """Contents of PEM files.  client_ca: b"" if clients need no certificate."""

    chain: bytes
    key: bytes
    client_ca: bytes

    def warn(self) -> None:
        """Tell the log of certificates that are not valid, or will soon not be."""
        at = now()
        with suppress(ValueError):  # one that only OpenSSL can read
            for number, validity in enumerate(validities(self.chain)):
                if complaint := validity.complaint(at):
                    what = "the certificate" if number == 0 else f"certificate {number + 1}, which vouches for it,"
                    logger.warning("--tls-cert: %s %s; a new one is read at SIGHUP", what, complaint)
        with suppress(ValueError):
            # A bundle may well have some that nobody needs any more.
            complaints = [validity.complaint(at) for validity in validities(self.client_ca)]
            if complaints and all(complaints):
                logger.warning("--tls-client-ca: the certificate %s; it vouches for no client then", complaints[-1])

    @property
    def expiry(self) -> float:
        """When the daemon's own certificate expires: seconds since 1970; 0 if that is unclear."""
        with suppress(ValueError):
            for validity in validities(self.chain):
                return validity.end.timestamp()
        return 0.0

    def context(self) -> ssl.SSLContext:
        """Of a server: TLS 1.2 or newer, which never renegotiates.  Raises ssl.SSLError, ValueError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
        # Of TLS 1.3, for sessions to be resumed: connections are few and long.
        context.num_tickets = 0
        with _as_file(self.chain) as chain, _as_file(self.key) as key:
            # Without an answer OpenSSL would ask for the key's passphrase on the terminal.
            context.load_cert_chain(chain, key, password="")
        if self.client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=self.client_ca.decode("ascii", "ignore"))
        return context


def read(cert: str, key: str, client_ca: str) -> Certificates:
    """Read the files of --tls-cert, --tls-key and --tls-client-ca ("": none).

    Raises StartError if they cannot be used.
    """
    found = Certificates(
        _read(cert, "--tls-cert"),
        _read(key, "--tls-key", is_secret=True),
        _read(client_ca, "--tls-client-ca") if client_ca else b"",
    )
    if b"ENCRYPTED" in found.key:
        raise StartError(f"--tls-key: {key!r} has a passphrase, which nobody could give; expected a key without one")
    try:
        found._replace(client_ca=b"").context()
    except (ssl.SSLError, ValueError) as error:
        raise StartError(
            f"--tls-cert {cert!r} and --tls-key {key!r} cannot be used: {_said(error)}; expected PEM files with a "
            "certificate (those that vouch for it after it) and with its key"
        ) from None
    try:
        found.context()
    except (ssl.SSLError, ValueError) as error:
        raise StartError(
            f"--tls-client-ca: {client_ca!r} cannot be used: {_said(error)}; expected a PEM file with the certificates "
            "of those who sign the clients'"
        ) from None
    return found


def name_in(peer: ssl.SSLObject) -> str | None:
    """The common name in a client's certificate; None if there is none, or more than one.

    Raises ValueError for one that could be taken for another: with a NUL, a line end or the like.
    """
    certificate: dict[str, Any] = peer.getpeercert() or {}
    # Who resumes a session, which TLS 1.2 has, is not asked for its certificate again.
    if peer.session_reused and certificate and ssl.cert_time_to_seconds(certificate["notAfter"]) < time.time():
        raise ValueError("the client's certificate has expired")
    names = [str(value) for entry in certificate.get("subject", ()) for kind, value in entry if kind == "commonName"]
    for name in names:
        if not name.isprintable():
            raise ValueError(f"the name in the client's certificate, {name!a}, has a character that cannot be shown")
    return names[0] if len(names) == 1 else None


def _read(path: str, where: str, *, is_secret: bool = False) -> bytes:
    """Raises StartError."""
    raw, mode = read_named(path, where, LARGEST, "a PEM file")
    if not raw.strip() or len(raw) > LARGEST:
        raise StartError(f"{where}: {path!r} has no or too much text; expected a PEM file")
    if is_secret and mode & (stat.S_IROTH | stat.S_IWOTH):
        logger.warning("%s: everybody on this machine may read or write %r: chmod 600", where, path)
    return raw


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """A path for OpenSSL, which takes keys from files only; in memory, where that can be."""
    if hasattr(os, "memfd_create"):
        with open(os.memfd_create("kvd"), "wb") as opened:  # noqa: PTH123  # a descriptor
            opened.write(data)
            opened.flush()
            yield f"/proc/self/fd/{opened.fileno()}"
    else:
        import tempfile

        with tempfile.NamedTemporaryFile() as opened:
            opened.write(data)
            opened.flush()
            yield opened.name


def _said(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason).lower().replace("_", " ") if reason else str(error)
