"""What has come over HTTP, and waits for nothing, does not keep others waiting until all of it is taken."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kvd.counts import Counts
from kvd.http.exchange import TURN_PARTS, Exchange
from kvd.http.messages import line
from tests.support.memory import MemoryTransport

PARTS = 20 * TURN_PARTS
REQUESTS = 20
HEAD = b"PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
TINY = HEAD + b"1\r\nx\r\n" * PARTS


class Writer:
    """Of one who takes all at once."""

    def __init__(self) -> None:
        self.transport = MemoryTransport(asyncio.Protocol())
        self.write = self.transport.write

    async def drain(self) -> None:
        """There is nothing to wait for."""


def exchange_of(data: bytes, writer: Writer) -> Exchange:
    counted = memoryview(bytearray(8)).cast("q")
    context: Any = SimpleNamespace(
        counts=Counts(), limits=SimpleNamespace(sizes=SimpleNamespace(line=0)), max_value=PARTS,
        requests=SimpleNamespace(received=counted, sent=counted),
    )  # fmt: skip
    reader, given = asyncio.StreamReader(), cast(Any, writer)
    reader.feed_data(data)
    reader.feed_eof()
    return Exchange(context, reader, given, lambda: None)


@asynccontextmanager
async def others() -> AsyncIterator[list[None]]:
    """As many as the turns that they had."""
    turns: list[None] = []

    async def go_on() -> None:
        while True:
            turns.append(None)
            await asyncio.sleep(0)

    task = asyncio.create_task(go_on())
    try:
        yield turns
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_between_small_parts_of_a_body() -> None:
    """Found: of a hundred connections each kept all for a quarter of a second, and nobody was answered for a minute."""
    exchange = exchange_of(TINY + b"0\r\n\r\n", Writer())
    assert await exchange.head(asyncio.Event())
    async with others() as turns:
        assert await exchange.read_body(0) == b"x" * PARTS
        assert len(turns) >= PARTS // TURN_PARTS


async def test_between_requests_that_came_together() -> None:
    exchange = exchange_of(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n" * REQUESTS, Writer())
    async with others() as turns:
        for _ in range(REQUESTS):
            assert await exchange.head(asyncio.Event())
            assert await exchange.read_body(0) == b""
            await exchange.send(line("nothing", HTTPStatus.NOT_FOUND), is_last=False)
            exchange.next()
        assert len(turns) >= REQUESTS - 1


async def test_what_is_left_of_one_who_is_cut_is_not_taken() -> None:
    writer = Writer()
    exchange = exchange_of(TINY, writer)
    assert await exchange.head(asyncio.Event())
    writer.transport.abort()
    with pytest.raises(ConnectionResetError):
        await exchange.read_body(0)
    assert exchange.body == TURN_PARTS
