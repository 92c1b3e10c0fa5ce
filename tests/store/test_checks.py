"""What a transaction demands of keys that it does not write, in the script: beside other writes, and keys whose time
is over."""

import asyncio

import pytest

from kvd.model import AGAIN
from kvd.requests import Check, CheckNone, Delete, Increment, Put, Touch, Transaction, Write
from kvd.store.redis.store import Store
from tests.support.processes import Redis
from tests.support.stores import put, running, write

Part = Put | Delete | Touch | Increment | Check | CheckNone


async def commit(store: Store, *parts: Part) -> bytes:
    return await store.transact(Transaction(parts), 0)


async def in_one_batch(store: Store, before: list[Write], *parts: Part) -> bytes:
    """The outcome of a transaction that goes to Redis in the same call as some writes before it."""
    _, outcome = await asyncio.gather(write(store, *before), commit(store, *parts))
    return outcome


def stop_the_sweep(redis: Redis) -> None:
    """As if another daemon were at it, for ever."""
    redis.cli("HSET", "{kvd}:meta", "sweep", f"ffffffff {10**15}")


async def test_writes_of_the_same_batch_are_seen(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        assert await in_one_batch(store, [put(b"a/b")], CheckNone(b"a/*")) == b"c1:a/b"
        assert await in_one_batch(store, [put(b"a/a")], CheckNone(b"a/*")) == b"c2:a/a"
        assert await in_one_batch(store, [put(b"a/c"), Delete(b"a/a")], CheckNone(b"a/*")) == b"c1:a/b"
        assert await in_one_batch(store, [Delete(b"a/b"), Delete(b"a/c")], CheckNone(b"a/*"), put(b"a/d")) == b"7"
        assert await in_one_batch(store, [Delete(b"a/d")], Check(b"a/d")) == b"c0:a/d"
        assert await in_one_batch(store, [put(b"a/d")], Check(b"a/d"), Check(b"a/d", b"9")) == b"9"


async def test_keys_are_in_the_order_of_their_bytes(redis: Redis) -> None:
    """As no language orders them."""
    keys = ["b/Z", "b/a", "b/~", "b/é", "b/🔑"]
    async with running(redis.unix_url) as store:
        for kept, added in [(keys[1:], keys[:1]), (keys[:1], keys[1:])]:
            await write(store, *(put(key.encode()) for key in kept))
            outcome = await in_one_batch(store, [put(key.encode()) for key in reversed(added)], CheckNone(b"b/*"))
            assert outcome.endswith(b":b/Z")
            await write(store, *(Delete(key.encode()) for key in keys))


async def test_what_is_undone_is_not_there(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        await write(store, put(b"x"), put(b"t", ttl=60_000))
        outcomes = list(
            await asyncio.gather(
                commit(store, put(b"a/a"), Touch(b"t", 0), Increment(b"x", b"1")), commit(store, CheckNone(b"a/*"))
            )
        )
        assert outcomes == [b"a", b"2"]
        assert [record and record.deadline != b"0" for record in (await store.read([b"t"]))[0]] == [True]


async def test_a_key_whose_time_is_over_is_not_there(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        stop_the_sweep(redis)
        await write(store, *(put(b"d/%d" % number, ttl=1) for number in range(30)))
        await asyncio.sleep(0.02)
        assert await commit(store, CheckNone(b"d/*"), Check(b"d/1", b"0"), put(b"new")) == b"32"
        assert await commit(store, Check(b"d/2")) == b"c0:d/2"
        assert await commit(store, Check(b"d/3", b"4")) == b"c0:d/3"
        await write(store, put(b"d/z"))
        assert await commit(store, CheckNone(b"d/*")) == b"c35:d/z"
        assert await commit(store, Touch(b"d/5", 1000, b"6")) == b"c0:d/5"


@pytest.mark.parametrize("due", [900, 1500])
async def test_very_many_of_them_are_left_to_the_sweep(redis: Redis, due: int) -> None:
    async with running(redis.unix_url) as store:
        stop_the_sweep(redis)
        for hundred in range(due // 100):
            await write(store, *(put(b"d/%d" % (100 * hundred + number), ttl=1) for number in range(100)))
        await asyncio.sleep(0.02)
        outcome = await commit(store, CheckNone(b"d/*"), put(b"new"))
        assert outcome == (AGAIN if due > 1000 else b"%d" % (due + 1))
        assert (await store.history())[0].revision == due + (due < 1000)


async def test_in_full_memory_checks_go_on_beside_what_frees(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        await write(store, put(b"a"), put(b"b"))
        redis.cli("CONFIG", "SET", "maxmemory-policy", "noeviction")
        redis.cli("CONFIG", "SET", "maxmemory", "1")
        assert await commit(store, Check(b"a", b"1"), CheckNone(b"x*")) == b"2"
        assert await commit(store, Check(b"a"), Touch(b"b", 0), Delete(b"b")) == b"3"
        assert await commit(store, Check(b"a"), put(b"c")) == b"f"
        outcomes = list(
            await asyncio.gather(commit(store, Check(b"a")), commit(store, put(b"c")), commit(store, Check(b"c")))
        )
        assert outcomes == [b"3", b"f", b"c0:c"]
