"""What a transaction demands of keys that it does not write, in the script: beside other writes, and keys whose time
is over."""

import asyncio

import pytest

from kvd.model import AGAIN, Patterns, Position
from kvd.requests import Check, CheckNone, CheckSince, Delete, Increment, Put, SimpleSets, Touch, Transaction, Write
from kvd.store.redis.store import Store
from tests.support.processes import Redis
from tests.support.stores import put, running, stop_the_sweep, write

Part = Put | Delete | Touch | Increment | Check | CheckNone | CheckSince


async def commit(store: Store, *parts: Part) -> bytes:
    return await store.transact(Transaction(parts), 0)


async def in_one_batch(store: Store, before: list[Write], *parts: Part) -> bytes:
    """The outcome of a transaction that goes to Redis in the same call as some writes before it."""
    _, outcome = await asyncio.gather(write(store, *before), commit(store, *parts))
    return outcome


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


async def since(store: Store, pattern: bytes, revision: int, reached: int = 0, newest: bytes = b"") -> CheckSince:
    return CheckSince(pattern, Position(revision, (await store.history())[0].store), reached, newest)


async def test_the_log_is_looked_at_for_changes_that_are_not_known_yet(redis: Redis) -> None:
    """In all its forms, and only as far as it was not looked at."""
    async with running(redis.unix_url) as store:
        await store.write(SimpleSets([b"a/1", b"b", b"a/2"], b"a/1 x\nb x y\na/2 \n"), 0)
        await write(store, put(b"c", ttl=60_000), put(b"big", b"v" * 5000), Delete(b"b"), put(b"a", condition=b"0"))
        changes = {1: b"a/1", 2: b"b", 3: b"a/2", 4: b"c", 5: b"big", 6: b"b", 7: b"a"}
        for pattern in (b"*", b"a/*", b"a*", b"b", b"b*", b"c", b"big", b"big*", b"x", b"x*", b"a"):
            for begin in range(8):
                match = Patterns([pattern]).match
                found = [number for number, key in changes.items() if number > begin and match(key)]
                wanted = b"c%d:%b" % (found[-1], changes[found[-1]]) if found else b"7"
                assert await commit(store, await since(store, pattern, begin)) == wanted, (pattern, begin)
        assert await commit(store, await since(store, b"b", 1, 2), await since(store, b"b", 1, 6)) == b"c6:b"
        assert await commit(store, await since(store, b"b", 1, 6), await since(store, b"a/*", 1, 2)) == b"c3:a/2"
        assert await commit(store, await since(store, b"b", 1, 6), await since(store, b"b", 1, 6)) == b"7"
        # What is known says so where nothing newer is found.
        assert await commit(store, await since(store, b"b*", 0, 3, b"2 b")) == b"c6:b"
        assert await commit(store, await since(store, b"b*", 0, 6, b"6 b")) == b"c6:b"


async def test_changes_of_the_same_batch_count(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        await write(store, put(b"a"), put(b"b", ttl=60_000))
        assert await in_one_batch(store, [put(b"b", ttl=60_000)], await since(store, b"a", 1)) == b"3"
        assert await in_one_batch(store, [put(b"b", ttl=60_000)], await since(store, b"b", 3)) == b"c4:b"
        assert await in_one_batch(store, [Delete(b"b"), put(b"c")], await since(store, b"b*", 4)) == b"c5:b"
        assert await in_one_batch(store, [put(b"x"), put(b"y")], await since(store, b"*", 6)) == b"c8:y"
        # A refused one changed nothing, and neither does a TOUCH.
        outcomes = [
            *await asyncio.gather(
                commit(store, put(b"a"), Increment(b"a", b"1")),
                commit(store, Touch(b"c", 60_000)),
                commit(store, await since(store, b"*", 8), put(b"a")),
                commit(store, await since(store, b"*", 8), put(b"a")),
            )
        ]
        assert outcomes == [b"a", b"8", b"9", b"c9:a"]


async def test_a_key_whose_time_is_over_has_changed(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        stop_the_sweep(redis)
        await write(store, put(b"d/1", ttl=1), put(b"d/2", ttl=1), put(b"e", b"v" * 5000, ttl=1), put(b"f", ttl=60_000))
        await asyncio.sleep(0.02)
        assert await commit(store, await since(store, b"f", 4), await since(store, b"x*", 4)) == b"4"
        # It ends, as it does when it is written, and so has a revision.
        assert await commit(store, await since(store, b"e", 4)) == b"c5:e"
        assert await commit(store, await since(store, b"d/*", 5)) == b"c6:d/1"
        assert await commit(store, await since(store, b"d/*", 6)) == b"c7:d/2"
        assert await commit(store, await since(store, b"*", 7)) == b"7"
        assert [change.verb for change in await store.changes_after(Position(4, (await store.history())[0].store))] == [
            b"EXPIRE"
        ] * 3


async def test_a_key_that_lives_with_another_is_judged_by_that(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        stop_the_sweep(redis)
        await write(store, put(b"owner", ttl=60_000))
        await write(store, put(b"a/1", owner=b"owner"), put(b"a/2", owner=b"owner"))
        assert await commit(store, Check(b"a/1"), CheckNone(b"a/*")) == b"c2:a/1"
        assert await commit(store, await since(store, b"a/*", 3), Touch(b"owner", 1)) == b"3"
        await asyncio.sleep(0.02)
        assert await commit(store, CheckNone(b"a/*"), Check(b"a/2", b"0")) == b"6"
        assert await commit(store, await since(store, b"a/*", 6), put(b"owner", ttl=60_000)) == b"7"
        await write(store, put(b"a/3", owner=b"owner"), Touch(b"owner", 1))
        await asyncio.sleep(0.02)
        # The owner does not match, and takes with it what does.
        assert await commit(store, await since(store, b"a/*", 8)) == b"c9:a/3"
        assert (await store.history())[0].revision == 10
        await write(store, put(b"owner"))
        await write(store, put(b"a/4", owner=b"owner"))
        assert await in_one_batch(store, [Delete(b"owner")], CheckNone(b"a/*"), Check(b"a/4", b"0")) == b"14"
        assert await commit(store, await since(store, b"a/*", 12)) == b"c13:a/4"


async def test_what_the_store_cannot_say_at_once_it_does_not_say(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        for _ in range(8):
            await write(store, *(put(b"k%d" % number) for number in range(150)))
        assert await commit(store, await since(store, b"k*", 100)) == AGAIN
        assert await commit(store, await since(store, b"x", 100)) == AGAIN
        assert await commit(store, await since(store, b"x", 100, 200)) == b"1200"
        assert await commit(store, *[await since(store, b"x*", 1000, 1000)] * 128) == AGAIN
        assert await commit(store, *[await since(store, b"x", 1000, 1000)] * 128) == b"1200"
        position = (await store.history())[0]
        for other in (Position(1201, position.store), Position(1200, b"other")):
            assert await commit(store, CheckSince(b"x", other, 1200)) == AGAIN
        redis.cli("HSET", "{kvd}:meta", "floor", "100")
        assert await commit(store, await since(store, b"x", 99, 1200)) == AGAIN
        assert await commit(store, await since(store, b"x", 100, 1200)) == b"1200"


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
