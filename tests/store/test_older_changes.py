"""What catching up asks of the store: keys of older changes, changes by revision, records as of one moment."""

from collections.abc import AsyncIterator

import pytest

from kvd.errors import Compacted, OtherStore
from kvd.model import BYTES, Change, Position, Record
from kvd.requests import Delete, SimpleSets, Transaction
from kvd.store.redis.maintenance import Retention
from kvd.store.redis.store import Store
from tests.support.processes import Redis
from tests.support.stores import eventually, keys_of, put, running, write

LARGE = b"x" * 5000


@pytest.fixture
async def store(redis: Redis) -> AsyncIterator[Store]:
    async with running(redis.unix_url) as store:
        yield store


async def fill(store: Store) -> None:
    """Changes of every form that the log has."""
    await store.write(SimpleSets([b"a", b"b", b"a"], b"a 1\nb two words\na \n"), 0)
    await write(store, put(b"large", LARGE), put(b"c", b"\x00", kind=BYTES), Delete(b"b"))
    await store.transact(Transaction((put(b"t/1"), put(b"t/2", LARGE, kind=BYTES), Delete(b"c"))), 0)
    await write(store, put(b"large", LARGE + b"y"))


async def changes(store: Store) -> tuple[bytes, list[Change]]:
    """The store's id, and all that it has."""
    position, floor = await store.history()
    return position.store, await store.changes_after(Position(floor, position.store))


async def test_changes_are_found_by_their_revisions(store: Store) -> None:
    await fill(store)
    name, every = await changes(store)
    revisions = [change.revision for change in every]
    assert revisions == list(range(1, 11))
    assert await store.changes_at(name, revisions) == every
    some = [9, 2, 7, 10, 1, 4]
    assert await store.changes_at(name, some) == [every[revision - 1] for revision in some]
    for change in every:
        assert await store.changes_at(name, [change.revision]) == [change]


async def test_who_wants_no_large_values_is_told_how_many_bytes_they_have(store: Store) -> None:
    await fill(store)
    name, every = await changes(store)
    small = [c._replace(value=b"", apart=len(c.value)) if len(c.value) > 4096 else c for c in every]
    assert [change.apart for change in small] == [0, 0, 0, 5000, 0, 0, 0, 5000, 0, 5001]
    assert [change.size for change in small] == [change.size for change in every]
    assert await store.changes_after(Position(0, name), values=False) == small
    assert await store.changes_at(name, range(1, 11), values=False) == small
    log = await store.open_log(lambda key: key != b"large")
    try:
        entries = await log.read_log(0, 16, 1000)
    finally:
        await log.close()
    read = [change for entry in entries for change in entry.changes]
    assert read == [without if without.key == b"large" else whole for whole, without in zip(every, small, strict=True)]
    (_, items), _ = await store.page(b"*", b"", values=False)
    assert [(key, record.large, record.apart) for key, record in items if record.large] == [
        (b"large", True, 5001), (b"t/2", True, 5000),
    ]  # fmt: skip
    assert (await store.records([key for key, _ in items], values=False)).items == items


async def test_a_change_knows_its_transaction_and_its_moment(store: Store) -> None:
    await fill(store)
    name, every = await changes(store)
    assert [change.transaction for change in every] == [0, 0, 0, 0, 0, 0, 9, 9, 9, 0]
    assert [change.moment.entry for change in every] == [3, 3, 3, 6, 6, 6, 9, 9, 9, 10]
    times = [change.moment.time for change in every]
    assert times == sorted(times)
    assert times[0] > 1_600_000_000_000
    rest = await store.changes_after(Position(7, name))
    assert rest == every[7:]


async def test_a_page_of_changes_ends_somewhere(store: Store) -> None:
    for number in range(20):
        await write(store, put(b"k%d" % number, b"x" * 100_000))
    name, _ = await changes(store)
    found = await store.changes_at(name, range(1, 21))
    assert [change.revision for change in found] == list(range(1, len(found) + 1))
    assert 1 < len(found) < 20
    assert {len(change.value) for change in found} == {100_000}


async def test_the_keys_before_any_revision_are_found(store: Store) -> None:
    await fill(store)
    name, every = await changes(store)
    for revision in range(2, 12):
        assert await store.keys_before(name, revision) == keys_of(every[: revision - 1])


async def test_keys_come_in_pages_from_the_newest_on(store: Store) -> None:
    keys = [b"k%d" % number for number in range(6100)]
    for key in keys[:1100]:
        await write(store, put(key))
    for first in range(1100, 6100, 100):
        part = keys[first : first + 100]
        await store.write(SimpleSets(part, b"".join(b"%b v\n" % key for key in part)), 0)
    name, _ = await changes(store)
    revision, found, sizes = 6051, list[bytes](), list[int]()
    while revision > 1:
        page, _ = await store.keys_before(name, revision)
        found[:0] = page
        sizes.append(len(page))
        revision -= len(page)
    assert found == keys[:6050]
    # At the most 4000 changes and what is left of an entry, and 1000 entries.
    assert sizes == [3950, 1990, 110]


async def test_what_is_kept_no_longer_is_said(redis: Redis) -> None:
    async with running(redis.unix_url, retention=Retention(changes=5)) as store:
        for number in range(20):
            await write(store, put(b"k%d" % number))

        async def is_trimmed() -> bool:
            return (await store.history())[1] == 15

        await eventually(is_trimmed)
        name, every = await changes(store)
        assert (await store.keys_before(name, 21))[0] == [change.key for change in every]
        assert await store.changes_at(name, [16, 15]) == every[:1]
        with pytest.raises(Compacted, match=f"15@{name.decode()} is the oldest"):
            await store.changes_at(name, [15, 16])
        with pytest.raises(Compacted, match=f"15@{name.decode()} is the oldest"):
            await store.keys_before(name, 16)


async def test_another_history_is_said(store: Store) -> None:
    await fill(store)
    with pytest.raises(OtherStore):
        await store.changes_at(b"other", [1])
    with pytest.raises(OtherStore):
        await store.keys_before(b"other", 2)


async def test_records_are_of_one_moment(store: Store) -> None:
    await fill(store)
    name, _ = await changes(store)
    position, items = await store.records([b"t/2", b"none", b"a", b"b", b"large"])
    assert position == Position(10, name)
    assert items == [
        (b"t/2", Record(b"8", b"0", BYTES, LARGE)),
        (b"none", None),
        (b"a", Record(b"3", b"0", b"t", b"")),
        (b"b", None),
        (b"large", Record(b"10", b"0", b"t", LARGE + b"y")),
    ]


async def test_records_that_are_too_many_are_left_for_the_next_time(store: Store) -> None:
    keys = [b"k%d" % number for number in range(10)]
    for key in keys:
        await write(store, put(key, b"x" * 100_000))
    _, items = await store.records(keys)
    assert [key for key, _ in items] == keys[: len(items)]
    assert 1 < len(items) < 10
