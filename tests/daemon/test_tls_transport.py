"""The transport of TLS connections, on asyncio's loop and on uvloop's, and the limits of handshakes."""

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop

from kvd import certificates
from kvd.addresses import Address
from kvd.process import limits
from kvd.process.sockets import listen
from kvd.process.tls import Tls
from kvd.process.tls_bytes import PIECE
from kvd.process.tls_transport import TlsTransport
from kvd.reloadable import Reloadable
from kvd.server import Server
from kvd.settings import Settings
from kvd.store.location import StoreLocation
from tests.support import tls
from tests.support.peers import Peer
from tests.support.processes import PATIENCE, needs
from tests.support.tls import Authority

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def loaded(authority: Authority) -> certificates.Certificates:
    cert, key = authority.sign(tls.HOST)
    return certificates.read(str(cert), str(key), "")


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    def run_on(coroutine: Coroutine[Any, Any, None]) -> None:
        async def limited() -> None:
            async with asyncio.timeout(PATIENCE):
                await coroutine

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(limited())

    return run_on


class Recorder(asyncio.Protocol):
    """What a protocol is told."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.came = b""
        self.told: list[str] = []
        self.changed = asyncio.Event()

    def _note(self, what: str) -> None:
        self.told.append(what)
        self.changed.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._note("made")

    def data_received(self, data: bytes) -> None:
        self.came += data
        self.changed.set()

    def eof_received(self) -> bool:
        self._note("eof")
        return True

    def pause_writing(self) -> None:
        self._note("full")

    def resume_writing(self) -> None:
        self._note("free")

    def connection_lost(self, exc: Exception | None) -> None:
        self._note(f"lost {type(exc).__name__}" if exc else "lost")

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await self.changed.wait()
            self.changed.clear()


class Counted(TlsTransport):
    """Says when its socket is closed."""

    def __init__(self, handshakes: Tls, protocol: asyncio.Protocol) -> None:
        super().__init__(handshakes, protocol)
        self.lost = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.lost.set()


class Limits:
    """Of handshakes."""

    seconds, most = PATIENCE, 2048


class Served:
    """A server that records what it is told, one protocol a connection."""

    def __init__(self) -> None:
        self.tls = Tls(Limits.seconds, Limits.most, list)
        self.protocols: list[Recorder] = []
        self.transports: list[Counted] = []
        self.port = 0

    def streams(self) -> TlsTransport:
        self.protocols.append(Recorder())
        self.transports.append(Counted(self.tls, self.protocols[-1]))
        return self.transports[-1]

    def connect(self) -> socket.socket:
        """A client that speaks for itself."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)


@asynccontextmanager
async def serving(loaded: certificates.Certificates) -> AsyncIterator[Served]:
    served = Served()
    served.tls.load(loaded)
    server = await asyncio.get_running_loop().create_server(served.streams, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        served.tls.close()
        server.close()
        for transport in served.transports:
            transport.abort()
            await transport.lost.wait()


@asynccontextmanager
async def connected(
    served: Served, authority: Authority
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, Recorder]]:
    """A client, and what its server is told."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", served.port, ssl=authority.client(), server_hostname=tls.HOST
    )
    protocol = served.protocols[-1]
    try:
        await protocol.until(lambda: protocol.transport)
        yield reader, writer, protocol
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()
        # To the server that is the end of one side.
        protocol.transport.abort()
        await protocol.until(lambda: "lost" in protocol.told[-1])


def test_reading_can_be_paused(run: Run, authority: Authority, loaded: certificates.Certificates) -> None:
    async def converse() -> None:
        async with serving(loaded) as served, connected(served, authority) as (_, writer, protocol):
            writer.write(b"a")
            await protocol.until(lambda: protocol.came == b"a")
            protocol.transport.pause_reading()
            assert not protocol.transport.is_reading()
            writer.write(b"b" * 10 * PIECE)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await protocol.until(lambda: len(protocol.came) > 1)
            protocol.transport.resume_reading()
            # Not within the call: who calls it may be at work on what came before.
            assert protocol.came == b"a"
            await protocol.until(lambda: len(protocol.came) == 10 * PIECE + 1)

    run(converse())


def test_a_pause_in_the_middle_of_what_came_loses_nothing_nor_the_end(
    run: Run, authority: Authority, loaded: certificates.Certificates
) -> None:
    async def converse() -> None:
        async with serving(loaded) as served:
            with served.connect() as raw:
                peer = await asyncio.to_thread(tls.HalfPeer, raw, authority.client())
                protocol = served.protocols[-1]
                await protocol.until(lambda: protocol.transport)
                protocol.transport.pause_reading()
                peer.send("a" * 1000)
                peer.end()
                raw.shutdown(socket.SHUT_WR)
                await asyncio.sleep(0.01)
                assert protocol.told == ["made"]
                protocol.transport.resume_reading()
                await protocol.until(lambda: protocol.told == ["made", "eof"])
                assert len(protocol.came) == 1000
                # The other direction is open, and ends by itself.
                protocol.transport.write(b"reply\n")
                protocol.transport.close()
                assert await asyncio.to_thread(peer.rest) == ["reply"]
            await protocol.until(lambda: protocol.told[-1] == "lost")

    run(converse())


def test_who_ends_its_side_still_receives(run: Run, authority: Authority, loaded: certificates.Certificates) -> None:
    async def converse() -> None:
        async with serving(loaded) as served:
            with served.connect() as raw:
                peer = await asyncio.to_thread(tls.HalfPeer, raw, authority.client())
                protocol = served.protocols[-1]
                await protocol.until(lambda: protocol.transport)
                assert protocol.transport.can_write_eof()
                protocol.transport.write(b"bye\n")
                protocol.transport.write_eof()
                protocol.transport.write(b"unsent")
                protocol.transport.write_eof()
                assert await asyncio.to_thread(peer.rest) == ["bye"]
                assert not protocol.transport.is_closing()
                peer.send("more")
                await protocol.until(lambda: protocol.came == b"more")
                peer.end()
                await protocol.until(lambda: "eof" in protocol.told)
                protocol.transport.close()
            await protocol.until(lambda: protocol.told[-1] == "lost")

    run(converse())


def test_a_full_socket_is_told_and_what_waits_is_counted(
    run: Run, authority: Authority, loaded: certificates.Certificates
) -> None:
    async def converse() -> None:
        async with serving(loaded) as served, connected(served, authority) as (reader, _, protocol):
            size = 0
            while "full" not in protocol.told:
                protocol.transport.write(b"x" * 10 * PIECE)
                size += 10 * PIECE
            low, high = protocol.transport.get_write_buffer_limits()
            assert low < high < protocol.transport.get_write_buffer_size()
            assert len(await reader.readexactly(size)) == size
            await protocol.until(lambda: "free" in protocol.told)
            protocol.transport.set_write_buffer_limits(high=PIECE)
            assert protocol.transport.get_write_buffer_limits()[1] == PIECE
            assert protocol.transport.get_protocol() is protocol
            protocol.transport.set_protocol(protocol)
            protocol.transport.abort()
            protocol.transport.abort()
            assert protocol.transport.is_closing()
            protocol.transport.write(b"x")
            protocol.transport.close()
            protocol.transport.pause_reading()
            protocol.transport.resume_reading()
            await protocol.until(lambda: protocol.told[-1] == "lost")

    run(converse())


def test_garbage_is_told_as_an_error(run: Run, authority: Authority, loaded: certificates.Certificates) -> None:
    async def converse() -> None:
        async with serving(loaded) as served:
            with served.connect() as raw:
                peer = await asyncio.to_thread(tls.HalfPeer, raw, authority.client())
                protocol = served.protocols[-1]
                raw.sendall(peer.encrypt("good") + b"garbage in the place of a record")
                await protocol.until(lambda: protocol.told[-1:] == ["lost SSLError"])
                assert protocol.came == b"good"

    run(converse())


def test_a_protocol_that_wants_no_half_is_closed(
    run: Run, authority: Authority, loaded: certificates.Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recorder, "eof_received", lambda _: None)

    async def converse() -> None:
        async with serving(loaded) as served:
            with served.connect() as raw:
                peer = await asyncio.to_thread(tls.HalfPeer, raw, authority.client())
                protocol = served.protocols[-1]
                peer.end()
                assert await asyncio.to_thread(peer.rest) == []
                await protocol.until(lambda: protocol.told == ["made", "lost"])

    run(converse())


def test_who_goes_on_trying_to_renegotiate_is_cut_off(
    run: Run, loaded: certificates.Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It might not read that it may not."""
    needs("openssl")
    monkeypatch.setattr("kvd.process.tls_transport.MOST_UNASKED", 1)

    async def converse() -> None:
        async with serving(loaded) as served:
            command = ["openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{served.port}"]
            await asyncio.to_thread(subprocess.run, command, input=b"R\n", capture_output=True, timeout=PATIENCE)
            protocol = served.protocols[-1]
            await protocol.until(lambda: protocol.told[-1] == "lost")

    run(converse())


# ---- handshakes


def read_all(raw: socket.socket) -> None:
    """Until the daemon ends it."""
    with suppress(ConnectionResetError):
        while raw.recv(1 << 16):
            pass


def hello(authority: Authority) -> bytes:
    came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = authority.client().wrap_bio(came, goes, server_hostname=tls.HOST)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return goes.read()


@pytest.mark.parametrize("sent", [0, 1, 100, 10_000])
def test_a_handshake_has_a_deadline(
    run: Run, authority: Authority, loaded: certificates.Certificates, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, sent: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(Limits, "seconds", 0.05)

    async def converse() -> None:
        async with serving(loaded) as served:
            with served.connect() as raw:
                raw.sendall(hello(authority)[:sent])
                await asyncio.to_thread(read_all, raw)
            assert served.tls.in_flight == 0
            assert served.protocols[-1].told == []

    run(converse())
    assert "its handshake was not done within 0.05 s" in caplog.text


def test_the_oldest_handshakes_make_way(
    run: Run, authority: Authority, loaded: certificates.Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were begun: who has said nothing takes little, and is not counted."""
    monkeypatch.setattr(Limits, "most", 3)

    async def converse() -> None:
        async with serving(loaded) as served:
            with ExitStack() as stack:
                silent, *stopped = [stack.enter_context(served.connect()) for _ in range(6)]
                for raw in stopped:
                    raw.sendall(hello(authority))
                    assert await asyncio.to_thread(raw.recv, 1)
                for raw in stopped[:2]:
                    await asyncio.to_thread(read_all, raw)
                assert served.tls.in_flight == 4
                async with connected(served, authority):
                    await asyncio.to_thread(read_all, stopped[2])
                assert served.tls.in_flight == 3
                silent.sendall(b"PING\n")
                assert (await asyncio.to_thread(silent.recv, 100)).startswith(b"ERR usage this address takes TLS only")

    run(converse())


def test_a_crowd_has_its_handshakes_one_a_turn(
    run: Run, authority: Authority, loaded: certificates.Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[int] = []
    step = TlsTransport.step

    def counted(transport: TlsTransport) -> None:
        turns.append(number)
        step(transport)

    monkeypatch.setattr(TlsTransport, "step", counted)
    number = 0

    async def converse() -> None:
        nonlocal number
        async with serving(loaded) as served:
            with ExitStack() as stack:
                for _ in range(20):
                    stack.enter_context(served.connect()).sendall(hello(authority))
                while len(turns) < 20:
                    number += 1
                    await asyncio.sleep(0)

    run(converse())
    assert len(set(turns)) == len(turns)


def test_handshakes_in_flight_make_way_for_connections(
    run: Run, authority: Authority, loaded: certificates.Certificates, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They hold descriptors, too."""
    monkeypatch.setattr(limits, "connections", lambda: 2)
    listeners = listen([Address("127.0.0.1", 0, tls=True), Address("127.0.0.1", 0)])
    secure, plain = (listener.socket.getsockname()[1] for listener in listeners)
    store = StoreLocation(f"unix://{tmp_path}/nowhere", None)

    def speak() -> None:
        with ExitStack() as stack:

            def connect(port: int) -> socket.socket:
                return stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))

            silent = [connect(secure) for _ in range(2)]
            first = Peer(connect(plain))
            stack.callback(first.close)
            assert first.ask("PING x") == "OK x"
            read_all(silent[0])
            second = stack.enter_context(tls.connect(secure, authority.client()))
            assert second.ask("PING y") == "OK y"
            read_all(silent[1])
            third = stack.enter_context(tls.connect(secure, authority.client()))
            assert third.line().startswith("ERR unavailable ")

    async def serve() -> None:
        server = Server(Settings(), store, listeners, Reloadable(loaded))
        await server.start()
        await asyncio.to_thread(speak)
        await server.drain()
        await server.close()

    run(serve())
