"""Simple writes in the store: the same outcomes, records and log entries as the same writes one by one."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvd.errors import Unavailable
from kvd.model import BYTES, TEXT, Change, Position, Record
from kvd.requests import Delete, Increment, Limited, Put, SimpleSets, SimpleWrites, Touch, Write
from kvd.store.redis.connection import BIG, DATA, INDEX, LOG, META, REPLACED, TTL, Connection, Connector, command
from kvd.store.redis.digest import verify
from kvd.store.redis.entries import fill, references
from kvd.store.redis.store import Store
from kvd.wire import shortcuts
from tests.support.processes import Redis
from tests.support.stores import alone, put, running, value_of, write

LARGE = b"x" * 5000
MINUTE = 60_000
"""Milliseconds."""
KEYS = [b"a", b"b", b"c", "ключ".encode()]
values = st.sampled_from([b"", b"v", b"two words", b"5", b"-7", b"0", b"007", b"y" * 64, b"y" * 65, b"z" * 4096])
lives = st.sampled_from([0, 0, MINUTE, 10 * MINUTE])
keys = st.sampled_from(KEYS)
simple: st.SearchStrategy[Write] = st.one_of(
    st.tuples(keys, st.just(TEXT), values, lives).map(lambda one: Put(*one)),
    st.tuples(keys, st.sampled_from([b"1", b"-5", b"0", b"999999999999999"])).map(lambda one: Increment(*one)),
)
others: st.SearchStrategy[Write] = st.one_of(
    st.tuples(keys, st.sampled_from([TEXT, BYTES]), st.sampled_from([LARGE, b"b"]), lives).map(lambda one: Put(*one)),
    keys.map(Delete),
    st.tuples(keys, lives).map(lambda one: Touch(*one)),
)
batches = st.lists(st.tuples(st.lists(others, max_size=2), st.lists(simple, min_size=1, max_size=8)), max_size=4)


@pytest.fixture
async def store(redis: Redis) -> AsyncIterator[Store]:
    async with running(redis.unix_url) as store:
        yield store


@pytest.fixture
async def engine(redis: Redis) -> AsyncIterator[Connection]:
    connection = await Connector(redis.unix_url).open()
    yield connection
    await connection.close()


def under(prefix: bytes, writes: Sequence[Any]) -> list[Any]:
    """The same writes of keys that begin with a prefix."""
    return [one._replace(key=prefix + one.key) for one in writes]


async def entries_after(engine: Connection, revision: int, prefix: bytes) -> list[Any]:
    """The changes in each entry after a revision, as the log has them: deadlines as minutes, keys without the prefix.

    Lines are told as the fields that they mean.
    """
    found = []
    for raw in await engine.call(command("XRANGE", LOG, f"({revision}-0", "+")):
        wanted = references(raw)
        if wanted:
            fill(wanted, await engine.call(command("HMGET", BIG, *[number for _, _, number in wanted])))
        assert verify(raw)
        fields = raw[1]
        clock = int(fields[1].split(b" ")[2])
        if fields[2].isdigit():
            lines = [line.split(b" ", 1) for line in fields[3].split(b"\n")[:-1]]
            fields = [*fields[:2], *[word for key, value in lines for word in (b"t" + key, value)]]
        for name, value in zip(fields[2::2], fields[3::2], strict=True):
            key, _, deadline = name.partition(b" ;d")
            found.append((key.replace(prefix, b""), round((int(deadline) - clock) / MINUTE) if deadline else 0, value))
    return found


async def state(engine: Connection, prefix: bytes) -> Any:
    """What the data has of the keys: records, but for when they were written; and who is where."""
    names = [prefix + key for key in KEYS]
    records = [raw and raw.split(b" ", 2) for raw in await engine.call(command("HMGET", DATA, *names))]
    scores = [await engine.call(command("ZSCORE", TTL, name)) for name in names]
    there = [await engine.call(command("ZSCORE", INDEX, name)) for name in names]
    # What has a deadline is in `ttl` by it.
    assert [record[1] if record and record[1] != b"0" else None for record in records] == scores
    assert [bool(record) for record in records] == [score is not None for score in there]
    return [record and (record[1] != b"0", record[2]) for record in records]


async def in_both_ways(
    store: Store, engine: Connection, number: int, rounds: Sequence[tuple[Sequence[Write], Sequence[Write]]]
) -> None:
    for before, writes in rounds:
        seen = []
        for way in (b"s", b"g"):
            prefix = b"%b%d/" % (way, number)
            if before:
                await store.write(under(prefix, before), 0)
            start, size = (int(one) for one in await engine.call(command("HMGET", META, "revision", "bytes")))
            given = under(prefix, writes)
            form = shortcuts.as_simple(given) if way == b"s" else given
            assert form is not None
            outcomes = await store.write(form, 0)
            end, grown = (int(one) for one in await engine.call(command("HMGET", META, "revision", "bytes")))
            # A revision as what it is after the first; a sum as it is.
            told = [
                int(outcome) - start if isinstance(one, Put) else outcome
                for one, outcome in zip(writes, outcomes, strict=True)
            ]
            seen.append((told, end - start, grown - size, await entries_after(engine, start, prefix)))
            seen.append(await state(engine, prefix))
        assert seen[:2] == seen[2:]


async def test_simple_writes_come_to_the_same_as_one_by_one(store: Store, engine: Connection) -> None:
    numbers = count()
    loop = asyncio.get_running_loop()

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
    @given(batches)
    def check(rounds: list[Any]) -> None:
        asyncio.run_coroutine_threadsafe(in_both_ways(store, engine, next(numbers), rounds), loop).result(60)

    await asyncio.to_thread(check)
    # What large values were replaced waits in one place.
    assert await engine.call(command("HLEN", BIG)) >= await engine.call(command("ZCARD", REPLACED))


async def batches_of(store: Store, engine: Connection) -> int:
    """How many batches this daemon has sent."""
    batch = await engine.call(command("HGET", META, b"batch:" + store._writes.daemon.encode()))
    return int(batch.split()[0]) if batch else 0


@pytest.mark.parametrize(
    ("there", "writes", "sent"),
    [
        ([], [put(b"a", ttl=60_000), Increment(b"n", b"5"), put(b"b", b"y" * 65)], 1),
        ([put(b"a", LARGE, ttl=60_000), put(b"b", kind=BYTES)], [put(b"a", ttl=60_000), put(b"b", ttl=60_000)], 1),
        ([put(b"n", b"7", ttl=60_000)], [Increment(b"n", b"5")], 1),
        ([put(b"n", b"text")], [Increment(b"n", b"5"), put(b"a")], 2),
        ([put(b"n", b"9" * 16)], [Increment(b"n", b"5")], 2),
        ([put(b"a"), put(b"b", owner=b"a")], [put(b"a", ttl=60_000)], 2),
        ([put(b"a"), put(b"b", owner=b"a")], [put(b"b", ttl=60_000)], 2),
        ([put(b"a"), put(b"b", owner=b"a")], [put(b"c", ttl=60_000)], 1),
        ([Limited(put(b"q/a"), b"q/* 9 -\n")], [put(b"q/b", ttl=60_000)], 2),
        ([Limited(put(b"q/a"), b"q/* 9 -\n")], [put(b"b", ttl=60_000)], 1),
    ],
)
async def test_what_is_not_so_simple_after_all_goes_the_other_way(
    store: Store, engine: Connection, there: list[Any], writes: list[Any], sent: int
) -> None:
    for one in there:
        await write(store, one)
    before = await batches_of(store, engine)
    form = shortcuts.as_simple(writes)
    assert isinstance(form, SimpleWrites)
    outcomes = await store.write(form, 0)
    assert len(outcomes) == len(writes)
    assert await batches_of(store, engine) - before == sent


async def test_keys_whose_time_is_over_end_before_simple_writes(redis: Redis, engine: Connection) -> None:
    store = Store(redis.unix_url)
    await store.start()
    # Without the sweep.
    task = asyncio.create_task(store._writes.run())
    await store.write([put(b"b", b"old", ttl=1), put(b"a", b"9", ttl=1), put(b"c", b"old", ttl=1), put(b"d")], 0)
    await asyncio.sleep(0.01)
    form = shortcuts.as_simple([put(b"b", b"new", ttl=60_000), Increment(b"a", b"2"), put(b"c"), put(b"c", b"last")])
    assert form is not None
    assert await store.write(form, 0) == [b"8", b"2", b"10", b"11"]
    position, _ = await store.history()
    changes = [
        change._replace(deadline=min(change.deadline, 1))
        for change in alone(await store.changes_after(Position(4, position.store)))
    ]
    assert changes == [
        Change(5, b"EXPIRE", b"a"), Change(6, b"EXPIRE", b"b"), Change(7, b"EXPIRE", b"c"),
        Change(8, b"SET", b"b", TEXT, b"new", deadline=1), Change(9, b"SET", b"a", TEXT, b"2"),
        Change(10, b"SET", b"c", TEXT, b"v"), Change(11, b"SET", b"c", TEXT, b"last"),
    ]  # fmt: skip
    assert await engine.call(command("ZRANGE", TTL, 0, -1)) == [b"b"]
    assert await engine.call(command("ZRANGE", INDEX, 0, -1)) == [b"a", b"b", b"c", b"d"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await store.close()


async def test_all_kinds_go_together_in_one_batch(store: Store, engine: Connection) -> None:
    """SETs of a chunk, PUTs with a time to live and INCRs, in the order in which they came."""
    before = await batches_of(store, engine)
    timed, adds = shortcuts.as_simple([put(b"a", b"2", ttl=60_000)]), shortcuts.as_simple([Increment(b"a", b"3")])
    assert timed is not None
    assert adds is not None
    results = await asyncio.gather(
        store.write(SimpleSets([b"a", b"b"], b"a 1\nb x y\n"), 0), store.write(timed, 0), store.write(adds, 0)
    )
    assert list(results) == [[b"1", b"2"], [b"3"], [b"5"]]
    assert await batches_of(store, engine) - before == 1
    ((_, (_, tag, *fields)),) = await engine.call(command("XRANGE", LOG, "-", "+"))
    deadline = b"%d" % (int(tag.split(b" ")[2]) + 60_001)
    assert fields == [b"ta", b"1", b"tb", b"x y", b"ta ;d" + deadline, b"2", b"ta ;d" + deadline, b"5"]
    (record,), _ = await store.read([b"a"])
    assert record == Record(b"4", deadline, TEXT, b"5")


@pytest.mark.parametrize("start", [0, 8, 95, 999_999_999, 2**53 - 22])
@pytest.mark.parametrize("life", [0, MINUTE])
async def test_revisions_are_printed_in_full_from_the_first_to_the_last(redis: Redis, start: int, life: int) -> None:
    async with running(redis.unix_url) as store:
        redis.cli("HSET", "{kvd}:meta", "revision", str(start), "floor", str(start))
        writes: list[Write] = [put(b"k%d" % number, ttl=life) for number in range(21)]
        form = shortcuts.as_simple(writes)
        assert isinstance(form, SimpleWrites if life else SimpleSets)
        revisions = [b"%d" % revision for revision in range(start + 1, start + 22)]
        assert await store.write(form, 0) == revisions
        records, _ = await store.read([one.key for one in writes if isinstance(one, Put)])
        assert [record and record.revision for record in records] == revisions
        if revisions[-1] == b"%d" % (2**53 - 1):
            with pytest.raises(Unavailable, match="its revisions are used up"):
                await store.write(form, 0)


@pytest.mark.parametrize(
    ("start", "amount", "outcome"),
    [
        (b"-5", b"5", b"0"), (b"1", b"-2", b"-1"), (b"999999999999999", b"999999999999999", b"1999999999999998"),
        (b"9007199254740993", b"-1", b"9007199254740992"), (b"9223372036854775807", b"1", b"o"), (b"007", b"1", b"a"),
        (b"-0", b"1", b"a"), (b"1e3", b"1", b"a"), (b"", b"1", b"a"), (b" 1", b"1", b"a"),
    ],
)  # fmt: skip
async def test_a_sum_is_exact_or_refused(store: Store, start: bytes, amount: bytes, outcome: bytes) -> None:
    await write(store, put(b"n", start))
    form = shortcuts.as_simple([Increment(b"n", amount)])
    assert form is not None
    assert await store.write(form, 0) == [outcome]
    assert await value_of(store, b"n") == (start if outcome in b"ao" else outcome)
