"""The store with its read cache, before a real Redis: what it asks Redis for, and what it must not answer itself."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from kvd.model import BYTES, TEXT, Kept
from kvd.requests import Delete, Increment, Put, Touch, Transaction, Write
from kvd.store.redis.batching import BATCH_BYTES
from kvd.store.redis.cache import Cache, LocalCache
from kvd.store.redis.shared_cache import SharedCache, Versions, share_versions
from kvd.store.redis.store import Store
from tests.support.processes import Redis
from tests.support.stores import eventually, proxied, running, set_clock

CACHE = 64 * 1024 * 1024


def local_cache() -> Cache:
    """That of a daemon with one process."""
    return LocalCache(CACHE)


def shared_cache() -> Cache:
    """That of the second of two workers."""
    return SharedCache(CACHE, Versions(share_versions(2)[1]))


@pytest.fixture(params=[local_cache, shared_cache])
async def store(redis: Redis, request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with running(redis.unix_url, cache=request.param()) as store:
        yield store


async def read(store: Store, *keys: bytes) -> Any:
    """The values; one that is large is fetched if it is alone."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    store.read_then(keys, future.set_result, fetch=len(keys) == 1)
    records, _ = await future
    return [record and record.value for record in records]


def asked(redis: Redis) -> int:
    """How many reading commands Redis has had."""
    lines = redis.cli("INFO", "commandstats").splitlines()
    reading = [line for line in lines if line.startswith(("cmdstat_hmget:calls", "cmdstat_hget:calls"))]
    return sum(int(line.partition("calls=")[2].partition(",")[0]) for line in reading)


async def put(store: Store, key: bytes, value: bytes) -> None:
    await store.write([Put(key, TEXT, value)], len(value))


async def test_a_text_that_was_read_is_not_asked_for_again(redis: Redis, store: Store) -> None:
    await put(store, b"a", b"1")
    await put(store, b"large", b"x" * 100_000)
    for _ in range(2):
        assert await read(store, b"a") == [b"1"]
        assert await read(store, b"large") == [b"x" * 100_000]
    # The sweep, too, reads what it needs now and then.
    redis.cli("CONFIG", "RESETSTAT")
    for _ in range(200):
        assert await read(store, b"a", b"a") == [b"1", b"1"]
        assert await read(store, b"large") == [b"x" * 100_000]
    assert asked(redis) < 100


async def test_one_key_that_is_not_kept_is_enough_to_ask_the_store(store: Store) -> None:
    await put(store, b"a", b"1")
    assert await read(store, b"a") == [b"1"]
    assert (store.kept(b"a"), store.kept(b"b")) == (Kept(b"1", b"1", TEXT), None)
    assert await read(store, b"a", b"b") == [b"1", None]


async def test_values_of_both_kinds_are_kept_and_told_apart(store: Store) -> None:
    await put(store, b"a", b"1")
    assert await read(store, b"a") == [b"1"]
    assert store.kept_texts([b"a", b"a"]) == [b"1", b"1"]
    await store.write([Put(b"b", BYTES, b"2")], 1)
    assert await read(store, b"b") == [b"2"]
    assert store.kept(b"b") == Kept(b"2", b"2", BYTES)
    assert store.kept_texts([b"a", b"b"]) is None
    assert store.kept_texts([b"a"]) == [b"1"]
    assert store.kept_all([b"b", b"a"]) == [Kept(b"2", b"2", BYTES), Kept(b"1", b"1", TEXT)]


async def test_more_kept_values_than_a_reply_may_have_are_not_given_together(store: Store) -> None:
    await put(store, b"a", b"x" * 100_000)
    assert await read(store, b"a") == [b"x" * 100_000]
    most = BATCH_BYTES // 100_000
    assert await read(store, *[b"a"] * most) == [b"x" * 100_000] * most
    # Of large records, the store gives the values one by one.
    assert await read(store, *[b"a"] * (most + 1)) == [b""] * (most + 1)


@pytest.mark.parametrize(
    ("write", "after"),
    [
        (Put(b"k", TEXT, b"2"), [b"2"]),
        (Put(b"k", BYTES, b"2"), [b"2"]),
        (Delete(b"k"), [None]),
        (Increment(b"k", b"4"), [b"5"]),
        (Transaction((Put(b"other", TEXT, b"x"), Put(b"k", TEXT, b"3"))), [b"3"]),
    ],
)  # fmt: skip
async def test_a_write_is_seen_at_once(store: Store, write: Write, after: Any) -> None:
    await put(store, b"k", b"1")
    assert await read(store, b"k") == [b"1"]
    if isinstance(write, Transaction):
        await store.transact(write, 2)
    else:
        await store.write([write], 1)
    assert await read(store, b"k") == after


async def test_a_key_that_gets_a_time_to_live_is_gone_when_it_is_over(redis: Redis, store: Store) -> None:
    await put(store, b"k", b"1")
    assert await read(store, b"k") == [b"1"]
    await store.write([Touch(b"k", 600_000)], 0)
    assert await read(store, b"k") == [b"1"]
    set_clock(redis, int(redis.cli("HGET", "{kvd}:data", "k").split()[1]))

    async def is_gone() -> bool:
        return bool(await read(store, b"k") == [None])

    await eventually(is_gone)


async def test_several_large_values_are_left_to_one_by_one(store: Store) -> None:
    for key in (b"a", b"b", b"c"):
        await put(store, key, b"x" * 250_000)
        assert await read(store, key) == [b"x" * 250_000]
    assert await read(store, b"a", b"b", b"c") == [b""] * 3


@pytest.mark.usefixtures("patient")
async def test_nothing_is_kept_over_a_lost_connection(redis: Redis, store: Store) -> None:
    await put(store, b"k", b"1")
    assert await read(store, b"k") == [b"1"]
    # What was lost with a store that did not sync, say.
    redis.cli("HSET", "{kvd}:data", "k", "1 0 t older")
    assert await read(store, b"k") == [b"1"]
    redis.cli("CLIENT", "KILL", "TYPE", "normal")

    async def is_asked() -> bool:
        return bool(await read(store, b"k") == [b"older"])

    await eventually(is_asked)


@pytest.mark.parametrize("cache", [local_cache, shared_cache])
async def test_nothing_is_kept_while_a_write_may_still_run(redis: Redis, cache: Callable[[], Cache]) -> None:
    """Its bytes wait in a socket that is lost to us, and are not fenced off yet."""
    async with proxied(redis) as (proxy, url), running(url, cache=cache()) as store:
        await put(store, b"k", b"1")
        assert await read(store, b"k") == [b"1"]
        proxy.holding = b"hold me"
        writing = asyncio.create_task(put(store, b"k", b"hold me"))
        pipe = await proxy.caught.get()
        proxy.refusing, proxy.holding = True, None
        pipe.client.transport.abort()

        async def is_lost() -> bool:
            return store._writes._connection is None

        await eventually(is_lost)
        assert await read(store, b"k") == [b"1"]
        pipe.server.write(b"".join(pipe.held))

        async def has_run() -> bool:
            return redis.cli("HGET", "{kvd}:data", "k").endswith("hold me")

        await eventually(has_run)
        assert await read(store, b"k") == [b"hold me"]
        proxy.refusing = False
        await writing
        assert await read(store, b"k") == [b"hold me"]


async def test_writers_and_readers_of_the_same_keys_agree(store: Store) -> None:
    """Each writer reads what it has just written, and no reader sees a number go back."""
    keys = [b"a", b"b", b"c"]
    done = 0

    async def write(key: bytes) -> None:
        nonlocal done
        for number in range(300):
            await put(store, key, b"%d" % number)
            assert await read(store, key) == [b"%d" % number]
        done += 1

    async def look(key: bytes) -> None:
        seen = -1
        while done < len(keys):
            (value,) = await read(store, key)
            assert int(value or -1) >= seen
            seen = int(value or -1)
            await asyncio.sleep(0)

    await asyncio.gather(*map(write, keys), *map(look, keys * 3))
