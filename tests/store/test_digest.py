"""The digest in the tag of a log entry: it holds for whatever was written, and for nothing else."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kvd.model import BYTES, TEXT
from kvd.requests import Delete, Increment, Put, SimpleSets, Touch, Transaction, Write
from kvd.store.redis.connection import BIG, DATA, INDEX, LOG, REPLACED, TTL, Connection, Connector, command
from kvd.store.redis.digest import verify
from kvd.store.redis.entries import fill, references
from kvd.store.redis.store import Store
from tests.support.processes import Redis
from tests.support.stores import eventually, put, running, write

LENGTHS = (0, 1, 64, 65, 4096, 4097, 70_000)


@asynccontextmanager
async def engine(redis: Redis) -> AsyncIterator[Connection]:
    connection = await Connector(redis.unix_url).open()
    try:
        yield connection
    finally:
        await connection.close()


async def log_of(redis: Redis) -> list[Any]:
    """The log's entries, with large values in them."""
    async with engine(redis) as connection:
        raws = await connection.call(command("XRANGE", LOG, "-", "+"))
        wanted = [reference for raw in raws for reference in references(raw)]
        if wanted:
            fill(wanted, await connection.call(command("HMGET", BIG, *[revision for _, _, revision in wanted])))
        return list(raws)


async def set_lines(store: Store, *pairs: tuple[bytes, bytes]) -> None:
    await store.write(SimpleSets([key for key, _ in pairs], b"".join(b"%b %b\n" % pair for pair in pairs)), 0)


async def test_it_holds_for_every_kind_of_entry(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        await set_lines(store, (b"a", b"1"), ("ключ".encode(), "значение".encode()), (b"b", b"x" * 4096))
        for length in LENGTHS:
            await write(
                store, put(b"t%d" % length, b"x" * length, ttl=60_000), put(b"b", b"\n\xff" * length, kind=BYTES)
            )
            await write(store, put(b"plain", b"y" * length))
        await write(store, Increment(b"n", b"5"), Increment(b"n", b"-9223372036854775807"), Delete(b"a"))
        await write(store, Transaction((put(b"x", b"z" * 100), put(b"y", b"z" * 5000), Delete(b"plain"))))
        await write(store, Transaction((put(b"x", b"refused" * 20), Increment(b"b", b"1"))), put(b"last", b"v" * 65))
        await write(store, put(b"soon", b"v" * 5000, ttl=1), put(b"later", b"v", ttl=1))

        async def expired() -> bool:
            return await store.count(b"*") == len(LENGTHS) + 6

        await eventually(expired)
        entries = await log_of(redis)
        assert len(entries) > 2 * len(LENGTHS)
        assert [verify(raw) for raw in entries] == [True] * len(entries)


async def test_it_holds_for_nothing_else(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        await set_lines(store, (b"a", b"1"), (b"b", b"2"))
        await write(store, put(b"a", b"v" * 65, ttl=60_000), Delete(b"b"), put(b"c", b"w" * 5000))
        lines, fields = await log_of(redis)
    assert verify(lines) is verify(fields) is True
    for raw in (lines, fields):
        identity, (word, tag, *rest) = raw
        for place, field in enumerate(rest):
            for damaged in (field + b"x", field[:-1], b"y" + field[1:], field[:-1] + b"y"):
                if damaged != field:
                    changed = [*rest[:place], damaged, *rest[place + 1 :]]
                    assert verify([identity, [word, tag, *changed]]) is False, (place, damaged)
    identity, (word, tag, *rest) = fields
    assert verify([identity, [word, tag, *rest[:-2]]]) is False
    assert verify([identity, [word, tag, *rest[2:], *rest[:2]]]) is False


@pytest.mark.parametrize("tag", [b"aa:1 5", b"aa:1 1700000000000 5", b"aa:sweep 1700000000000 5"])
def test_an_entry_of_an_older_layout_has_none(tag: bytes) -> None:
    assert verify([b"1-0", [b"tag", tag, b"tkey", b"value"]]) is None


def some_write(choice: random.Random, *, alone: bool = True) -> Write:
    key = b"k%d" % choice.randrange(5)
    kinds = 6 if alone else 4
    match choice.randrange(kinds):
        case 0:
            return Put(key, choice.choice((TEXT, BYTES)), b"v" * choice.choice((0, 3, 65, 5000)))
        case 1:
            condition = choice.choice((b"", b"", b"0", b"7"))
            return Put(key, TEXT, b"5" * choice.choice((1, 5000)), choice.choice((0, 1, 60_000)), condition)
        case 2:
            return Increment(key, choice.choice((b"1", b"-9223372036854775807")))
        case 3:
            return Delete(key)
        case 4:
            return Touch(key, choice.choice((0, 1, 60_000)))
        case _:
            return Transaction(tuple(some_write(choice, alone=False) for _ in range(3)))  # type: ignore[misc]


@pytest.mark.parametrize("seed", range(4))
async def test_batches_in_which_keys_come_again_leave_everything_in_step(redis: Redis, seed: int) -> None:
    choice = random.Random(seed)
    async with running(redis.unix_url) as store:
        for _ in range(100):
            if choice.random() < 0.3:
                await set_lines(store, *[(b"k%d" % choice.randrange(5), b"1") for _ in range(3)])
            else:
                await write(store, *[some_write(choice) for _ in range(choice.randrange(1, 12))])
            await check_in_step(redis)
        assert all(verify(raw) for raw in await log_of(redis))


async def check_in_step(redis: Redis) -> None:
    """Records, index, deadlines and large values say the same; the sweep cannot come between: all is one call."""
    script = b"return {redis.call('HGETALL', KEYS[1]), redis.call('ZRANGE', KEYS[2], 0, -1), redis.call('ZRANGE', KEYS[3], 0, -1, 'WITHSCORES'), redis.call('HKEYS', KEYS[4]), redis.call('ZRANGE', KEYS[5], 0, -1)}"  # noqa: E501
    async with engine(redis) as connection:
        flat, index, scores, big, replaced = await connection.call(
            command("EVAL", script, 5, DATA, INDEX, TTL, BIG, REPLACED)
        )
    records = dict(zip(flat[::2], flat[1::2], strict=True))
    parts = {key: raw.split(b" ", 3) for key, raw in records.items()}
    assert sorted(records) == index
    deadlines = {key: deadline for key, (_, deadline, _, _) in parts.items() if deadline != b"0"}
    assert dict(zip(scores[::2], scores[1::2], strict=True)) == deadlines
    large = {revision for revision, _, kind, _ in parts.values() if kind in (b"T", b"B")}
    assert large | set(replaced) == set(big)
    assert not large & set(replaced)
