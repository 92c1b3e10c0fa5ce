"""What both faces of the library do when the connection is lost."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kvd import client
from kvd.client import (
    ProtocolError,
    TimedOut,
    Unreachable,
    requests,
    sync,
)
from kvd.client.protocol import Answer, Protocol
from kvd.errors import (
    ConnectionLost,
    Uncertain,
)
from tests.support.faces import Connect
from tests.support.ports import quiet_port
from tests.support.processes import Daemon
from tests.support.scripted import Peer, serving


async def test_reads_are_asked_again_and_writes_in_flight_are_uncertain(connect: Connect) -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"PING\n"
        writer.write(b"OK\n")
        request = await reader.readline()
        asked.append(request)
        if request == b"GET a\n" and asked.count(request) == 3:
            writer.write(b"OK at last\n")
            await reader.read()
        writer.write(b"OK 1")  # no line
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        async with await connect(f"{host}:{port}") as kv:
            with pytest.raises(Uncertain, match="may have been done, or not") as caught:
                await kv.set("k", "v")
            assert isinstance(caught.value.__cause__, ConnectionLost)
            assert await kv.get("a") == b"at last"
        assert asked == [b"SET k v\n", *[b"GET a\n"] * 3]


async def test_a_write_is_sent_again_only_where_that_is_asked_for(connect: Connect) -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"OK\n")
        while request := await reader.readline():
            asked.append(request)
            replies = [b"", b"ERR uncertain who knows\n", b"OK 7\n"]
            writer.write(replies[min(len(asked), len(replies)) - 1])
            if len(asked) == 1:
                break
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        async with await connect(f"{host}:{port}", retry_uncertain=True) as kv:
            assert await kv.set("k", "v") == 7
    assert asked == [b"SET k v\n"] * 3


async def test_a_restart_is_only_waited_for(daemon: Daemon, connect: Connect) -> None:
    async with await connect(daemon.addr) as kv:
        await kv.set("k", "before")
        await asyncio.to_thread(daemon.stop)
        reading = asyncio.create_task(kv.get("k"))
        writing = asyncio.create_task(kv.set("l", "after"))
        await asyncio.to_thread(daemon.start)
        assert await reading == b"before"
        assert await writing == 2  # it was not sent before


async def test_the_next_address_is_tried(daemon: Daemon, connect: Connect) -> None:
    nobody = f"127.0.0.1:{quiet_port()}"
    async with await connect([nobody, daemon.addr]) as kv:
        assert await kv.ping("a") == "a"
    with pytest.raises(Unreachable):
        await connect([nobody, nobody])
    with pytest.raises(client.BadAddress):
        await connect([daemon.addr, "a b"])
    with pytest.raises(ValueError, match="no address"):
        await connect([])


async def test_a_daemon_that_asks_to_come_later_is_asked_later(connect: Connect) -> None:
    """At the door it says when."""
    came: list[float] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(asyncio.get_running_loop().time())
        assert await reader.readline() == b"PING\n"
        writer.write(b"ERR unavailable retry=0.700 a crowd\n" if len(came) == 2 else b"OK\n")
        if len(came) == 3:
            assert await reader.readline() == b"GET a\n"
            writer.write(b"OK at last\n")
            await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        async with await connect(f"{host}:{port}") as kv:
            assert await kv.get("a") == b"at last"
    assert came[2] - came[1] >= 0.69  # its own pause would be 0.4 at the most


async def test_it_gives_up_in_time(daemon: Daemon, connect: Connect) -> None:
    async with await connect(daemon.addr, reconnect=0.3) as kv, await connect(daemon.addr, reconnect=0) as other:
        await asyncio.to_thread(daemon.stop)
        with pytest.raises(Unreachable, match="refused"):
            await kv.get("k")
        for call in (other.get("k"), other.set("k", "v")):
            with pytest.raises(ConnectionLost, match="closed"):
                await call


async def test_closing_ends_every_call(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.expect("GET a")
        asked.set()
        await peer.expect_end()

    asked = asyncio.Event()
    async with serving(script) as address:
        kv = await connect(address)
        caller = asyncio.create_task(kv.get("a"))
        await asked.wait()
        await kv.close()
        with pytest.raises(ConnectionLost, match="closed by this program"):
            await caller
        with pytest.raises(ConnectionLost, match="closed by this program"):
            await kv.get("a")


async def test_a_silent_daemon_is_given_up(connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        await peer.rest()

    async with serving(script) as address, await connect(address, timeout=0.2, reconnect=0) as kv:
        with pytest.raises(TimedOut, match=r"no byte from the daemon for 0\.2 s"):
            await kv.get("k")


MALFORMED: list[tuple[Callable[[Any], Awaitable[object]], bytes]] = [
    (lambda kv: kv.set("k", "v"), b"OK x"), (lambda kv: kv.get("k"), b"OK"), (lambda kv: kv.gets("k"), b"OK 7"),
    (lambda kv: anext(kv.keys()), b"KEY b\nKEY a\nOK 2"), (lambda kv: anext(kv.list()), b"PAIR 1 a\nOK 1@a"),
    (lambda kv: anext(kv.keys(reverse=True)), b"KEY a\nKEY b\nOK 2"), (lambda kv: kv.delete_all("a*"), b"OK 3"),
    (lambda kv: kv.changes("1@a"), b"CHANGED 3@a DEL k\nCHANGED 2@a DEL k\nOK 3@a"), (lambda kv: kv.ping(), b"NONE"),
    (lambda kv: kv.changes("1@a"), b"CHANGED 3@a DEL k\nOK 2@a"), (lambda kv: kv.help(), b"KEY a\nOK"),
    (lambda kv: kv.changes("1@a"), b"CHANGE 3@a DEL k\nCHANGED x\nOK 3@a"), (lambda kv: kv.get("k"), b"KEY a\nOK b"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "reply"), MALFORMED)
async def test_a_malformed_reply_ends_the_connection(
    call: Callable[[Any], Awaitable[object]], reply: bytes, connect: Connect
) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\n")
        peer.writer.write(reply + b"\n")
        await peer.rest()

    async with serving(script) as address, await connect(address, timeout=5) as kv:
        with pytest.raises((ProtocolError, Uncertain)) as caught:
            await call(kv)
        assert isinstance(caught.value, ProtocolError) or isinstance(caught.value.__cause__, ProtocolError)


def test_a_thread_that_waits_holds_up_no_other(shared_daemon: Daemon) -> None:
    """One of them receives for all."""
    with sync.connect(shared_daemon.addr) as kv:
        failures: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for turn in range(100):
                    value = f"{number} {turn}" * (1 if turn % 10 else 20_000)
                    kv.set(f"thread/{number}", value)
                    assert kv.get_text(f"thread/{number}") == value
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []


def test_an_interrupted_call_shifts_no_reply(shared_daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    with sync.connect(shared_daemon.addr) as kv:
        kv.set("interrupted/a", "1")
        kv.set("interrupted/b", "2")
        link: Any = kv._calling._link
        receive = link._connection.receive

        def interrupted(_: float | None = None) -> None:
            monkeypatch.setattr(link._connection, "receive", receive)
            raise KeyboardInterrupt

        monkeypatch.setattr(link._connection, "receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            kv.get("interrupted/a")
        assert kv.get("interrupted/b") == b"2"


def test_the_core_alone(shared_daemon: Daemon) -> None:
    """As its docstring says: any way to move bytes can stand around it."""
    host, port = client.parse_address(shared_daemon.addr)
    with socket.create_connection((host, port)) as connection:
        protocol = Protocol()
        connection.sendall(protocol.send(requests.set("core", b"\x00"), "first"))
        connection.sendall(protocol.send(requests.get("core"), "second"))
        answers: list[tuple[str, Any]] = []
        while len(answers) < 2:
            while (heard := protocol.next()) is None:
                protocol.receive(connection.recv(3))
            assert isinstance(heard, Answer)
            answers.append((heard.token, heard.result()))
        assert answers[1] == ("second", b"\x00")
        assert answers[0][0] == "first"
        assert not protocol.is_asked
