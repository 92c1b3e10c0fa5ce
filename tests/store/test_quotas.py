"""The counts that the store keeps for quotas: right after whatever is written, by whomever, also to what was there."""

import asyncio
import random
from collections.abc import Iterable

from kvd.requests import AnyWrite, Delete, Increment, KeyRange, Limited, Put, SimpleSets, Touch, Transaction
from kvd.store.redis.store import Store
from tests.support.processes import Redis
from tests.support.stores import eventually, put, running, write

PATTERNS = (b"a/*", b"a/b*", b"*", b"a/b1")
NO_LIMIT = b"".join(b"%b - -\n" % pattern for pattern in PATTERNS)


def counts(redis: Redis) -> dict[bytes, tuple[int, int]]:
    """What is kept, for the store's revision: keys and bytes, of the patterns that are counted whole."""
    text = redis.cli("HGET", "{kvd}:meta", "quotas").split("\n")
    assert text[0] == redis.cli("HGET", "{kvd}:meta", "revision")
    lines = [line.split(" ") for line in text[1:]]
    assert all(reached == "*" for *_, reached in lines)
    return {pattern.encode(): (int(keys), int(size)) for pattern, keys, size, *_ in lines}


async def truth(store: Store) -> dict[bytes, tuple[int, int]]:
    """The same, counted."""
    found = {}
    for pattern in PATTERNS:
        pairs = [pair async for _, items in store.pages(KeyRange(pattern), records=True) for pair in items]
        sizes = [len(key) + (record.apart or len(record.value)) for key, record in pairs if record]
        found[pattern] = len(sizes), sum(sizes)
    return found


class Writers:
    """Makes up writes."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def _key(self) -> bytes:
        beginning = self._random.choice((b"a/", b"a/b", b"c"))
        return beginning + b"%d" % self._random.randrange(8)

    def _single(self) -> Put | Delete | Touch | Increment:
        key, roll = self._key(), self._random.random()
        value = b"x" * self._random.choice((0, 1, 5, 100, 4096, 4097, 6000))
        if roll < 0.3:
            return put(key, value)
        if roll < 0.4:
            return put(key, value, ttl=self._random.choice((1, 10, 60_000)))
        if roll < 0.5:
            return put(key, value, owner=self._key())
        if roll < 0.55:
            return put(key[:-1] + b"*", value, condition=b"*")
        if roll < 0.65:
            return Increment(key, b"%d" % self._random.randrange(-20, 20))
        if roll < 0.75:
            return Touch(key, self._random.choice((0, 1, 50_000)))
        return Delete(key)

    def write(self) -> AnyWrite:
        made: Put | Delete | Touch | Increment | Transaction = self._single()
        if self._random.random() < 0.3:
            made = Transaction(tuple(self._single() for _ in range(self._random.randrange(1, 6))))
        if isinstance(made, Put | Increment | Transaction) and self._random.random() < 0.6:
            limits = b"a/* %d %d\na/b* 9 -\n" % (self._random.randrange(20), self._random.randrange(40_000))
            return Limited(made, self._random.choice((limits, NO_LIMIT)))
        return made

    def batch(self) -> list[AnyWrite]:
        return [self.write() for _ in range(self._random.randrange(1, 12))]

    def sets(self) -> SimpleSets:
        keys = [self._key() for _ in range(self._random.randrange(1, 5))]
        return SimpleSets(keys, b"".join(b"%b v\n" % key for key in keys))


async def _do(store: Store, batches: Iterable[list[AnyWrite] | SimpleSets]) -> None:
    for batch in batches:
        await store.write(batch, 0)


async def test_counts_stay_right_whatever_two_daemons_write(redis: Redis) -> None:
    seed = random.randrange(10**6)
    writers = Writers(seed)
    async with running(redis.unix_url) as one, running(redis.unix_url) as two:
        await write(one, Limited(put(b"a/1"), NO_LIMIT))
        for _ in range(6):
            plans = [[writers.batch() if n % 3 else writers.sets() for n in range(20)] for _ in range(4)]
            await asyncio.gather(*(_do(store, plan) for store, plan in zip((one, two, one, two), plans, strict=True)))
            await write(one, *(Touch(b"%b%d" % (b, n), 0) for b in (b"a/", b"a/b", b"c") for n in range(8)))

            async def agree() -> bool:
                return counts(redis) == await truth(two)

            async with asyncio.timeout(20):
                await eventually(agree)
    assert seed >= 0, seed


async def test_what_was_there_is_counted_in_pieces_while_others_write(redis: Redis) -> None:
    async with running(redis.unix_url) as store, running(redis.unix_url) as other:
        for begin in range(0, 2600, 200):
            await write(store, *(put(b"a/%04d" % number, b"12345678") for number in range(begin, begin + 200)))
        limited = Limited(put(b"a/new"), b"a/* 2600 -\n")

        async def change() -> None:
            for number in range(0, 2600, 13):
                await write(other, Delete(b"a/%04d" % number), put(b"a/%04d+" % number))

        found, _ = await asyncio.gather(write(store, put(b"z"), limited, put(b"zz")), change())
        # In its place, and the others around it.
        assert [outcome[:1] for outcome in found][1] == b"q"
        assert found[0].isdigit()
        assert found[2].isdigit()
        assert counts(redis)[b"a/*"] == (2600, 2400 * 14 + 200 * 8)
        await write(store, Delete(b"a/0001"))
        assert (await write(store, limited))[0].isdigit()


async def test_what_another_version_wrote_is_counted_anew(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        limited = Limited(put(b"a/1"), b"a/* 2 -\n")
        assert (await write(store, limited))[0].isdigit()
        # It takes a revision, and knows of no counts.
        redis.cli("HSET", "{kvd}:data", "a/2", "2 0 t v")
        redis.cli("ZADD", "{kvd}:index", "0", "a/2")
        redis.cli("HINCRBY", "{kvd}:meta", "revision", "1")
        assert await write(store, limited._replace(write=put(b"a/3"))) == [b"qk2:a/*"]
        assert (await write(store, limited._replace(write=put(b"a/2"))))[0].isdigit()


async def test_counts_that_nobody_asked_for_go(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        await write(store, Limited(put(b"a/1"), b"a/* 2 -\n"), Limited(put(b"b/1"), b"b/* 2 -\n"))
        text = redis.cli("HGET", "{kvd}:meta", "quotas")
        old = [line if "a/" in line else " ".join((*line.split(" ")[:3], "1", "*")) for line in text.split("\n")]
        redis.cli("HSET", "{kvd}:meta", "quotas", "\n".join([text.split("\n")[0], *old[1:]]))
        await write(store, put(b"c"))
        assert list(counts(redis)) == [b"a/*"]
