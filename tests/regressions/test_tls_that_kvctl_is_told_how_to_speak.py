"""Whatever of TLS keeps kvctl from a daemon, it says what was wrong and which of its options mends it.

Reported: OpenSSL's words alone, such as "tlsv13 alert certificate required".
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import tls
from tests.support.kvctl import complaint, run
from tests.support.processes import Daemon
from tests.support.tls import HOST, Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Daemon]:
    """It wants certificates of its TLS clients."""
    daemon = Daemon(tmp_path_factory.mktemp("d") / "data", tls.options(authority.sign(HOST), authority.file))
    daemon.start()
    yield daemon
    daemon.stop()


def said(address: str, *words: str | Path, status: int = 3) -> str:
    return complaint(run("--addr", address, *map(str, words), "ping"), status)


def test_the_daemon_speaks_tls_and_kvctl_does_not(daemon: Daemon) -> None:
    text = said(f"localhost:{tls.port_of(daemon)}", status=2)
    assert "this address takes TLS only; expected a TLS handshake: --tls speaks TLS, with --ca FILE" in text


def test_kvctl_speaks_tls_and_the_daemon_does_not(daemon: Daemon, authority: Authority) -> None:
    text = said(f"localhost:{daemon.port}", "--ca", authority.file)
    assert "what answers there speaks no TLS; without --tls, --ca, --cert and --key, and without tls: in" in text


def test_who_signed_the_certificate_is_not_known(daemon: Daemon, tmp_path: Path) -> None:
    where = f"localhost:{tls.port_of(daemon)}"
    for words in (["--tls"], ["--ca", Authority(tmp_path / "other").file]):
        assert "who has signed it is not known here; name whom you trust with --ca FILE" in said(where, *words)


def test_the_certificate_is_for_another_host(daemon: Daemon, authority: Authority) -> None:
    text = said(f"127.0.0.1:{tls.port_of(daemon)}", "--ca", authority.file)
    assert "expected one for the host in --addr; name the host there as the certificate does" in text


def test_the_daemon_wants_a_certificate_or_another_one(daemon: Daemon, authority: Authority, tmp_path: Path) -> None:
    where = f"localhost:{tls.port_of(daemon)}"
    assert "the daemon wants a certificate of yours: --cert FILE --key FILE" in said(where, "--ca", authority.file)
    foreign = Authority(tmp_path / "foreign").sign("bob@example.org", common_name="bob")
    old = authority.sign("ada@example.org", common_name="ada", expired=True)
    what = "the daemon does not take your certificate, that of --cert; expected one that its --tls-client-ca"
    assert what in said(where, "--ca", authority.file, "--cert", foreign[0], "--key", foreign[1])
    refused = run("--addr", where, "--ca", str(authority.file), "--cert", str(old[0]), "--key", str(old[1]), "ping")
    first, second = refused.stderr.decode().splitlines()
    assert first == "kvctl: --cert: the certificate has expired: it was valid until 2020-01-01 00:00 UTC"
    assert second.endswith("your certificate, that of --cert, has expired")
    assert refused.returncode == 3


@contextmanager
def answering(reply: bytes) -> Iterator[str]:
    """What says this to all that comes, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with server.accept()[0] as connection:
                connection.recv(1)
                connection.sendall(reply)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1000):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def test_a_stranger_may_speak_tls() -> None:
    for reply in (b"\x15\x03\x01\x00\x02\x02\x46", b"", b"\x15\x03\x01\n"):
        with answering(reply) as where:
            assert ": if it takes TLS: --tls speaks TLS, with --ca FILE" in said(where)


def test_what_is_silent_may_take_no_tls() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"127.0.0.1:{silent.getsockname()[1]}"
        text = said(where, "--tls", "--timeout", "0.2")
        assert ": if it takes no TLS: without --tls, --ca, --cert and --key" in text
        assert "TLS" not in said(where, "--timeout", "0.2")
