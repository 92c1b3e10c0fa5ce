"""Certificates for tests, and a client that can shut its sending side down."""

import datetime
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import trustme

from tests.support.peers import Peer
from tests.support.processes import PATIENCE, Daemon

Result = TypeVar("Result")
PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)  # noqa: UP017  # Python 3.11 has both
HOST = "localhost"


class Authority:
    """Who signs, with files for all that it has signed."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self._ca = trustme.CA()
        self.file = directory / "ca.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def sign(
        self, name: str, *, expired: bool = False, common_name: str | None = None,
        begin: datetime.datetime | None = None, end: datetime.datetime | None = None,
    ) -> tuple[Path, Path]:  # fmt: skip
        """A certificate for a host, or for a client if it has a common name, and its key.

        begin, end: of its time.
        """
        end = PAST if expired else end
        signed = self._ca.issue_cert(name, common_name=common_name, not_before=begin, not_after=end)
        stem = f"{name}{'-expired' if expired else ''}"
        cert, key = self.directory / f"{stem}.pem", self.directory / f"{stem}.key"
        cert.write_bytes(b"".join(part.bytes() for part in signed.cert_chain_pems))
        key.touch(0o600)
        key.write_bytes(signed.private_key_pem.bytes())
        return cert, key

    def client(self, certificate: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """What a client needs that trusts it."""
        context = ssl.create_default_context(cafile=self.file)
        if certificate:
            context.load_cert_chain(*certificate)
        return context


def options(certificate: tuple[Path, Path], client_ca: Path | None = None) -> list[str]:
    """Of a daemon that also listens with TLS."""
    cert, key = map(str, certificate)
    ca = ["--tls-client-ca", str(client_ca)] if client_ca else []
    return ["--listen", "tls:127.0.0.1:0", "--tls-cert", cert, "--tls-key", key, *ca]


def port_of(daemon: Daemon) -> int:
    """Where it listens with TLS."""
    return int(daemon.greeting.strip().rpartition(", tls:127.0.0.1:")[2])


@contextmanager
def connect(port: int, context: ssl.SSLContext) -> Iterator[Peer]:
    """A connection with TLS."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as raw,
        context.wrap_socket(raw, server_hostname=HOST) as connection,
    ):
        peer = Peer(connection)
        yield peer
        peer.close()


class HalfPeer:
    """A client that may end its side of TLS and read on, which Python's SSLSocket cannot."""

    def __init__(self, raw: socket.socket, context: ssl.SSLContext) -> None:
        self.raw = raw
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._in, self._out, server_hostname=HOST)
        self._came = b""
        self._pump(self._ssl.do_handshake)

    def _pump(self, step: Callable[[], Result]) -> Result:
        """Raises EOFError if the connection ends without a word of TLS."""
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self.flush()
                data = self.raw.recv(1 << 16)
                if not data:
                    raise EOFError from None
                self._in.write(data)
            else:
                self.flush()
                return result

    def flush(self) -> None:
        if data := self._out.read():
            self.raw.sendall(data)

    def encrypt(self, data: str) -> bytes:
        """What would be sent."""
        self._ssl.write(data.encode())
        return self._out.read()

    def send(self, data: str) -> None:
        self.raw.sendall(self.encrypt(data))

    def end(self) -> None:
        """End its side of TLS, not that of the socket."""
        with suppress(ssl.SSLWantReadError):
            self._ssl.unwrap()
        self.flush()

    def line(self) -> str:
        """The next line, "" at the end of TLS."""
        while b"\n" not in self._came:
            with suppress(ssl.SSLZeroReturnError):
                if part := self._pump(lambda: self._ssl.read(1 << 16)):
                    self._came += part
                    continue
            assert not self._came
            return ""
        line, _, self._came = self._came.partition(b"\n")
        return line.decode()

    def rest(self) -> list[str]:
        return list(iter(self.line, ""))


@contextmanager
def half_peer(port: int, context: ssl.SSLContext) -> Iterator[HalfPeer]:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as raw:
        yield HalfPeer(raw, context)
