"""Keys that live with others, as the store has them: everything stays in step whatever a batch does."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kvd.errors import Refusal, Unavailable, Uncertain
from kvd.model import BYTES, TEXT, Change, Position
from kvd.requests import Delete, Increment, Put, SimpleSets, Touch, Transaction, Write
from kvd.store.redis.connection import BIG, DATA, INDEX, META, OWNED, REPLACED, TTL, Connector, command
from kvd.store.redis.flags import read, unescape
from kvd.store.redis.jobs import Job
from kvd.store.redis.store import Store
from tests.support.processes import Redis
from tests.support.stores import eventually, put, running, set_clock, write

KEYS = (*tuple(b"k%d" % number for number in range(4)), b"o;%3B", b"o!", b"o")
DUMP = """return {redis.call('HGETALL', KEYS[1]), redis.call('ZRANGE', KEYS[2], 0, -1),
redis.call('ZRANGE', KEYS[3], 0, -1, 'WITHSCORES'), redis.call('HKEYS', KEYS[4]),
redis.call('ZRANGE', KEYS[5], 0, -1), redis.call('ZRANGE', KEYS[6], 0, -1), redis.call('HGET', KEYS[7], 'revision')}"""


@pytest.fixture
async def store(redis: Redis) -> AsyncIterator[Store]:
    async with running(redis.unix_url) as store:
        yield store


class Looker:
    """Looks at all that the store has, in one piece."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.owners: dict[bytes, bytes] = {}

    async def open(self) -> None:
        self._connection = await Connector(self._redis.unix_url).open()

    async def close(self) -> None:
        await self._connection.close()

    async def check(self) -> dict[bytes, bytes]:
        """Every place says the same; which key lives with which."""
        flat, index, scores, big, replaced, owned, _ = await self._connection.call(
            command("EVAL", DUMP, 7, DATA, INDEX, TTL, BIG, REPLACED, OWNED, META)
        )
        records = {key: raw.split(b" ", 3) for key, raw in zip(flat[::2], flat[1::2], strict=True)}
        assert sorted(records) == index
        flags = {key: read(kind[1:]) for key, (_, _, kind, _) in records.items()}
        owners = {key: unescape(given[b"o"]) for key, given in flags.items() if b"o" in given}
        assert sorted(b"%b %b" % (owner, key) for key, owner in owners.items()) == owned
        for key, owner in owners.items():
            assert b"w" in flags[owner]
            assert owner not in owners
            assert records[key][1] == b"0"
        deadlines = {key: records[owners.get(key, key)][1] for key in records}
        assert dict(zip(scores[::2], scores[1::2], strict=True)) == {
            key: deadline for key, deadline in deadlines.items() if deadline != b"0"
        }
        large = {revision for revision, _, kind, _ in records.values() if kind[:1] in (b"T", b"B")}
        assert large | set(replaced) == set(big)
        assert not large & set(replaced)
        return owners


@pytest.fixture
async def looker(redis: Redis) -> AsyncIterator[Looker]:
    looker = Looker(redis)
    await looker.open()
    yield looker
    await looker.close()


def some_write(choice: random.Random, *, alone: bool = True) -> Write:
    key = choice.choice(KEYS)
    value = choice.choice((b"5", b"5" * 65, b"5" * 5000))
    match choice.randrange(9 if alone else 8):
        case 0:
            return Put(key, choice.choice((TEXT, BYTES)), value)
        case 1:
            return Put(key, TEXT, value, choice.choice((1, 60_000)), choice.choice((b"", b"", b"0", b"7")))
        case 2 | 3 | 4:
            owner = choice.choice([other for other in KEYS if other != key])
            return Put(key, TEXT, value, 0, choice.choice((b"", b"", b"", b"0")), owner)
        case 5:
            return Increment(key, choice.choice((b"1", b"-9223372036854775807")))
        case 6:
            return Delete(key)
        case 7:
            return Touch(key, choice.choice((0, 1, 60_000)))
        case _:
            return Transaction(tuple(some_write(choice, alone=False) for _ in range(4)))  # type: ignore[misc]


async def changes(store: Store) -> list[Change]:
    position, floor = await store.history()
    found: list[Change] = []
    while page := await store.changes_after(Position(found[-1].revision if found else floor, position.store)):
        found += page
    return found


@pytest.mark.parametrize("seed", range(4))
async def test_batches_of_any_kind_leave_everything_in_step(store: Store, looker: Looker, seed: int) -> None:
    choice = random.Random(seed)
    lived = 0
    for _ in range(150):
        if choice.random() < 0.2:
            keys = [choice.choice(KEYS) for _ in range(3)]
            await store.write(SimpleSets(keys, b"".join(b"%b 1\n" % key for key in keys)), 0)
        else:
            await write(store, *[some_write(choice) for _ in range(choice.randrange(1, 10))])
        lived += len(await looker.check())
    assert lived > 100
    # The change log alone leads to the same keys, and owners.
    state: dict[bytes, tuple[int, bytes]] = {}
    for change in await changes(store):
        if change.verb == b"SET":
            state[change.key] = (change.revision, change.owner)
        else:
            assert state.pop(change.key, None), change
    owners = await looker.check()
    found, _ = await store.read(KEYS)
    assert {key for key, record in zip(KEYS, found, strict=True) if record} <= set(state)
    assert owners == {key: owner for key, (_, owner) in state.items() if owner and key in owners}


async def family(store: Store, owner: bytes, count: int, ttl: int = 0) -> list[bytes]:
    keys = [b"%b/%04d" % (owner, number) for number in range(count)]
    assert (await write(store, put(owner, ttl=ttl)))[0].isdigit()
    for first in range(0, count, 200):
        outcomes = await write(store, *(put(key, owner=owner) for key in keys[first : first + 200]))
        assert all(outcome.isdigit() for outcome in outcomes), outcomes
    return keys


async def test_a_batch_ends_with_the_owner_that_takes_many_along(redis: Redis, looker: Looker) -> None:
    """And yet all of it is done, in its order."""
    async with running(redis.unix_url, owner_keys=1000) as store:
        for owner in (b"a", b"b", b"c"):
            await family(store, owner, 300 if owner == b"b" else 60)
        before = (await store.history())[0].revision
        outcomes = await write(store, Delete(b"a"), Delete(b"b"), put(b"a"), Delete(b"c"), Delete(b"x"), put(b"d"))
        assert outcomes == [
            b"g60:%d" % (before + 61), b"g300:%d" % (before + 362), b"%d" % (before + 363),
            b"g60:%d" % (before + 424), b"n", b"%d" % (before + 425),
        ]  # fmt: skip
        assert await looker.check() == {}
        entries = redis.cli("XRANGE", "{kvd}:log", f"{before + 1}", "+").split()
        assert sum(word.startswith(f"{before}") or word.endswith("-0") for word in entries if "-0" in word) == 2
        found = (await changes(store))[before:]
        # Each owner is the last of its piece.
        ends = [change.key for change in found if not change.more]
        assert ends == [b"a", b"b", b"a", b"c", b"d"]


async def test_simple_sets_among_owners_are_done_one_by_one(redis: Redis, looker: Looker) -> None:
    async with running(redis.unix_url, owner_keys=1000) as store:
        keys = await family(store, b"o", 300, ttl=60_000)
        await family(store, b"p", 300, ttl=60_000)
        keys = [b"x", keys[7], b"o", b"y", b"p", b"z"]
        before = (await store.history())[0].revision
        outcomes = await store.write(SimpleSets(keys, b"".join(b"%b new\n" % key for key in keys)), 0)
        assert outcomes == [b"%d" % (before + number) for number in range(1, 7)]
        owners = await looker.check()
        assert len(owners) == 599
        assert keys[1] not in owners
        assert redis.cli("ZCARD", "{kvd}:ttl") == "0"


async def test_what_is_due_goes_at_once_with_a_write_that_finds_it(redis: Redis, looker: Looker) -> None:
    """Also by a SET, and however many there are; the sweep is kept from it by another daemon's turn."""
    async with running(redis.unix_url, owner_keys=1000) as store:
        await family(store, b"o", 300)
        await family(store, b"p", 150)
        before = (await store.history())[0].revision
        redis.cli("HSET", "{kvd}:meta", "sweep", f"aaaaaaaa {2**52}")
        # One call: else the sweep comes between.
        redis.cli(
            "EVAL",
            "for _, owner in ipairs({'o', 'p'}) do "
            "local raw = redis.call('HGET', KEYS[1], owner) "
            "redis.call('HSET', KEYS[1], owner, (string.gsub(raw, '^(%d+) 0 ', '%1 1 '))) "
            "redis.call('ZADD', KEYS[2], 1, owner) "
            "for _, member in ipairs(redis.call('ZRANGEBYLEX', KEYS[3], '['..owner..' ', '('..owner..'!')) do "
            "redis.call('ZADD', KEYS[2], 1, string.sub(member, 3)) end end",
            "3", DATA.decode(), TTL.decode(), OWNED.decode(),
        )  # fmt: skip
        await looker.check()
        keys = [b"o/0007", b"p", b"new"]
        outcomes = await store.write(SimpleSets(keys, b"".join(b"%b new\n" % key for key in keys)), 0)
        assert outcomes == [b"%d" % (before + number) for number in (302, 302 + 152, 302 + 153)]
        assert await looker.check() == {}
        found = (await changes(store))[before:]
        assert [change.key for change in found if not change.more] == [b"o", b"o/0007", b"p", b"p", b"new"]
        assert await store.count(b"*") == 3


async def test_the_sweep_takes_families_whole(redis: Redis, looker: Looker) -> None:
    async with running(redis.unix_url, owner_keys=1000) as store:
        for owner in (b"o", b"z", b"a"):
            await family(store, owner, 250, ttl=600_000)
        await write(store, *(put(b"other/%d" % number, b"x" * 5000, ttl=600_000) for number in range(100)))
        count = (await store.history())[0].revision
        # All of them are due, however long it took to write them.
        set_clock(redis, int(redis.cli("ZRANGE", "{kvd}:ttl", "-1", "-1", "WITHSCORES").split()[1]))

        async def gone() -> bool:
            return (await store.history())[0].revision == 2 * count

        await eventually(gone)
        assert await looker.check() == {}
        ends = [change for change in await changes(store) if change.verb == b"EXPIRE"]
        assert all(change.more == (change.key[1:2] == b"/") for change in ends)
        heads = [change.key for change in ends if not change.more and not change.key.startswith(b"other")]
        assert sorted(heads) == [b"a", b"o", b"z"]
        for head in heads:
            place = next(at for at, change in enumerate(ends) if change.key == head)
            assert [change.key for change in ends[place - 250 : place]] == [b"%b/%04d" % (head, n) for n in range(250)]


@pytest.mark.parametrize(("error", "code"), [(Unavailable("gone"), b"u"), (Uncertain("gone"), b"U")])
def test_what_was_done_of_some_writes_is_told_when_the_store_goes(error: Refusal, code: bytes) -> None:
    """A refusal must not be told of a write that was done."""
    told: list[Any] = []
    job = Job([Delete(b"c"), Delete(b"d")], 2, 0, 2, told.append, begun=[b"g100:101", b"g100:202"])
    job.finish(error)
    assert told == [[b"g100:101", b"g100:202", code, code]]


async def test_a_pipeline_of_owners_that_go_is_done_whatever_else_is_asked(redis: Redis, looker: Looker) -> None:
    """Batches that end early do not lose their order, nor do those behind them."""
    async with running(redis.unix_url, owner_keys=1000) as store:
        for number in range(6):
            await family(store, b"o%d" % number, 120)
        before = (await store.history())[0].revision
        first = store.write([Delete(b"o%d" % number) for number in range(3)], 0)
        second = store.write([put(b"a"), *(Delete(b"o%d" % number) for number in (3, 4)), put(b"a", b"2")], 0)
        third = store.write(SimpleSets([b"b", b"o5", b"b"], b"b 1\no5 new\nb 2\n"), 0)
        outcomes = await asyncio.gather(first, second, third)
        numbers = [[int(outcome.rpartition(b":")[2]) for outcome in found] for found in outcomes]
        assert all(found == sorted(found) for found in numbers)
        every = [number for found in numbers for number in found]
        assert len(set(every)) == len(every)
        assert max(map(max, numbers)) == before + 5 * 121 + 5 == (await store.history())[0].revision
        assert len(await looker.check()) == 120
        assert sorted(key for key, _ in (await store.page(b"*", b""))[0].items)[:2] == [b"a", b"b"]
