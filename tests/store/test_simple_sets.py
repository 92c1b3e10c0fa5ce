"""Plain writes in the store: lines that mean what the same writes mean one by one, in the data and in the log."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kvd.errors import StartError
from kvd.model import BYTES, TEXT, Change, Position, Record
from kvd.requests import KeyRange, SimpleSets
from kvd.store.redis.maintenance import Retention
from kvd.store.redis.store import Store
from tests.support.processes import Redis
from tests.support.stores import alone, eventually, put, running, value_of, write


@pytest.fixture
async def store(redis: Redis) -> AsyncIterator[Store]:
    async with running(redis.unix_url) as store:
        yield store


async def set_plain(store: Store, *pairs: tuple[bytes, bytes]) -> Any:
    return await store.write(SimpleSets([key for key, _ in pairs], b"".join(b"%b %b\n" % pair for pair in pairs)), 0)


async def keys_of(store: Store) -> list[bytes]:
    return [key async for _, items in store.pages(KeyRange(b"*"), records=False) for key, _ in items]


async def changes_after(store: Store, revision: int) -> list[Change]:
    position, _ = await store.history()
    return alone(await store.changes_after(Position(revision, position.store)))


async def test_lines_are_writes_in_their_order(store: Store) -> None:
    values = [(b"b", b""), (b"a", b" two  words "), (b"b", b"\xc3\xa9\t2"), (b"c", b"x" * 4096)]
    assert await set_plain(store, *values) == [b"1", b"2", b"3", b"4"]
    assert [await value_of(store, key) for key in (b"a", b"b", b"c")] == [b" two  words ", b"\xc3\xa9\t2", b"x" * 4096]
    assert await keys_of(store) == [b"a", b"b", b"c"]
    assert await changes_after(store, 0) == [
        Change(revision, b"SET", key, TEXT, value) for revision, (key, value) in enumerate(values, 1)
    ]
    assert await set_plain(store, (b"a", b"again"), (b"d", b"new")) == [b"5", b"6"]
    assert await keys_of(store) == [b"a", b"b", b"c", b"d"]


LARGE = b"x" * 5000


@pytest.mark.parametrize(
    "old", [put(b"k", LARGE), put(b"k", kind=BYTES), put(b"k", LARGE, kind=BYTES), put(b"k", ttl=60_000)]
)
@pytest.mark.parametrize("beside", [None, put(b"large", LARGE), put(b"mortal", ttl=60_000)])
async def test_what_a_line_replaces_is_gone_whatever_it_was(redis: Redis, store: Store, old: Any, beside: Any) -> None:
    await write(store, old, *([beside] if beside else []))
    (first, last) = await set_plain(store, (b"k", b"1"), (b"new", b"2"))
    assert int(last) == int(first) + 1
    assert await value_of(store, b"k") == b"1"
    (record,), _ = await store.read([b"k"])
    assert record == Record(first, b"0", TEXT, b"1")
    # Large values stand by their revision; that of the key, which the history still needs, waits.
    assert redis.cli("ZRANGE", "{kvd}:replaced", "0", "-1") == ("1" if old.value == LARGE else "")
    assert redis.cli("ZSCORE", "{kvd}:ttl", "k") == ""
    assert await keys_of(store) == sorted({b"k", b"new", *([beside.key] if beside else [])})


async def test_a_key_whose_time_is_over_expires_before_a_line_sets_it_anew(redis: Redis) -> None:
    store = Store(redis.unix_url)
    await store.start()
    # Without the sweep.
    task = asyncio.create_task(store._writes.run())
    await store.write([put(b"k", b"old", ttl=1)], 0)
    await asyncio.sleep(0.01)
    assert await set_plain(store, (b"k", b"new")) == [b"3"]
    assert await changes_after(store, 1) == [Change(2, b"EXPIRE", b"k"), Change(3, b"SET", b"k", TEXT, b"new")]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await store.close()


async def test_what_goes_another_way_is_counted_once(redis: Redis) -> None:
    """A line of a key whose time is over, and then one of a key that others live with, which is for write.lua."""
    store = Store(redis.unix_url)
    await store.start()
    task = asyncio.create_task(store._writes.run())
    await store.write([put(b"over", ttl=1), put(b"owner"), put(b"ward", owner=b"owner")], 0)
    await asyncio.sleep(0.01)
    before = int(redis.cli("HGET", "{kvd}:meta", "bytes"))
    await set_plain(store, (b"over", b"1"), (b"owner", b"1"))
    assert int(redis.cli("HGET", "{kvd}:meta", "bytes")) - before == len("over") + len("over1") + len("owner1")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await store.close()


async def test_lines_go_together_with_other_writes(store: Store) -> None:
    """In one batch, in the order in which they came."""
    results = await asyncio.gather(
        set_plain(store, (b"a", b"1"), (b"b", b"2")), write(store, put(b"a", b"3", condition=b"1")),
        set_plain(store, (b"b", b"4")),
    )  # fmt: skip
    assert list(results) == [[b"1", b"2"], [b"3"], [b"4"]]
    changes = await changes_after(store, 0)
    assert [(change.key, change.value) for change in changes] == [
        (b"a", b"1"),
        (b"b", b"2"),
        (b"a", b"3"),
        (b"b", b"4"),
    ]


async def test_the_history_begins_anywhere_within_lines(store: Store) -> None:
    await set_plain(store, *[(b"k%d" % number, b"%d" % number) for number in range(100)])
    for revision in (0, 1, 50, 99, 100):
        assert [change.revision for change in await changes_after(store, revision)] == list(range(revision + 1, 101))


async def test_a_page_of_the_history_counts_the_changes_in_lines(store: Store) -> None:
    for _ in range(10):
        await set_plain(store, *[(b"k%d" % number, b"v") for number in range(250)])
    assert len(await changes_after(store, 0)) == 1000


async def test_the_history_of_lines_keeps_its_bounds(redis: Redis) -> None:
    async with running(redis.unix_url, retention=Retention(changes=1000)) as store:
        for _ in range(300):
            await set_plain(store, *[(b"k%d" % number, b"v") for number in range(10)])

        async def trimmed() -> bool:
            return (await store.history())[1] >= 2000

        await eventually(trimmed)
        assert (await store.history())[1] == 2000


@pytest.mark.parametrize("kept", ["90000", "99999999999999"])
async def test_lines_never_set_the_clock_back(redis: Redis, store: Store, kept: str) -> None:
    """Not even next to one with more digits, or fewer: a machine may begin in 1970."""
    await set_plain(store, (b"k", b"1"))
    before = redis.cli("HGET", "{kvd}:meta", "clock")
    redis.cli("HSET", "{kvd}:meta", "clock", kept)
    await set_plain(store, (b"k", b"2"))
    assert int(redis.cli("HGET", "{kvd}:meta", "clock")) >= max(int(before), int(kept))


async def test_a_store_of_the_layout_before_is_taken_over_and_one_of_another_refused(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        await write(store, put(b"k", b"1"))
    for older in ("1", "2", "3", "4"):
        redis.cli("HSET", "{kvd}:meta", "layout", older)
        async with running(redis.unix_url) as store:
            assert await value_of(store, b"k") == b"1"
        assert redis.cli("HGET", "{kvd}:meta", "layout") == "5"
    redis.cli("HSET", "{kvd}:meta", "layout", "6")
    with pytest.raises(StartError, match="its layout is 6"):
        await Store(redis.unix_url).start()
