"""A daemon whose machine vanished is given up, also by a client that would wait for its answers for ever."""

import asyncio
import sys
from collections.abc import Iterator

import pytest

from kvd.client import connect
from kvd.errors import Uncertain
from kvd.process import half_open
from tests.support.far_machine import FarMachine, far_machine
from tests.support.processes import PATIENCE
from tests.support.scripted import Peer, serving

QUICK = 0.15
"""Seconds between looks where nobody wants to wait for a minute and a half."""

ANSWERING = """
import socket, sys, time
with socket.create_server((sys.argv[1], 0)) as server:
    print(server.getsockname()[1], flush=True)
    connection, _ = server.accept()
    connection.recv(100)
    connection.sendall(b"OK\\n")
    time.sleep(600)
"""
"""What answers a PING as a daemon does, and then nothing."""


@pytest.fixture
def far() -> Iterator[FarMachine]:
    with far_machine() as machine:
        yield machine


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half_open, "LOOK_INTERVAL", QUICK)


async def test_a_call_without_a_limit_ends_when_the_machine_is_gone(far: FarMachine) -> None:
    command = [*far.prefix, sys.executable, "-c", ANSWERING, far.address]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout
        port = int(await process.stdout.readline())
        async with await connect(f"{far.address}:{port}", timeout=None, reconnect=0) as kv:
            far.lose(far.address)
            with pytest.raises(Uncertain, match="its machine has acknowledged nothing for"):
                async with asyncio.timeout(PATIENCE):
                    await kv.set("k", "v")
    finally:
        process.kill()
        await process.wait()


@pytest.mark.slow
async def test_a_daemon_that_does_not_read_for_a_while_is_kept() -> None:
    """Its window is closed for much longer than the machine of one might be silent."""
    value = "v" * 1_000_000

    async def script(peer: Peer) -> None:
        assert isinstance(peer.writer.transport, asyncio.Transport)
        peer.writer.transport.pause_reading()
        await asyncio.sleep(3 * half_open.LOOKS * QUICK)
        peer.writer.transport.resume_reading()
        for _ in range(20):
            await peer.expect(f"SET k {value}")
            peer.say("OK 1")

    async with serving(script) as address, await connect(address, timeout=None, reconnect=0) as kv:
        assert await asyncio.gather(*(kv.set("k", value) for _ in range(20))) == [1] * 20
