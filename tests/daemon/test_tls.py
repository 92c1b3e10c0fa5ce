"""TLS: the same conversations as without, certificates of both sides, their reload, and peers that mean ill."""

import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from kvd.settings import MIB
from tests.support import tls
from tests.support.daemons import one_line_error, run_kvd
from tests.support.peers import Peer
from tests.support.processes import PATIENCE, Daemon, StartDaemon, needs, wait_for
from tests.support.text import without_retry
from tests.support.tls import Authority, half_peer

VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
WORKERS = pytest.mark.parametrize("workers", ["1", "2"])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Daemon]:
    """A daemon that anybody may talk to with TLS."""
    daemon = Daemon(tmp_path_factory.mktemp("tls") / "data", tls.options(authority.sign(tls.HOST)))
    daemon.start()
    yield daemon
    daemon.stop()


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Daemon]:
    """One that wants certificates of its clients."""
    options = tls.options(authority.sign(tls.HOST), authority.file)
    daemon = Daemon(tmp_path_factory.mktemp("strict") / "data", options)
    daemon.start()
    yield daemon
    daemon.stop()


def of(version: ssl.TLSVersion, context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = context.maximum_version = version
    return context


# ---- conversations


@WORKERS
@VERSIONS
def test_it_is_spoken_beside_plain_connections(
    start_daemon: StartDaemon, authority: Authority, workers: str, version: ssl.TLSVersion
) -> None:
    daemon = start_daemon("--workers", workers, *tls.options(authority.sign(tls.HOST)))
    port, context = tls.port_of(daemon), of(version, authority.client())
    with tls.connect(port, context) as watcher, tls.connect(port, context) as peer, daemon.connect() as plain:
        position = watcher.ask("WATCH").removeprefix("OK 0")
        value = "x" * 900_000
        assert peer.ask(f"SET a {value}") == "OK 1"
        assert watcher.line() == f"CHANGE 1{position} SET a {value}"
        assert plain.ask("GET a") == f"OK {value}"
        assert plain.ask("SET a 2") == "OK 2"
        assert watcher.line() == f"CHANGE 2{position} SET a 2"
        daemon.kill(signal.SIGTERM)
        assert [without_retry(line) for line in watcher.rest()] == [f"END 2{position} shutdown the daemon stops"]
    assert daemon.wait() == 0


@VERSIONS
def test_who_ends_its_side_gets_its_replies_and_its_changes(
    shared: Daemon, authority: Authority, version: ssl.TLSVersion
) -> None:
    """As without TLS.  The end of TLS's side, and that of the socket without it, are the same."""
    context = of(version, authority.client())
    for ended in (True, False):
        with half_peer(tls.port_of(shared), context) as peer, half_peer(tls.port_of(shared), context) as watcher:
            peer.send("PING a\nGET nothing\nhalf a li")
            watcher.send("WATCH half\n")
            for one in (peer, watcher):
                if ended:
                    one.end()
                else:
                    one.raw.shutdown(socket.SHUT_WR)
            replies = peer.rest()
            assert replies[:2] == ["OK a", "NONE"]
            assert replies[2].startswith("ERR usage the last line has no line end")
            assert watcher.line().startswith("OK ")
            with shared.connect() as other:
                other.ask("SET half 1")
            assert watcher.line().endswith(" SET half 1")


@VERSIONS
def test_nothing_is_lost_at_the_end_on_who_reads_late(
    shared: Daemon, authority: Authority, version: ssl.TLSVersion
) -> None:
    """QUIT shuts the daemon's side down, and input that follows it is dropped."""
    with half_peer(tls.port_of(shared), of(version, authority.client())) as peer:
        peer.send(f"SET late {'x' * 500_000}\n" + "GET late\n" * 20 + "QUIT\n" + "PING\n" * 1000)
        with shared.connect() as other:
            assert other.ask("PING") == "OK"
        lines = peer.rest()
        assert [len(line) for line in lines[1:]] == [500_003] * 20 + [6]
        assert lines[-1] == "OK bye"


@VERSIONS
def test_pieces_of_any_size_are_the_same_conversation(
    shared: Daemon, authority: Authority, version: ssl.TLSVersion
) -> None:
    with half_peer(tls.port_of(shared), of(version, authority.client())) as peer:
        for byte in peer.encrypt("PING one\nPI"):
            peer.raw.sendall(bytes([byte]))
        for character in "NG two\nPING three\n":
            peer.send(character)
        assert [peer.line() for _ in range(3)] == ["OK one", "OK two", "OK three"]


def test_who_does_not_read_is_not_read_from(shared: Daemon, authority: Authority) -> None:
    """What it sends waits in the end in its own kernel; the daemon keeps neither that nor the replies."""
    process = psutil.Process(shared.pid)
    with half_peer(tls.port_of(shared), authority.client()) as peer:
        peer.send(f"SET large {'x' * 100_000}\n")
        assert peer.line().startswith("OK ")
        before = process.memory_info().rss
        peer.raw.settimeout(1)

        def ask() -> None:
            for _ in range(10_000):
                peer.send("GET large\n" * 1000)

        with pytest.raises(TimeoutError):
            ask()
        assert process.memory_info().rss - before < 50 * MIB


def test_openssl_fits(shared: Daemon) -> None:
    needs("openssl")
    command = ["openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{tls.port_of(shared)}"]
    done = subprocess.run(command, input=b"PING x\nQUIT\n", capture_output=True, timeout=PATIENCE, check=False)
    assert done.stdout == b"OK x\nOK bye\n"


# ---- certificates


def test_a_client_sees_through_wrong_servers(
    start_daemon: StartDaemon, authority: Authority, shared: Daemon, tmp_path: Path
) -> None:
    for what, certificate in {
        "name": authority.sign("elsewhere.example"),
        "expired": authority.sign(tls.HOST, expired=True),
    }.items():
        daemon = start_daemon(*tls.options(certificate), data=tmp_path / what)
        with pytest.raises(ssl.SSLCertVerificationError), tls.connect(tls.port_of(daemon), authority.client()):
            pass
        assert daemon.says("no TLS with 127.0.0.1:")
    other = Authority(tmp_path / "other")
    with pytest.raises(ssl.SSLCertVerificationError), tls.connect(tls.port_of(shared), other.client()):
        pass


def is_refused(daemon: Daemon, context: ssl.SSLContext) -> bool:
    """Whether a client is; with TLS 1.3 it learns that only when it reads."""
    try:
        with tls.connect(tls.port_of(daemon), context) as peer:
            return peer.ask("PING") == ""
    except (ssl.SSLError, ConnectionError, AssertionError):
        return True


@VERSIONS
def test_clients_need_a_certificate_that_holds(
    strict: Daemon, authority: Authority, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    good = authority.sign("ada@example.org", common_name="ada")
    assert not is_refused(strict, of(version, authority.client(good)))
    assert is_refused(strict, of(version, authority.client()))
    assert strict.says("peer did not return a certificate")
    expired = authority.sign("bob@example.org", common_name="bob", expired=True)
    assert is_refused(strict, of(version, authority.client(expired)))
    assert strict.says("the certificate is refused: certificate has expired")
    other = Authority(tmp_path / "other")
    context = authority.client(other.sign("eve@example.org", common_name="ada"))
    assert is_refused(strict, of(version, context))
    assert strict.says("the certificate is refused: unable to get local issuer certificate")


@VERSIONS
def test_the_name_in_a_certificate_is_known(strict: Daemon, authority: Authority, version: ssl.TLSVersion) -> None:
    """The log says it of one whose connection is closed."""
    good = authority.sign(f"{version}@example.org", common_name=f"ada {version}")
    with tls.connect(tls.port_of(strict), of(version, authority.client(good))) as peer:
        peer.send("GET / HTTP/1.1\n")
        assert peer.line().startswith("ERR ")
        assert strict.says(f" (ada {version}): ")


@pytest.mark.parametrize("name", ["ada\0.example", "ada\n", "\x1b[2J", "ada\u202e"], ids=["nul", "lf", "esc", "rlo"])
def test_a_name_that_could_be_taken_for_another_is_refused(strict: Daemon, authority: Authority, name: str) -> None:
    context = authority.client(authority.sign("nul@example.org", common_name=name))
    assert is_refused(strict, context)
    assert strict.says(f"the name in the client's certificate, {name!a}, has a character")


@WORKERS
def test_sighup_reads_certificates_anew(
    start_daemon: StartDaemon, authority: Authority, tmp_path: Path, workers: str
) -> None:
    mine = tmp_path / "server.pem", tmp_path / "server.key"

    def install(signed: tuple[Path, Path]) -> None:
        for source, target in zip(signed, mine, strict=True):
            target.touch(0o600)
            target.write_bytes(source.read_bytes())

    def reload(wanted: str) -> None:
        before = daemon.log.count(wanted)
        daemon.kill(signal.SIGHUP)
        wait_for("it to be done", lambda: daemon.log.count(wanted) > before)

    install(authority.sign(tls.HOST))
    ca = tmp_path / "clients.pem"
    ca.write_bytes(authority.file.read_bytes())
    client = authority.sign("ada@example.org", common_name="ada")
    daemon = start_daemon("--workers", workers, *tls.options(mine, ca))
    with tls.connect(tls.port_of(daemon), authority.client(client)) as peer:
        other = Authority(tmp_path / "other")
        install(other.sign(tls.HOST))
        reload("kvd: reloaded\n")
        assert all(is_refused(daemon, authority.client(client)) for _ in range(5))
        assert not any(is_refused(daemon, other.client(client)) for _ in range(5))
        # Who is there stays.
        assert peer.ask("PING x") == "OK x"
    mine[0].write_text("no certificate")
    reload("reloaded nothing, what was loaded before goes on: --tls-cert ")
    assert not is_refused(daemon, other.client(client))
    install(other.sign(tls.HOST))
    ca.write_bytes(other.file.read_bytes())
    reload("kvd: reloaded\n")
    assert all(is_refused(daemon, other.client(client)) for _ in range(5))
    assert not is_refused(daemon, other.client(other.sign("eve@example.org", common_name="eve")))
    # A worker that is started again has what was read last.
    for pid in daemon.worker_pids():
        os.kill(pid, signal.SIGKILL)
        wait_for("a new one", lambda gone=pid: gone not in daemon.worker_pids() and len(daemon.worker_pids()) == 2)
    wait_for("it to serve", lambda: not is_refused(daemon, other.client(other.sign("eve@x.org", common_name="eve"))))
    assert is_refused(daemon, other.client(client))


def test_what_cannot_be_used_is_named_at_the_start(authority: Authority, tmp_path: Path) -> None:
    cert, _ = authority.sign(tls.HOST)
    _, key = authority.sign("elsewhere.example")
    done = run_kvd("--data", str(tmp_path / "data"), *tls.options((cert, key)))
    assert f"--tls-cert {str(cert)!r} and --tls-key {str(key)!r} cannot be used: key values mismatch" in (
        one_line_error(done)
    )
    assert not (tmp_path / "data").exists()


# ---- ill will


def hello(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """What a client says first."""
    context = ssl.create_default_context()
    came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = of(version, context).wrap_bio(came, goes, server_hostname=tls.HOST)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return goes.read()


@pytest.mark.parametrize("text", [b"PING\n", b"GET / HTTP/1.1\r\n\r\n", b"\x80\x2e\x01", bytes(1000), b"\n"])
def test_plain_text_is_told_what_to_speak(shared: Daemon, text: bytes) -> None:
    with socket.create_connection(("127.0.0.1", tls.port_of(shared)), timeout=PATIENCE) as raw:
        peer = Peer(raw)
        peer.send(text)
        assert peer.rest() == ["ERR usage this address takes TLS only; expected a TLS handshake"]


@VERSIONS
def test_tls_to_a_plain_address_is_refused(shared: Daemon, version: ssl.TLSVersion) -> None:
    with shared.connect() as peer:
        peer.send(hello(version))
        (line,) = peer.rest()
        assert line.startswith("ERR usage ")
    with pytest.raises(ssl.SSLError), tls.connect(shared.port, ssl.create_default_context()):
        pass


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1], ids=["1.0", "1.1"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_older_versions_are_refused(shared: Daemon, authority: Authority, version: ssl.TLSVersion) -> None:
    context = authority.client()
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)), tls.connect(tls.port_of(shared), of(version, context)):
        pass


@pytest.mark.parametrize(
    "data",
    [b"\x16", b"\x16\x03\x01\xff\xff", b"\x16\x03\x01\x00\x05hello", b"\x16\x03\x01\x00\x00", b"\x16" * 100_000],
    ids=["begun", "long", "garbage", "empty", "much"],
)
def test_what_is_no_handshake_harms_nobody(shared: Daemon, authority: Authority, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", tls.port_of(shared)), timeout=PATIENCE) as raw:
        raw.sendall(data)
        raw.shutdown(socket.SHUT_WR)
        try:
            while raw.recv(1 << 16):
                pass
        except ConnectionResetError:
            pass
    with tls.connect(tls.port_of(shared), authority.client()) as peer:
        assert peer.ask("PING x") == "OK x"


def test_garbage_after_the_handshake_ends_the_connection(shared: Daemon, authority: Authority) -> None:
    with half_peer(tls.port_of(shared), authority.client()) as peer:
        peer.send("PING x\n")
        assert peer.line() == "OK x"
        peer.raw.sendall(b"PING in plain text\n" * 10)
        with pytest.raises((ssl.SSLError, EOFError, ConnectionError)):
            peer.line()


def test_nobody_renegotiates(shared: Daemon) -> None:
    """openssl asks for it with a line R; the daemon says no, and goes on."""
    needs("openssl")
    port = tls.port_of(shared)
    command = ["openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{port}"]
    done = subprocess.run(command, input=b"R\n", capture_output=True, timeout=PATIENCE, check=False)
    assert b"no renegotiation" in done.stderr


def test_handshakes_that_stop_in_the_middle_keep_nobody_out(shared: Daemon, authority: Authority) -> None:
    """Some at each stage; the others are served meanwhile, and the daemon ends in order with them there."""
    first = hello()
    with ExitStack() as stack:
        for data in (b"", first[:1], first[:10], first[:-1], first):
            for _ in range(50):
                raw = socket.create_connection(("127.0.0.1", tls.port_of(shared)), timeout=PATIENCE)
                stack.enter_context(raw)
                raw.sendall(data)
        with tls.connect(tls.port_of(shared), authority.client()) as peer:
            assert peer.ask("PING x") == "OK x"
        daemon = shared
        daemon.kill(signal.SIGTERM)
        assert daemon.wait() == 0
        daemon.start()


def test_handshakes_have_a_time_and_a_number_and_are_counted(start_daemon: StartDaemon, authority: Authority) -> None:
    """The oldest is ended where there are too many, and who takes too long; neither is told anything."""
    limits = "--fsync", "no", "--handshake-time", "1.5", "--handshakes", "2"
    daemon = start_daemon(*tls.options(authority.sign(tls.HOST)), *limits)
    with ExitStack() as stack:
        stopped: list[socket.socket] = []
        # Three, unless the time of the first is over before the third comes.
        while len(stopped) < 3 or "others needed its place (--handshakes)" not in daemon.log:
            raw = stack.enter_context(socket.create_connection(("127.0.0.1", tls.port_of(daemon)), timeout=PATIENCE))
            stopped.append(raw)
            with suppress(ConnectionError):
                raw.sendall(hello())
                # It has begun.
                raw.recv(1)
        assert all(ends(raw) for raw in stopped)
        assert daemon.says("its handshake was not done within 1.5 s (--handshake-time)")
        with tls.connect(tls.port_of(daemon), authority.client()) as peer:
            peer.send("INFO\n")
            facts = dict(line.split(" ", 2)[1:] for line in iter(peer.line, "OK"))
        assert facts["limited-handshakes"] == f"{len(stopped)}"


def ends(raw: socket.socket) -> bool:
    """Whether a connection ends, by a reset or not."""
    with suppress(ConnectionError):
        while raw.recv(1 << 16):
            pass
    return True
