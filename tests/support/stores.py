"""Stores in the test's own loop, before a real Redis."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from kvd.model import TEXT, UNKNOWN, Change
from kvd.requests import AnyWrite, Put
from kvd.store.redis.store import Store
from tests.support.processes import Redis
from tests.support.proxy import Proxy


@asynccontextmanager
async def running(url: str, **options: Any) -> AsyncIterator[Store]:
    store = Store(url, **options)
    await store.start()
    task = asyncio.create_task(store.run())
    try:
        yield store
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await store.close()


@asynccontextmanager
async def proxied(redis: Redis) -> AsyncIterator[tuple[Proxy, str]]:
    proxy = Proxy(redis.port)
    await proxy.start()
    try:
        yield proxy, redis.tcp_url.replace(str(redis.port), str(proxy.port))
    finally:
        await proxy.close()


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110  # a condition of another process
            await asyncio.sleep(0.01)


def set_clock(redis: Redis, time: int) -> None:
    """Have the store's clock be at a time, in milliseconds, unless it is later: what is due by then is over.

    So a test need not be quick about what it does with a key before that.
    """
    redis.cli("HSET", "{kvd}:meta", "clock", str(time))


def stop_the_sweep(redis: Redis) -> None:
    """As if another daemon were at it, for ever."""
    redis.cli("HSET", "{kvd}:meta", "sweep", f"ffffffff {10**15}")


def let_it_sweep(redis: Redis) -> None:
    """Have the other daemon be done, also where memory is full."""
    redis.cli("HDEL", "{kvd}:meta", "sweep")


async def nothing_large(redis: Redis) -> bool:
    return redis.cli("EXISTS", "{kvd}:big", "{kvd}:replaced") == "0"


def alone(changes: Iterable[Change]) -> list[Change]:
    """The same changes, without when and with which others they were made."""
    return [change._replace(transaction=0, moment=UNKNOWN) for change in changes]


def keys_of(changes: Sequence[Change]) -> tuple[list[bytes], bytes]:
    """What `Store.keys_before` says of them."""
    return [change.key for change in changes], bytes(change.more for change in changes)


def put(key: bytes, value: bytes = b"v", **options: Any) -> Put:
    return Put(key, options.pop("kind", TEXT), value, **options)


async def write(store: Store, *items: AnyWrite) -> list[bytes]:
    return await store.write(items, 0)


async def value_of(store: Store, key: bytes) -> bytes | None:
    (record,), _ = await store.read([key])
    return record and record.value


# ---- what a batch does
