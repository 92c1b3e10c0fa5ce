"""Large values: they stand in the store once, for the record and for the history, as long as either needs them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kvd.errors import StoreLost, Unavailable
from kvd.model import BYTES, TEXT, Change, Kept, Position, Record
from kvd.requests import Delete, Increment, KeyRange, Touch, Transaction
from kvd.store.redis import maintenance
from kvd.store.redis.cache import LocalCache
from kvd.store.redis.connection import ALL, Connector, script
from kvd.store.redis.log import ChangeLogConnection
from kvd.store.redis.maintenance import Retention
from kvd.store.redis.store import Store
from tests.support.processes import Redis
from tests.support.stores import alone, eventually, nothing_large, proxied, put, running, set_clock, write

ONE, TWO, RAW = b"1" * 5000, b"2" * 5001, b"\xff" * 5002
SHORT = Retention(changes=1)
LONG = 600_000
"""Milliseconds that do not pass while a test runs."""


@asynccontextmanager
async def reading(store: Store) -> AsyncIterator[ChangeLogConnection]:
    log = await store.open_log()
    try:
        yield log
    finally:
        await log.close()


async def changes_of(store: Store) -> list[Change]:
    position, floor = await store.history()
    return alone(await store.changes_after(Position(floor, position.store)))


async def found(store: Store, key: bytes) -> Record:
    """What stands there, without its value if that is large."""
    (record,), _ = await store.read([key])
    assert record
    return record


async def fetched(store: Store, key: bytes) -> bytes | None:
    record = await store.fetch(key)
    assert not (record and record.large)
    return record and record.value


async def value_of(store: Store, key: bytes, record: Record) -> Record | None:
    """What comes of a record that was found a while ago."""
    (found,) = await store._large.read(key, record)
    return found


async def trimmed(redis: Redis, floor: int) -> bool:
    return redis.cli("HGET", "{kvd}:meta", "floor") == str(floor)


def stands(redis: Redis) -> list[str]:
    """The revisions whose values stand apart."""
    return sorted(redis.cli("HKEYS", "{kvd}:big").split(), key=int)


async def test_the_history_has_every_large_value_and_the_store_has_it_once(redis: Redis) -> None:
    async with running(redis.unix_url) as store, reading(store) as log:
        await write(store, put(b"k", ONE), put(b"k", TWO), put(b"other"))
        await write(store, Transaction((put(b"k", RAW, kind=BYTES), put(b"k", ONE), Delete(b"other"))))
        expected = [
            Change(1, b"SET", b"k", TEXT, ONE),
            Change(2, b"SET", b"k", TEXT, TWO),
            Change(3, b"SET", b"other", TEXT, b"v"),
            Change(4, b"SET", b"k", BYTES, RAW, more=True),
            Change(5, b"SET", b"k", TEXT, ONE, more=True),
            Change(6, b"DEL", b"other"),
        ]
        assert await changes_of(store) == expected
        entries = await log.read_log(0, 16, 1000)
        assert alone(change for entry in entries for change in entry.changes) == expected
        assert await log.tag_at(6) == entries[1].tag
        assert await fetched(store, b"k") == ONE
        assert stands(redis) == ["1", "2", "4", "5"]
        for key in ("log", "data"):
            assert int(redis.cli("MEMORY", "USAGE", f"{{kvd}}:{key}", "SAMPLES", "0")) < len(ONE)


async def test_a_refused_transaction_leaves_no_large_value(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        await write(store, put(b"k", b"text"))
        conflict = Transaction((put(b"a", ONE), put(b"k", TWO, condition=b"7")))
        no_number = Transaction((put(b"a", ONE), put(b"b", ONE), Increment(b"a", b"1")))
        assert await write(store, conflict, no_number, put(b"a", RAW, kind=BYTES)) == [b"c1:k", b"a", b"2"]
        assert stands(redis) == ["2"]
        assert [change.value for change in await changes_of(store)] == [b"text", RAW]


@pytest.mark.parametrize("end", [b"small", TWO, None])
async def test_a_replaced_value_goes_with_its_log_entry(redis: Redis, end: bytes | None) -> None:
    async with running(redis.unix_url, retention=SHORT) as store:
        await write(store, put(b"k", ONE))
        await write(store, Delete(b"k") if end is None else put(b"k", end))
        await write(store, put(b"last"))
        kept = ["2"] if end == TWO else []

        async def done() -> bool:
            return stands(redis) == kept and redis.cli("EXISTS", "{kvd}:replaced") == "0"

        await eventually(done)
        assert await fetched(store, b"k") == end


async def test_a_value_that_is_replaced_in_its_own_batch_goes_with_its_log_entry(redis: Redis) -> None:
    async with running(redis.unix_url, retention=SHORT) as store:
        await write(store, put(b"k", ONE), put(b"k", TWO), put(b"l", ONE), Delete(b"l"))
        await write(store, put(b"last"))

        async def done() -> bool:
            return stands(redis) == ["2"]

        await eventually(done)
        assert await fetched(store, b"k") == TWO


async def test_a_touched_value_stays(redis: Redis) -> None:
    async with running(redis.unix_url, retention=SHORT) as store:
        await write(store, put(b"k", ONE))
        await write(store, Touch(b"k", 60_000))
        await write(store, put(b"l", TWO))
        await eventually(lambda: trimmed(redis, 1))
        await write(store, Touch(b"k", 0))
        await write(store, Delete(b"l"))
        await eventually(lambda: trimmed(redis, 2))
        assert stands(redis) == ["1"]
        assert await fetched(store, b"k") == ONE


async def test_a_listing_has_every_large_value(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        await write(store, put(b"a", ONE), put(b"b", b"small"), put(b"c", RAW, kind=BYTES), put(b"a", TWO))
        listed = [
            (key, record and (record.kind, record.value))
            async for _, items in store.pages(KeyRange(b"*"), records=True)
            for key, record in items
        ]
        assert listed == [(b"a", (TEXT, TWO)), (b"b", (TEXT, b"small")), (b"c", (BYTES, RAW))]


@pytest.mark.parametrize("end", [b"small", TWO, None])
async def test_a_value_that_outlived_its_log_entry_goes_when_it_is_replaced(redis: Redis, end: bytes | None) -> None:
    async with running(redis.unix_url, retention=SHORT) as store:
        await write(store, put(b"k", ONE))
        await write(store, put(b"last"))
        await eventually(lambda: trimmed(redis, 1))
        assert await fetched(store, b"k") == ONE
        await write(store, Delete(b"k") if end is None else put(b"k", end))
        assert stands(redis) == (["3"] if end == TWO else [])


async def test_the_history_has_an_expired_value(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        await write(store, put(b"k", ONE, ttl=1))

        async def expired() -> bool:
            return (await store.history())[0].revision == 2

        await eventually(expired)
        first, *others = await changes_of(store)
        assert first._replace(deadline=0) == Change(1, b"SET", b"k", TEXT, ONE)
        assert others == [Change(2, b"EXPIRE", b"k")]


async def test_an_expired_value_goes_with_its_log_entry(redis: Redis) -> None:
    async with running(redis.unix_url, retention=SHORT) as store:
        await write(store, put(b"soon", ONE, ttl=1), put(b"late", TWO, ttl=LONG))
        await eventually(lambda: gone(store, b"soon"))
        set_clock(redis, int((await found(store, b"late")).deadline))

        async def expired() -> bool:
            return (await store.history())[0].revision == 4

        await eventually(expired)
        await write(store, put(b"last"))
        await eventually(lambda: nothing_large(redis))


async def test_many_replaced_values_go_together(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not one trim's worth a second: at that pace these would take longer than `eventually` waits."""
    monkeypatch.setattr(maintenance, "TRIM_VALUES", 1)
    async with running(redis.unix_url, retention=SHORT) as store:
        for _ in range(40):
            await write(store, put(b"k", ONE))
        await write(store, Delete(b"k"))
        await write(store, put(b"last"))
        await eventually(lambda: nothing_large(redis))


async def test_what_is_dropped_while_it_is_read_is_not_made_up(redis: Redis) -> None:
    async with running(redis.unix_url) as store, reading(store) as log:
        await write(store, put(b"k", ONE))
        redis.cli("HDEL", "{kvd}:big", "1")
        with pytest.raises(StoreLost, match="dropped"):
            await log.read_log(0, 16, 1000)


def as_layout_2(redis: Redis, keys: dict[str, bytes]) -> None:
    """Large values by key, and again in the log."""
    redis.cli("DEL", "{kvd}:big", "{kvd}:log")
    for revision, (key, value) in enumerate(keys.items(), 1):
        redis.cli("HSET", "{kvd}:big", key, value.decode())
        redis.cli("XADD", "{kvd}:log", str(revision), "tag", f"old:{revision} {revision}", f"t{key}", value.decode())
    redis.cli("HSET", "{kvd}:meta", "layout", "2")


async def test_a_store_whose_large_values_stand_by_key_is_taken_over(redis: Redis) -> None:
    # Keys that look like revisions of others.
    values = {"3": ONE, "1": TWO, "k": ONE + TWO}
    async with running(redis.unix_url) as store:
        for key, value in values.items():
            await write(store, put(key.encode(), value))
    as_layout_2(redis, values)
    # The key of this one is gone: of a version that was killed midway.
    redis.cli("HSET", "{kvd}:big", "stray", "x" * 5000)
    async with running(redis.unix_url) as store:
        assert {key: await fetched(store, key.encode()) for key in values} == values
        assert stands(redis) == ["1", "2", "3"]
        assert redis.cli("EXISTS", "{kvd}:big:before") == "0"
        assert [change.value for change in await changes_of(store)] == list(values.values())
        await write(store, put(b"k", TWO))
        assert [change.value for change in await changes_of(store)] == [*values.values(), TWO]
        assert await fetched(store, b"k") == TWO


async def test_a_store_that_was_taken_over_in_part_is_taken_over_to_the_end(redis: Redis) -> None:
    values = {str(30 - number): b"%02d" % number * 50_000 for number in range(1, 21)}
    async with running(redis.unix_url) as store:
        for key, value in values.items():
            await write(store, put(key.encode(), value))
    as_layout_2(redis, values)
    link = await Connector(redis.unix_url).open()
    try:
        pieces = 0
        while int(redis.cli("HLEN", "{kvd}:big:before")) > 2 or not pieces:
            assert await link.call(script("attach", ALL, [1, "new", "daemon", "run", 1, 2, 0, 0, "", 0, 1])) == []
            pieces += 1
    finally:
        await link.close()
    assert pieces > 1
    async with running(redis.unix_url) as store:
        assert {key: await fetched(store, key.encode()) for key in values} == values
    assert redis.cli("EXISTS", "{kvd}:big:before") == "0"


@pytest.mark.parametrize("end", [b"small", TWO, None])
async def test_a_value_that_is_dropped_before_it_is_fetched_is_what_there_is_now(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, end: bytes | None
) -> None:
    # Nothing is dropped before the test has it dropped.
    monkeypatch.setattr(maintenance, "TRIM_INTERVAL", 3600)
    async with running(redis.unix_url, retention=SHORT) as store:
        await write(store, put(b"k", ONE))
        before = await found(store, b"k")
        await write(store, Delete(b"k") if end is None else put(b"k", end))
        record = await value_of(store, b"k", before)
        assert (record and (record.revision, record.value)) == (end and (b"1", ONE))
        await write(store, put(b"last"))
        await store._housekeeping._trim_now()
        assert await trimmed(redis, 2)
        record = await value_of(store, b"k", before)
        assert (record and (record.revision, record.value, record.large)) == (end and (b"2", end, False))


@pytest.mark.usefixtures("patient")
async def test_a_store_that_was_set_back_has_no_value_for_a_revision_of_before(redis: Redis) -> None:
    async with proxied(redis) as (proxy, url), running(url) as store:
        await write(store, put(b"k", ONE))
        before = await found(store, b"k")
        proxy.holding = b"HGET"
        fetching = asyncio.create_task(value_of(store, b"k", before))
        pipe = await proxy.caught.get()
        redis.cli("HSET", "{kvd}:big", "1", "another key's", "2", "present")
        redis.cli("HSET", "{kvd}:data", "k", "2 0 T ")
        proxy.holding = None
        pipe.client.transport.abort()
        record = await fetching
        assert record
        assert (record.revision, record.value) == (b"2", b"present")


async def test_a_large_text_whose_time_is_over_is_none(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        await write(store, put(b"k", ONE, ttl=200))
        values = [ONE]
        while values == [ONE]:
            done = asyncio.get_running_loop().create_future()
            store.read_then([b"k"], done.set_result, fetch=True)
            records, _ = await done
            values = [record and record.value for record in records]
        assert values == [None]
        assert await fetched(store, b"k") is None


async def test_a_value_that_is_missing_is_not_made_up(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        await write(store, put(b"k", ONE))
        redis.cli("HDEL", "{kvd}:big", "1")
        with pytest.raises(Unavailable, match="no value, of revision 1"):
            await fetched(store, b"k")
        assert await write(store, put(b"k", TWO)) == [b"2"]
        assert await fetched(store, b"k") == TWO


async def test_only_a_value_that_is_still_there_for_good_is_kept(redis: Redis) -> None:
    async with running(redis.unix_url, cache=LocalCache(64 * 1024 * 1024)) as store:
        await write(store, put(b"k", ONE), put(b"dying", ONE, ttl=100_000))
        before = await found(store, b"k")
        await write(store, put(b"k", TWO))
        record = await value_of(store, b"k", before)
        assert record
        assert record.value == ONE
        assert store.kept(b"k") is None
        assert await fetched(store, b"dying") == ONE
        assert store.kept(b"dying") is None
        assert await fetched(store, b"k") == TWO
        assert store.kept(b"k") == Kept(TWO, b"3", record.kind)


async def test_a_value_whose_time_is_over_before_it_is_fetched_is_none(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        await write(store, put(b"k", ONE, ttl=LONG))
        before = await found(store, b"k")
        set_clock(redis, int(before.deadline))
        await eventually(lambda: gone(store, b"k"))
        assert stands(redis) == ["1"]
        assert await value_of(store, b"k", before) is None


async def gone(store: Store, key: bytes) -> bool:
    (record,), _ = await store.read([key])
    return record is None
