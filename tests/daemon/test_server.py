"""The daemon as a whole: connections that nobody ends, and those that are refused."""

import asyncio
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from kvd import admission
from kvd.addresses import Address
from kvd.admission import LINGER_COUNT
from kvd.process import limits
from kvd.process.sockets import Listener
from kvd.server import Server
from kvd.session.kept_input import READ_BYTES
from kvd.settings import Settings
from kvd.store.location import StoreLocation
from tests.support.processes import PATIENCE, ROOT, wait_for
from tests.support.text import without_retry

IMPATIENT = """
import sys
from kvd.session import peer
peer.GONE_INTERVAL = 0.1
from kvd.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
"""A daemon that looks for them more often than every half minute."""


@pytest.mark.slow
def test_half_closed_watchers_that_are_gone_are_found(tmp_path: Path) -> None:
    """`echo WATCH quiet | nc`, ended by Ctrl-C: nothing is read from it and nothing sent to it any more."""
    process = subprocess.Popen(
        [sys.executable, "-c", IMPATIENT, "--listen", "127.0.0.1:0", "--data", str(tmp_path / "data")],
        cwd=ROOT, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout
    port = int(process.stdout.readline().rpartition(b":")[2])
    with socket.create_connection(("127.0.0.1", port)) as stays:
        stays.sendall(b"WATCH quiet\n")
        stays.shutdown(socket.SHUT_WR)
        assert stays.recv(100).startswith(b"OK ")
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", port)) as goes:
                goes.sendall(b"WATCH quiet\n")
                goes.shutdown(socket.SHUT_WR)
                assert goes.recv(100).startswith(b"OK ")
                # Reset, as the kernel of a peer that is gone answers keep-alive a minute later.
                goes.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        def half_closed() -> int:
            connections = psutil.Process(process.pid).net_connections("tcp")
            return sum(connection.status == psutil.CONN_CLOSE_WAIT for connection in connections)

        wait_for("those that are gone to be found", lambda: half_closed() == 1)
        with socket.create_connection(("127.0.0.1", port)) as writer:
            writer.sendall(b"SET quiet 1\n")
            assert writer.recv(100) == b"OK 1\n"
        assert b" SET quiet 1\n" in stays.recv(100)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 0


# ---- one connection too many


class Refused:
    """A connection that has its refusal."""

    def __init__(self, address: tuple[str, int], stack: ExitStack) -> None:
        self._address = address
        self._socket = stack.enter_context(socket.socket())
        self._socket.setblocking(False)

    async def connect(self) -> "Refused":
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self._socket, self._address)
        said = (await loop.sock_recv(self._socket, 1000)).decode()
        assert without_retry(said) == "ERR unavailable there are too many connections; try again later\n"
        assert await loop.sock_recv(self._socket, 1000) == b""
        return self

    async def takes(self, data: bytes) -> bool:
        """Send: whether the connection is still whole."""
        try:
            await asyncio.get_running_loop().sock_sendall(self._socket, data)
        except ConnectionError:
            return False
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0

    async def stays(self) -> bool:
        """Send some: whether the connection is whole after that."""
        return all([await self.takes(b"GET a\n") for _ in range(10)])

    def close(self) -> None:
        self._socket.close()

    async def is_let_go(self, data: bytes) -> bool:
        """Send again and again, until the connection breaks."""
        async with asyncio.timeout(PATIENCE):
            while await self.takes(data):  # noqa: ASYNC110  # a reset is seen by sending only
                await asyncio.sleep(0.001)
        return True


@pytest.fixture
async def full(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[str, int]]:
    """Where a server listens that serves nobody, and waits long enough for whom it refuses."""
    monkeypatch.setattr(limits, "connections", lambda: 0)
    monkeypatch.setattr(admission, "LINGER_TIME", PATIENCE)
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    service = Server(Settings(), StoreLocation("unix:///nowhere", None), [Listener(bound, Address("127.0.0.1", 0))])
    await service.start()
    yield bound.getsockname()
    await service.drain()
    await service.close()


async def test_a_refusal_is_not_lost_on_who_goes_on_sending(full: tuple[str, int]) -> None:
    with ExitStack() as stack:
        peer = await Refused(full, stack).connect()
        assert await peer.stays()


async def test_what_a_few_refused_peers_send_is_dropped(full: tuple[str, int]) -> None:
    with ExitStack() as stack:
        peers = [await Refused(full, stack).connect() for _ in range(LINGER_COUNT)]
        one_more = await Refused(full, stack).connect()
        assert await one_more.is_let_go(b"G")
        assert [await peers[0].takes(bytes(READ_BYTES)) for _ in range(100)] == [True] * 100
        peers[0].close()
        # That one makes room when its end is found.
        async with asyncio.timeout(PATIENCE):
            while not await (await Refused(full, stack).connect()).stays():
                pass


async def test_a_refused_peer_that_stays_is_let_go(full: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "LINGER_TIME", 0.01)
    with ExitStack() as stack:
        peer = await Refused(full, stack).connect()
        assert await peer.is_let_go(b"G")
