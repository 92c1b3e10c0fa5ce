"""A store came back after the time for which requests wait for it: a SET that was in flight was answered, and what the
same connection asked behind it was refused, because of an absence that was over.

A failover that took just over five seconds did that to a GET, whose connection finds the new primary by itself.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kvd.errors import KvdError, StoreLost, Unavailable
from kvd.model import TEXT, Record
from kvd.store.redis import batching, writes
from kvd.store.redis.connection import Connection, Connector
from kvd.store.redis.parts import Parts
from kvd.store.redis.store import Store
from tests.support.processes import PATIENCE, Redis
from tests.support.proxy import Proxy
from tests.support.stores import eventually, proxied, put, running, value_of, write

Ask = Callable[[Store, Callable[[Any], None]], None]


def is_refused(asked: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[bool]]:
    async def refused() -> bool:
        try:
            await asked()
        except Unavailable:
            return True
        return False

    return refused


async def lose(store: Store, *proxies: Proxy) -> None:
    """Until both reads and writes are refused."""
    for proxy in proxies:
        proxy.refusing = True
        proxy.cut()
    await eventually(is_refused(lambda: store.read([b"k"])))
    await eventually(is_refused(lambda: write(store, put(b"other"))))


def write_behind(store: Store, done: Callable[[Any], None]) -> None:
    store.write_then([put(b"k", b"behind")], 6, done)


def read_behind(store: Store, done: Callable[[Any], None]) -> None:
    store.ask_then([b"k"], lambda found: done(found if isinstance(found, KvdError) else [*filter(None, found[0])]))


@pytest.mark.parametrize(
    ("ask", "expected"), [(read_behind, [Record(b"2", b"0", TEXT, b"hide me")]), (write_behind, [b"3"])]
)
async def test_who_is_answered_when_the_store_is_back_is_not_refused_the_next_thing(
    ask: Ask, expected: Any, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection for reads finds it last."""
    monkeypatch.setattr(batching, "GRACE", 0.2)
    monkeypatch.setattr(writes, "UNCERTAIN_AFTER", PATIENCE)
    async with proxied(redis) as (writing, attach_url), proxied(redis) as (reading, url):
        parts = Parts(Connector(url), Connector(attach_url))
        async with running(url, parts=parts) as store:
            await write(store, put(b"k", b"0"))
            assert await value_of(store, b"k") == b"0"
            writing.hiding = b"hide me"
            answers: list[Any] = []
            behind: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

            def answered(outcomes: Any) -> None:
                answers.append(outcomes)
                ask(store, behind.set_result)

            store.write_then([put(b"k", b"hide me")], 7, answered)
            await writing.caught.get()
            await lose(store, writing, reading)
            assert not answers
            monkeypatch.setattr(batching, "GRACE", PATIENCE)
            writing.refusing, writing.hiding = False, None
            await eventually(lambda: asyncio.sleep(0, bool(answers)))
            assert answers == [[b"2"]]
            reading.refusing = False
            assert await asyncio.wait_for(behind, PATIENCE) == expected


async def test_who_is_given_what_a_store_has_that_is_back_may_write_to_it(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative: the connection for writes finds it last."""
    monkeypatch.setattr(batching, "GRACE", 0.2)
    async with (
        proxied(redis) as (writing, attach_url),
        proxied(redis) as (reading, url),
        running(url, parts=Parts(Connector(url), Connector(attach_url))) as store,
    ):
        await write(store, put(b"k", b"0"))
        await lose(store, writing, reading)
        monkeypatch.setattr(batching, "GRACE", PATIENCE)
        reading.refusing = False
        refused = is_refused(lambda: store.read([b"k"]))
        await eventually(lambda: _not(refused()))
        behind = asyncio.create_task(write(store, put(b"k", b"1")))
        await asyncio.wait([behind], timeout=0)
        writing.refusing = False
        assert await behind == [b"2"]


async def _not(truth: Awaitable[bool]) -> bool:
    return not await truth


async def test_a_store_that_is_found_and_lost_again_and_again_is_not_asked_without_a_pause(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found: each connection that was there had the others come at once."""
    life = 0.001
    opened = 0
    lost = asyncio.Event()
    open_one = Connector.open

    async def open_for_a_moment(connector: Connector) -> Connection:
        nonlocal opened
        connection = await open_one(connector)
        opened += 1
        if opened > 200:
            lost.set()
        asyncio.get_running_loop().call_later(life, connection.fail, StoreLost("again"))
        return connection

    async with running(redis.unix_url) as store:
        await write(store, put(b"k"))
        monkeypatch.setattr(Connector, "open", open_for_a_moment)
        began = asyncio.get_running_loop().time()
        for batcher in (store._reads, store._large, store._writes):
            assert batcher._connection
            batcher._connection.fail(StoreLost("at first"))
        await asyncio.wait_for(lost.wait(), PATIENCE)
        took = asyncio.get_running_loop().time() - began
        monkeypatch.undo()
        assert took > 200 / 3 * (life + batching.LEAST_PAUSE / 2)
