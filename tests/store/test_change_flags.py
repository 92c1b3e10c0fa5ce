"""Flags of changes: what the change log says of a key's end, and what readers pass over."""

from collections.abc import AsyncIterator

import pytest

from kvd.model import Change, Moment, Position
from kvd.requests import Increment, SimpleSets, Transaction
from kvd.store.redis.connection import BIG, DATA, LOG, META, Connector, command
from kvd.store.redis.digest import verify
from kvd.store.redis.entries import fill, read_entry, references
from kvd.store.redis.store import Store
from tests.support.processes import Redis
from tests.support.stores import alone, keys_of, put, running, write

LARGE = b"x" * 5000


@pytest.fixture
async def store(redis: Redis) -> AsyncIterator[Store]:
    async with running(redis.unix_url) as store:
        yield store


async def changes(store: Store) -> list[Change]:
    position, floor = await store.history()
    return await store.changes_after(Position(floor, position.store))


async def entries(redis: Redis) -> list[Change]:
    """What a follower reads, with every digest looked at."""
    connection = await Connector(redis.unix_url).open()
    try:
        raws = await connection.call(command("XRANGE", LOG, "-", "+"))
        wanted = [reference for raw in raws for reference in references(raw)]
        if wanted:
            fill(wanted, await connection.call(command("HMGET", BIG, *[revision for _, _, revision in wanted])))
    finally:
        await connection.close()
    assert all(verify(raw) for raw in raws)
    return [change for raw in raws for change in read_entry(raw).changes]


async def test_a_change_says_when_its_key_will_expire(redis: Redis, store: Store) -> None:
    await store.write(SimpleSets([b"plain"], b"plain v\n"), 0)
    await write(store, put(b"a", b"5", ttl=100_000), put(b"large", LARGE, ttl=200_000), put(b"lasts"))
    await store.transact(Transaction((Increment(b"a", b"1"), put(b"t", ttl=300_000), put(b"u"))), 0)
    found = await changes(store)
    assert [change.key for change in found] == [b"plain", b"a", b"large", b"lasts", b"a", b"t", b"u"]
    deadline = {key: int(redis.cli("HGET", DATA.decode(), key).split()[1]) for key in ("a", "large", "t")}
    expected = [0, deadline["a"], deadline["large"], 0, deadline["a"], deadline["t"], 0]
    assert [change.deadline for change in found] == expected
    assert [change.more for change in found] == [False] * 4 + [True, True, False]
    assert {change.owner for change in found} == {b""}
    assert await entries(redis) == found
    name = (await store.history())[0].store
    assert await store.changes_at(name, [5, 2, 1]) == [found[4], found[1], found[0]]
    assert await store.keys_before(name, 7) == keys_of(found[:6])


async def test_flags_that_are_not_known_are_passed_over(redis: Redis, store: Store) -> None:
    names = {
        "ta ;x": Change(1, b"SET", b"a", value=b"v"),
        "ba ;oapp%3B%253B": Change(2, b"SET", b"a", b"b", b"v", owner=b"app;%3B"),
        "Tключ ;d12;z%25;oключ": Change(3, b"SET", "ключ".encode(), b"t", b"v", True, 12, "ключ".encode()),
        "ga ;y;d5": Change(4, b"SET", b"a", b"t", LARGE, deadline=5),
        "da ;x": Change(5, b"DEL", b"a"),
        "Ea;x ;x": Change(6, b"EXPIRE", b"a;x", more=True),
        "eb": Change(7, b"EXPIRE", b"b"),
    }
    redis.cli("HSET", BIG.decode(), "4", LARGE.decode())
    values = ["v", "v", "v", "5000", "", "", ""]
    fields = [word for name, value in zip(names, values, strict=True) for word in (name, value)]
    redis.cli("XADD", LOG.decode(), "7-0", "tag", "a:1 s00000000 1 1", *fields)
    redis.cli("HSET", META.decode(), "revision", "7")
    found = await changes(store)
    assert alone(found) == list(names.values())
    assert [change.transaction for change in found] == [0, 0, 4, 4, 0, 7, 7]
    assert {change.moment for change in found} == {Moment(7, 1)}
    name = (await store.history())[0].store
    assert await store.changes_at(name, range(1, 8)) == found
    assert await store.keys_before(name, 8) == keys_of(found)
