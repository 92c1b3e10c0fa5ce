"""The Python library, with both faces, and kvctl over TLS and over unix sockets."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from kvd.client import BadAddress, TimedOut, Unreachable, sync
from kvd.client.dialing import Target, parse_target
from tests.support import tls
from tests.support.faces import Connect
from tests.support.kvctl import printed, run
from tests.support.processes import Daemon
from tests.support.tls import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("socket") / "it's kvd"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, authority: Authority, path: Path) -> Iterator[Daemon]:
    """It wants certificates of its TLS clients."""
    options = ["--listen", f"unix:{path}", *tls.options(authority.sign(tls.HOST), authority.file)]
    daemon = Daemon(tmp_path_factory.mktemp("tls") / "data", options)
    daemon.start()
    yield daemon
    daemon.stop()


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> tuple[Path, Path]:
    return authority.sign("ada@example.org", common_name="ada")


def address(daemon: Daemon) -> str:
    return f"localhost:{tls.port_of(daemon)}"


# ---- addresses


def test_what_an_address_says() -> None:
    assert parse_target("h:1") == Target("h", 1)
    assert parse_target("tls:h") == Target("h", 5830, tls=True)
    assert parse_target("tls:[::1]:7") == Target("::1", 7, tls=True)
    assert parse_target("unix:/a b:1") == Target("", 0, "/a b:1")


@pytest.mark.parametrize("wrong", ["unix:", "unix:a\0b", "tls:", "tls:unix:/a", "tls:h:99999"])
async def test_what_is_no_address(connect: Connect, wrong: str) -> None:
    with pytest.raises(BadAddress, match="invalid address"):
        await connect(wrong)


# ---- unix sockets


@pytest.mark.usefixtures("daemon")
async def test_a_unix_socket_is_an_address(connect: Connect, path: Path) -> None:
    async with await connect(f"unix:{path}", reconnect=0) as kv:
        revision = await kv.set("unix", "x" * 1_000_000)
        assert len(await kv.get("unix") or b"") == 1_000_000
        async with kv.watch("unix") as changes:
            assert int(changes.position.partition("@")[0]) >= revision
            await kv.set("unix", "1")
            assert (await anext(changes)).value == b"1"
    with pytest.raises(BadAddress, match="no TLS is spoken on unix sockets"):
        await connect(f"unix:{path}", tls=True)
    with pytest.raises(Unreachable, match="no such file or directory") as nobody:
        await connect(f"unix:{path}.not")
    assert nobody.value.refused


@pytest.mark.usefixtures("daemon")
def test_kvctl_takes_the_path_of_a_socket(path: Path) -> None:
    assert printed(run("--addr", f"unix:{path}", "set", "kvctl", "1"))
    assert printed(run("get", "kvctl", KVCTL_ADDR=f"unix:{path}")) == b"1"
    absent = run("ping", KVCTL_ADDR=f"unix:{path}.not")
    assert absent.returncode == 3
    assert absent.stderr.decode().startswith(
        f"kvctl: cannot reach kvd at unix:{path}.not (no such file or directory): "
    )


# ---- TLS


async def test_a_client_speaks_tls(
    connect: Connect, daemon: Daemon, authority: Authority, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    async with await connect(address(daemon), ca=authority.file, cert=cert, key=key, reconnect=0) as kv:
        for size in (1, 20_000, 1_000_000):
            await kv.set("tls", "x" * size)
            assert len(await kv.get("tls") or b"") == size
        many = await asyncio.gather(*(kv.set(f"tls/{number}", "v" * 1000) for number in range(300)))
        assert len(set(many)) == 300
        assert len([item async for item in kv.list("tls/*")]) == 300
        async with kv.watch("watched") as changes:
            await kv.set("watched", "1")
            assert (await anext(changes)).value == b"1"
        async with kv.follow("watched") as following:
            copy = await anext(following)
            assert copy
    context = authority.client(certificate)
    async with await connect(f"tls:{address(daemon)}", tls=context, reconnect=0) as kv:
        assert await kv.ping("x") == "x"


def test_threads_share_a_connection(daemon: Daemon, authority: Authority, certificate: tuple[Path, Path]) -> None:
    """OpenSSL lets one at a time have it, also while another waits for what comes."""
    cert, key = certificate
    with sync.connect(address(daemon), ca=authority.file, cert=cert, key=key, reconnect=0) as kv:
        wrong: list[object] = []

        def work(number: int) -> None:
            for step in range(100):
                value = f"{number} {step} " + "x" * (step * 500)
                kv.set(f"thread/{number}", value)
                if kv.get_text(f"thread/{number}") != value:
                    wrong.append(value)

        threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


async def test_who_cannot_be_trusted_is_not(
    connect: Connect, daemon: Daemon, authority: Authority, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    cert, key = certificate
    other = Authority(tmp_path / "other")
    mine = {"cert": cert, "key": key}
    port = tls.port_of(daemon)
    wrong: list[tuple[str, dict[str, Any], str]] = [
        (f"localhost:{port}", {"ca": other.file, **mine}, r"no TLS: the certificate is refused: "),
        (f"localhost:{port}", {"tls": True, **mine}, r"no TLS: the certificate is refused: "),
        (f"127.0.0.1:{port}", {"ca": authority.file, **mine}, r"no TLS: the certificate is refused: IP address mismat"),
        (f"localhost:{port}", {"ca": authority.file}, r"no TLS: .*alert certificate required"),
        (f"localhost:{daemon.port}", {"ca": authority.file}, r"no TLS: (wrong version number|.*record)"),
    ]
    for where, more, why in wrong:
        with pytest.raises(Unreachable, match=why):
            await connect(where, reconnect=0, **more)


async def test_a_daemon_that_says_nothing_is_given_up(connect: Connect, authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"localhost:{silent.getsockname()[1]}"
        with pytest.raises(Unreachable, match=r"\(no answer within 0\.2 s|timed out\)"):
            await connect(where, ca=authority.file, connect_timeout=0.2)


async def test_a_daemon_that_ends_during_the_handshake_is_none(connect: Connect, authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            with server.accept()[0] as connection:
                connection.recv(1)

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(Unreachable):
            await connect(f"localhost:{server.getsockname()[1]}", ca=authority.file, reconnect=0)
        thread.join()


async def test_a_silent_daemon_is_noticed(connect: Connect, authority: Authority) -> None:
    with silent_after_handshake(authority) as where, pytest.raises((TimedOut, Unreachable)):
        async with await connect(where, ca=authority.file, connect_timeout=0.3, timeout=0.3, reconnect=0) as kv:
            await kv.get("a")


@contextmanager
def silent_after_handshake(authority: Authority) -> Iterator[str]:
    """Answers the first PING, and then nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.sign(tls.HOST))
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            # A client may be held up for so long that it gives up before.
            with (
                suppress(OSError),
                server.accept()[0] as raw,
                context.wrap_socket(raw, server_side=True) as connection,
            ):
                connection.recv(100)
                connection.sendall(b"OK\n")
                over.wait(30)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"localhost:{server.getsockname()[1]}"
        over.set()
        thread.join()


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"tls": 1}, TypeError),
        ({"tls": ssl.create_default_context(), "ca": "x"}, ValueError),
        ({"cert": "x"}, ValueError),
        ({"key": "x"}, ValueError),
        ({"ca": "/nowhere/ca.pem"}, ValueError),
        ({"ca": __file__}, ValueError),
        ({"cert": __file__, "key": __file__}, ValueError),
    ],
)
async def test_what_cannot_be_used_is_told_at_once(connect: Connect, given: dict[str, object], error: type) -> None:
    with pytest.raises(error, match=r"^(tls|ca|cert and key)\b"):
        await connect("127.0.0.1:1", **given)


def test_kvctl_speaks_tls(daemon: Daemon, authority: Authority, certificate: tuple[Path, Path]) -> None:
    where = address(daemon)
    cert, key = map(str, certificate)
    ca = str(authority.file)
    assert printed(run("--addr", where, "--tls", "--ca", ca, "--cert", cert, "--key", key, "set", "k", "1"))
    words = ("--ca", ca, "--cert", cert, "--key", key)
    assert printed(run("get", "k", *words, KVCTL_ADDR=f"tls:{where}")) == b"1"
    refused = run("get", "k", "--tls", "--addr", where)
    assert refused.returncode == 3
    assert b"(no TLS: the certificate is refused: " in refused.stderr
    for wrong, said in [
        (("--ca", ca + ".no"), f"kvctl: --ca: cannot read '{ca}.no': No such file or directory".encode()),
        (("--cert", cert), b"kvctl: --cert and --key: one of them is given; expected both"),
        (("--cert", ca, "--key", ca), b"kvctl: --cert and --key: "),
    ]:
        done = run("get", "k", "--addr", where, *wrong)
        assert done.returncode == 2
        assert done.stderr.startswith(said), done.stderr
