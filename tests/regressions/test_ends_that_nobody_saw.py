"""Connections that had ended for the daemon, and not for the kernel, or not for what they held."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvloop

from kvd.counts import Counts
from kvd.http.connection import HttpConnection
from kvd.session import linger
from kvd.session.budget import Budget
from kvd.session.clients import Clients
from kvd.session.counting import RequestCounts
from kvd.session.linger import Linger
from kvd.session.streams import Streams

MUCH = 32 * 1024 * 1024
"""Bytes: more than two kernels take."""

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def accepted() -> AsyncIterator[tuple[socket.socket, Pair]]:
    """A peer, and the daemon's side."""
    loop = asyncio.get_running_loop()
    coming: asyncio.Future[Pair] = loop.create_future()

    def accept(*streams: Any) -> None:
        coming.set_result(streams)

    def protocol() -> Streams:
        return Streams(asyncio.StreamReader(), accept, loop)

    async with await loop.create_server(protocol, "127.0.0.1") as server:
        with closing(socket.create_connection(server.sockets[0].getsockname())) as peer:
            yield peer, await coming


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_one_who_does_not_read_is_cut_when_it_has_taken_too_long(
    loop: Callable[[], asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its socket, and what waited for it, were kept for as long as its kernel was there, and counted nowhere."""
    monkeypatch.setattr(linger, "PATIENCE", 0.2)

    async def end() -> None:
        async with accepted() as (_, (reader, writer)):
            writer.write(bytes(MUCH))
            await Linger(reader, writer).close(amid=False)
            async with asyncio.timeout(10):
                await writer.wait_closed()
            assert writer.transport.get_write_buffer_size() == 0

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(end())


async def test_one_who_reads_slowly_gets_all_in_whatever_time_it_has_to_close() -> None:
    async with accepted() as (peer, (reader, writer)):
        writer.write(bytes(MUCH))
        closing_it = asyncio.create_task(Linger(reader, writer).close(amid=False, longest=0.1))
        assert not (await asyncio.wait([closing_it], timeout=1))[0]
        received = await asyncio.to_thread(lambda: sum(iter(lambda: len(peer.recv(1 << 20)), 0)))
        await closing_it
        assert received == MUCH


async def test_what_waits_for_a_client_of_http_counts_until_it_is_gone() -> None:
    """What was left when it read on, after its last answer, counted for ever."""
    budget, counts = Budget(0, Counts()), RequestCounts(Counts())
    context: Any = SimpleNamespace(access=None, clients=Clients(), budget=budget, requests=counts, counts=Counts())
    async with accepted() as (peer, (reader, writer)):
        connection = HttpConnection(cast(Any, SimpleNamespace(context=context)), reader, writer, is_local=True)
        connection.stop()
        await connection.run()
        writer.transport.set_write_buffer_limits(high=MUCH // 2, low=MUCH // 4)
        writer.write(bytes(MUCH))
        ending = asyncio.create_task(connection.linger())
        await asyncio.to_thread(lambda: sum(iter(lambda: len(peer.recv(1 << 16)), 0)))
        await ending
        assert connection not in budget
