"""The store against a real Redis: group commit, lost connections, refusals."""

import asyncio
import os
import random
import signal
from base64 import b64encode
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd.embedded.aof import AppendOnlyFile
from kvd.errors import StartError, StoreLost, Unavailable, Uncertain
from kvd.model import BYTES, TEXT, Position
from kvd.requests import Delete, Increment, KeyRange, SimpleSets, Touch, Transaction
from kvd.store.redis import batching, clock, listing, maintenance, writes
from kvd.store.redis.channel import Channel
from kvd.store.redis.connection import Connection, Connector, Rejected, command
from kvd.store.redis.disk_space import on_disk
from kvd.store.redis.listing import bounds
from kvd.store.redis.maintenance import Retention
from kvd.store.redis.store import Store
from tests.faults.faults import small_disk
from tests.support.memory import serving
from tests.support.processes import Redis
from tests.support.stores import (
    eventually,
    let_it_sweep,
    nothing_large,
    proxied,
    put,
    running,
    set_clock,
    stop_the_sweep,
    value_of,
    write,
)


async def test_writes_of_one_batch_see_each_other(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        outcomes = await write(
            store,
            put(b"a", b"1"), put(b"a", b"2", condition=b"1"), put(b"a", b"3", condition=b"1"),
            Increment(b"a", b"40"), Delete(b"a"), Delete(b"a"), put(b"a", condition=b"0"), Touch(b"a", 60_000),
            Touch(b"b", 60_000), Increment(b"b", b"-7"), Increment(b"a", b"1"), Delete(b"b", b"9"),
        )  # fmt: skip
        assert outcomes == [b"1", b"2", b"c2", b"42", b"4", b"n", b"5", b"t", b"n", b"-7", b"a", b"c6"]
        assert (await store.history())[0].revision == 6


async def test_writes_that_wait_go_as_one_batch_with_one_log_entry(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        await asyncio.gather(*(write(store, put(b"key%d" % number)) for number in range(200)))
        assert int(redis.cli("XLEN", "{kvd}:log")) <= batching.DEPTH + 1
        assert await store.count(b"*") == 200
        assert (await store.history())[0].revision == 200


async def test_a_batch_keeps_its_bounds(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                value = b"x" * 100_000
                group.create_task(store.write([put(b"big%d" % number, value)], len(value)))
            for number in range(100):
                group.create_task(store.write([put(b"%d.%d" % (number, i)) for i in range(10)], 0))
        entries = int(redis.cli("XLEN", "{kvd}:log"))
        assert entries >= 20 * 100_000 // batching.BATCH_BYTES + 1000 // batching.BATCH_ITEMS
        assert await store.count(b"*") == 1020


async def test_reads_behind_a_write_see_it(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        for number in range(200):
            await write(store, put(b"k", b"%d" % number))
            assert await value_of(store, b"k") == b"%d" % number


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 4096, 4097, 1024 * 1024])
@pytest.mark.parametrize("kind", [TEXT, BYTES])
async def test_values_of_any_size_come_back_whole_and_leave_nothing(redis: Redis, size: int, kind: bytes) -> None:
    async with running(redis.unix_url, retention=Retention(changes=1)) as store:
        value = bytes(range(256)) * (size // 256) + b"\n" * (size % 256)
        await store.write([put(b"k", value, kind=kind, ttl=60_000)], size)
        await write(store, Touch(b"k", 90_000))
        (seen,), now = await store.read([b"k"])
        assert seen
        record = await store.fetch(b"k")
        assert record
        assert (record.value, record.kind, record.revision) == (value, kind, b"1")
        assert seen.large == (size > 4096)
        assert 60_000 < int(seen.deadline) - now <= 90_001
        assert int(redis.cli("HLEN", "{kvd}:big")) == (size > 4096)
        await write(store, put(b"k", b"small"))
        await write(store, put(b"k", value, kind=kind))
        await write(store, Delete(b"k"))
        await write(store, Delete(b"none"), put(b"l"), Delete(b"l"))
        await eventually(lambda: nothing_large(redis))
        left = redis.cli("KEYS", "*").split()
        assert sorted(left) == ["{kvd}:log", "{kvd}:meta"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "amount", "outcome"),
    [
        (b"9223372036854775806", b"1", b"9223372036854775807"),
        (b"9223372036854775807", b"1", b"o"),
        (b"-9223372036854775807", b"-1", b"o"),
        (b"-9223372036854775806", b"-1", b"-9223372036854775807"),
        (b"9223372036854775808", b"-1", b"o"),
        (b"-9223372036854775808", b"1", b"o"),
        (b"99999999999999999999999", b"1", b"o"),
        (b"4503599627370496", b"1", b"4503599627370497"),
        (b"9007199254740992", b"1", b"9007199254740993"),
        (b"9007199254740993", b"-9007199254740992", b"1"),
        (b"999999999999999", b"1", b"1000000000000000"),
        (b"1", b"-1", b"0"),
        (b"-5", b"5", b"0"),
        (b"007", b"1", b"a"),
        (b"-0", b"1", b"a"),
        (b"+1", b"1", b"a"),
        (b"1e3", b"1", b"a"),
        (b"1.0", b"1", b"a"),
        (b"", b"1", b"a"),
        (b" 1", b"1", b"a"),
        ("\u0661".encode(), b"1", b"a"),
    ],
)
async def test_incr_is_exact_or_refused(redis: Redis, start: bytes, amount: bytes, outcome: bytes) -> None:
    async with running(redis.unix_url) as store:
        await write(store, put(b"n", start))
        assert await write(store, Increment(b"n", amount)) == [outcome]
        assert await value_of(store, b"n") == (start if outcome in b"ao" else outcome)
        assert "scratch" not in redis.cli("HKEYS", "{kvd}:meta").split()


# ---- time


LONG = 600_000
"""Milliseconds that do not pass while a test runs."""


async def test_a_key_is_gone_at_its_deadline_for_every_reader_and_never_before(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        await write(store, put(b"short", ttl=40), put(b"long", ttl=60_000), put(b"none"))
        # From the change log, which has it also if the time is over by now.
        deadline = (await store.changes_after(Position(0, (await store.history())[0].store)))[0].deadline
        is_there = True
        while is_there:
            asked = store._clock.now
            (record,), now = await store.read([b"short"])
            is_there = record is not None
            assert asked < deadline if is_there else now >= deadline
        listed = [key async for page in store.pages(KeyRange(b"*"), records=False) for key, _ in page.items]
        assert listed == [b"long", b"none"]
        assert await store.count(b"*") == 2
        assert await store.count(b"short") == 0
        assert await store.fetch(b"short") is None


@pytest.mark.parametrize("asked", ["read", "kept", "written", "nothing"])
async def test_a_listing_makes_way_for_whoever_asks_meanwhile(
    asked: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "PAGE_KEYS", 1)
    monkeypatch.setattr(listing, "PAGE_PAUSE", 3600)
    async with running(redis.unix_url) as store:
        await write(store, *(put(b"%d" % number) for number in range(3)))
        pages = store.pages(KeyRange(b"*"), records=False)
        page = asyncio.ensure_future(anext(pages))
        await asyncio.sleep(0)
        if asked == "read":
            await store.read([b"k"])
        elif asked == "kept":
            assert store.kept(b"k") is None
        elif asked == "written":
            await write(store, put(b"k"))
        await page
        following = asyncio.ensure_future(anext(pages))
        if asked == "nothing":
            assert (await following).items == [(b"1", None)]
            assert [key async for _, items in pages for key, _ in items] == [b"2"]
        else:
            # The store is asked and answers meanwhile: the listing would be done by then, too.
            for _ in range(20):
                await store.count(b"*")
            assert not following.done()
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following


async def test_a_listing_does_not_make_way_behind_its_end(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "PAGE_PAUSE", 3600)
    async with running(redis.unix_url) as store:
        await write(store, *(put(b"%d" % number) for number in range(3)))
        pages = store.pages(KeyRange(b"*", limit=1), records=False)
        assert (await anext(pages)).items == [(b"0", None)]
        await store.read([b"k"])
        assert [page async for page in pages] == []


async def test_expiry_is_logged_once_before_a_write_or_by_the_sweep(redis: Redis) -> None:
    async with running(redis.unix_url) as store, running(redis.unix_url) as other:
        await write(store, *(put(b"k%d" % number, ttl=30) for number in range(300)))

        async def swept() -> bool:
            return int(redis.cli("ZCARD", "{kvd}:ttl")) == 0

        outcomes: list[bytes] = []
        while not await swept():
            outcomes += await write(other, Delete(b"k7"))
        log = redis.cli("XRANGE", "{kvd}:log", "-", "+").split()
        expired = [word for word in log if word.startswith("ek")]
        deleted = [word for word in log if word == "dk7"]
        assert len(expired) + len(deleted) == 300 == len(set(expired)) + len(deleted)
        assert [outcome for outcome in outcomes if outcome.isdigit()] == ([] if not deleted else outcomes[:1])
        assert redis.cli("HLEN", "{kvd}:data") == redis.cli("ZCARD", "{kvd}:index") == "0"


async def test_a_key_written_again_in_time_does_not_expire(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        await write(store, *(put(key, ttl=LONG) for key in (b"a", b"b", b"c")), put(b"end", ttl=LONG + 1))
        await write(store, put(b"a"), Touch(b"b", 0), Touch(b"c", 10 * LONG))
        (end,), _ = await store.read([b"end"])
        assert end
        set_clock(redis, int(end.deadline))

        async def over() -> bool:
            return await value_of(store, b"end") is None and redis.cli("ZCARD", "{kvd}:ttl") == "1"

        await eventually(over)
        assert await store.count(b"*") == 3


async def test_what_fell_due_while_nothing_ran_is_logged_at_the_next_start(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        await write(store, put(b"k", ttl=LONG))
        deadline = int(redis.cli("HGET", "{kvd}:data", "k").split()[1])
    set_clock(redis, deadline)
    assert redis.cli("ZCARD", "{kvd}:ttl") == "1"
    async with running(redis.unix_url):

        async def logged() -> bool:
            return "ek" in redis.cli("XRANGE", "{kvd}:log", "-", "+").split()

        await eventually(logged)


# ---- lost connections


@pytest.mark.usefixtures("patient")
async def test_bytes_left_in_an_old_socket_never_run(redis: Redis) -> None:
    """The write's bytes wait in the proxy; kvd loses that connection, resolves, sends anew; then they arrive."""
    async with proxied(redis) as (proxy, url), running(url) as store:
        await write(store, Increment(b"n", b"1"))
        proxy.holding = b"hold me"
        writing = asyncio.create_task(write(store, put(b"k", b"hold me"), Increment(b"n", b"1")))
        pipe = await proxy.caught.get()
        proxy.holding = None
        pipe.client.transport.abort()
        assert await writing == [b"2", b"2"]
        before = redis.cli("HGETALL", "{kvd}:data"), redis.cli("XLEN", "{kvd}:log")
        pipe.server.write(b"".join(pipe.held))
        replies = pipe.replies
        await eventually(lambda: _is(pipe.replies > replies))
        assert (redis.cli("HGETALL", "{kvd}:data"), redis.cli("XLEN", "{kvd}:log")) == before
        assert await value_of(store, b"n") == b"2"


async def _is(truth: bool) -> bool:
    return truth


@pytest.mark.usefixtures("patient")
async def test_a_write_whose_reply_was_lost_is_answered_truly_and_done_once(redis: Redis) -> None:
    async with proxied(redis) as (proxy, url), running(url) as store:
        await write(store, Increment(b"n", b"1"))
        proxy.hiding = b"hide me"
        writing = asyncio.create_task(write(store, put(b"k", b"hide me"), Increment(b"n", b"1")))
        pipe = await proxy.caught.get()
        proxy.hiding = None
        pipe.client.transport.abort()
        assert await writing == [b"2", b"2"]
        assert await value_of(store, b"n") == b"2"


@pytest.mark.usefixtures("patient")
async def test_two_batches_under_way_are_resolved_in_order(redis: Redis) -> None:
    """The first was applied and its reply lost, the second never reached the store."""
    async with proxied(redis) as (proxy, url), running(url) as store:
        await write(store, put(b"k", b"0"))
        proxy.hiding, proxy.holding = b"hide me", b"hold me"
        first = asyncio.create_task(write(store, put(b"k", b"hide me")))
        pipe = await proxy.caught.get()
        second = asyncio.create_task(write(store, put(b"k", b"hold me")))
        assert await proxy.caught.get() is pipe
        proxy.hiding = proxy.holding = None
        pipe.client.transport.abort()
        assert await first == [b"2"]
        assert await second == [b"3"]
        pipe.server.write(b"".join(pipe.held))
        assert await value_of(store, b"k") == b"hold me"
        assert await write(store, put(b"k", b"last")) == [b"4"]


@pytest.mark.usefixtures("patient")
async def test_a_batch_that_is_smaller_than_the_one_before_it_waits_for_it_and_grows(redis: Redis) -> None:
    async with proxied(redis) as (proxy, url), running(url) as store:
        await write(store, put(b"k", b"0"))
        proxy.hiding = b"hide me"
        first = asyncio.create_task(write(store, *[put(b"k", b"hide me")] * 3))
        pipe = await proxy.caught.get()
        others = []
        for number in range(2):
            others.append(asyncio.create_task(write(store, put(b"k", b"%d" % number))))
            # Each comes when the one before it could have been sent.
            await asyncio.sleep(0.02)
        proxy.hiding = None
        pipe.client.transport.abort()
        assert await first == [b"2", b"3", b"4"]
        assert await asyncio.gather(*others) == [[b"5"], [b"6"]]
        assert redis.cli("XLEN", "{kvd}:log") == "3"


async def test_a_store_that_does_not_come_back_leaves_writes_uncertain(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "UNCERTAIN_AFTER", 0.3)
    monkeypatch.setattr(batching, "GRACE", 0.2)
    async with proxied(redis) as (proxy, url), running(url) as store:
        await write(store, Increment(b"n", b"1"))
        proxy.hiding = b"hide me"
        writing = asyncio.create_task(write(store, put(b"k", b"hide me"), Increment(b"n", b"1")))
        pipe = await proxy.caught.get()
        proxy.refusing = True
        pipe.client.transport.abort()
        with pytest.raises(Uncertain):
            await writing
        with pytest.raises(Unavailable):
            await write(store, Increment(b"n", b"1"))
        with pytest.raises(Unavailable):
            await store.count(b"*")
        proxy.refusing, proxy.hiding = False, None

        async def back() -> bool:
            with suppress(Unavailable):
                return await write(store, Increment(b"n", b"1")) == [b"3"]
            return False

        await eventually(back)


@pytest.mark.parametrize("reached", [True, False])
async def test_a_write_that_was_given_up_is_answered_once_and_not_done_later(
    reached: bool, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the store had applied it, or never saw it."""
    monkeypatch.setattr(writes, "UNCERTAIN_AFTER", 0.3)
    monkeypatch.setattr(batching, "GRACE", 0.2)
    async with proxied(redis) as (proxy, url), running(url) as store:
        await write(store, put(b"k", b"0"))
        if reached:
            proxy.hiding = b"caught"
        else:
            proxy.holding = b"caught"
        given: list[object] = []
        store.write_then(SimpleSets([b"k"], b"k caught\n"), 8, given.append)
        pipe = await proxy.caught.get()
        proxy.refusing = True
        pipe.client.transport.abort()

        async def told() -> bool:
            return bool(given)

        await eventually(told)
        assert [type(outcome) for outcome in given] == [Uncertain]
        proxy.refusing, proxy.hiding, proxy.holding = False, None, None

        async def back() -> bool:
            with suppress(Unavailable):
                return await write(store, Increment(b"n", b"1")) == [b"1"]
            return False

        await eventually(back)
        assert await value_of(store, b"k") == (b"caught" if reached else b"0")
        assert len(given) == 1


@pytest.mark.usefixtures("patient")
async def test_scripts_that_redis_forgot_are_loaded_again(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        for number in range(1, 4):
            redis.cli("SCRIPT", "FLUSH")
            outcomes = await asyncio.gather(*(write(store, Increment(b"n%d" % i, b"1")) for i in range(10)))
            assert outcomes == [[b"%d" % number]] * 10
            assert await store.count(b"*") == 10


async def test_a_link_that_redis_closed_says_so_however_it_is_used(redis: Redis) -> None:
    link = await Connector(redis.unix_url).open()
    redis.kill(signal.SIGSTOP)
    waiting = asyncio.create_task(link.call(command("PING")))
    await asyncio.sleep(0)
    redis.kill()
    with pytest.raises(StoreLost):
        await waiting
    with pytest.raises(StoreLost):
        await link.call(command("PING"))
    with pytest.raises(StoreLost):
        await link.lost
    link.write(command("PING"))
    await link.close()


async def test_a_call_that_nobody_waits_for_does_not_shift_the_replies(redis: Redis) -> None:
    link = await Connector(redis.unix_url).open()
    given_up = asyncio.create_task(link.call(command("ECHO", "first")))
    await asyncio.sleep(0)
    given_up.cancel()
    assert await link.call(command("ECHO", "second")) == b"second"
    with pytest.raises(Rejected, match="unknown command"):
        await link.call(command("NONSENSE"))
    assert await link.call(command("ECHO", "third")) == b"third"
    await link.close()


# ---- refusals


async def test_a_connection_that_is_open_when_its_caller_goes_away_is_closed_with_the_others(redis: Redis) -> None:
    class LateClock(clock.Clock):
        async def resume(self, link: Connection) -> None:
            await super().resume(link)
            opened.append(link)

    class LateChannel(Channel):
        async def _look_whether_died(self, link: Connection) -> None:
            await super()._look_whether_died(link)
            asyncio.get_running_loop().call_soon(caller.cancel)

    opened: list[Connection] = []
    channel = LateChannel(Connector(redis.tcp_url), LateClock())
    caller = asyncio.create_task(channel.call(command("PING")))
    with pytest.raises(asyncio.CancelledError):
        await caller
    await channel.close()
    assert [link.lost.done() for link in opened] == [True]


async def test_full_memory_refuses_writes_but_not_deletes_and_recovers(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        # Its end has no revision before those of the writes.
        stop_the_sweep(redis)
        await store.write([put(b"a", b"x" * 1000), put(b"soon", ttl=1)], 1000)
        redis.cli("CONFIG", "SET", "maxmemory", "1")
        attempts = [asyncio.create_task(write(store, put(b"b%d" % number))) for number in range(20)]
        results = await asyncio.gather(*attempts, return_exceptions=True)
        assert all(isinstance(result, Unavailable) for result in results)
        assert "memory is full" in str(results[0])
        assert await write(store, Delete(b"a")) == [b"3"]
        let_it_sweep(redis)

        async def swept() -> bool:
            return redis.cli("ZCARD", "{kvd}:ttl") == "0"

        await eventually(swept)
        redis.cli("CONFIG", "SET", "maxmemory", "0")
        assert await write(store, put(b"c")) == [b"5"]
        assert await store.count(b"*") == 1


async def test_a_refused_batch_does_not_refuse_the_one_behind_it(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """The second is after the refused first, and could not be applied out of turn; it is sent again."""
    async with running(redis.unix_url) as store:
        await write(store, put(b"a"))
        redis.cli("CONFIG", "SET", "maxmemory", "1")
        first = asyncio.create_task(store.write([put(b"b%d" % number) for number in range(batching.BATCH_ITEMS)], 0))
        second = asyncio.create_task(write(store, *[Delete(b"a")] * batching.BATCH_ITEMS))
        results = await asyncio.gather(first, second, return_exceptions=True)
        assert isinstance(results[0], Unavailable)
        assert results[1] == [b"2", *[b"n"] * (batching.BATCH_ITEMS - 1)]
    assert "lost the store" not in caplog.text


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random"])
async def test_a_store_that_may_evict_is_refused(redis: Redis, policy: str) -> None:
    redis.cli("CONFIG", "SET", "maxmemory-policy", policy)
    with pytest.raises(StartError, match=rf"{policy}.*noeviction"):
        await Store(redis.unix_url).start()


async def test_keys_of_another_kind_are_refused_and_left_alone(redis: Redis) -> None:
    redis.cli("SET", "{kvd}:data", "mine")
    with pytest.raises(StartError, match="not a hash"):
        await Store(redis.unix_url).start()
    assert redis.cli("GET", "{kvd}:data") == "mine"


async def test_a_wrong_password_is_named(redis: Redis) -> None:
    with pytest.raises(StartError, match="password"):
        await Store(redis.tcp_url.replace("s3cret", "wrong")).start()


@pytest.mark.parametrize("url", ["http://x", "localhost:6379", "redis://h:port/0"])
async def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(StartError, match="redis://"):
        await Store(url).start()


# ---- the history


async def test_the_history_keeps_its_bounds_and_its_floor_is_exact(redis: Redis) -> None:
    async with running(redis.unix_url, retention=Retention(changes=1000)) as store:
        for number in range(300):
            await write(store, *(put(b"k%d" % i, b"%d" % number) for i in range(10)))

        async def trimmed() -> bool:
            return (await store.history())[1] >= 2000

        await eventually(trimmed)
        position, floor = await store.history()
        assert position.revision == 3000
        assert floor == 2000
        assert redis.cli("XRANGE", "{kvd}:log", "-", "+", "COUNT", "1").split()[0] == "2010-0"


async def test_the_history_is_bounded_in_bytes(redis: Redis) -> None:
    async with running(redis.unix_url, retention=Retention(bytes=100_000)) as store:
        for _ in range(100):
            await store.write([put(b"k", b"x" * 10_000)], 10_000)

        async def trimmed() -> bool:
            return (await store.history())[1] >= 90

        await eventually(trimmed)
        position, floor = await store.history()
        assert position.revision == 100
        assert floor <= 91
        assert int(redis.cli("XLEN", "{kvd}:log")) == 100 - floor


# ---- ranges

keys = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="*"), min_size=1).map(
    str.encode
)


@given(keys, keys, st.booleans())
def test_a_range_holds_what_matches_and_nothing_else(key: bytes, name: bytes, star: bool) -> None:
    least, most = bounds(name + b"*" * star)

    def holds(key: bytes) -> bool:
        return key >= least[1:] and (key <= most[1:] if most.startswith(b"[") else key < most[1:])

    assert holds(key) == (key.startswith(name) if star else key == name)
    assert holds(name + key) == star
    assert holds(name)


@pytest.mark.slow
async def test_listings_page_through_everything_once_in_byte_order(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        names = sorted(f"\u00e9-{number}|z{number}|\U0001f600{number}|a/{number}" for number in range(1200))
        names = sorted(name for joined in names for name in joined.split("|"))
        encoded = sorted(name.encode() for name in names)
        for start in range(0, len(encoded), 200):
            await write(store, *(put(key, key) for key in encoded[start : start + 200]))
        for pattern in (b"*", b"a/*", b"z1*", "\u00e9*".encode(), b"a/7", b"nope*"):
            wanted = [k for k in encoded if k == pattern or (pattern[-1:] == b"*" and k.startswith(pattern[:-1]))]
            listed = [item async for page in store.pages(KeyRange(pattern), records=True) for item in page.items]
            assert [key for key, _ in listed] == wanted
            assert [record and record.value for _, record in listed] == wanted
            assert await store.count(pattern) == len(wanted)
            after = wanted[len(wanted) // 2] if wanted else b"x"
            rest = [i async for p in store.pages(KeyRange(pattern, after, 1500), records=False) for i in p.items]
            assert [key for key, _ in rest] == [key for key in wanted if key > after][:1500]


@pytest.mark.usefixtures("patient")
async def test_a_daemon_that_was_idle_for_days_does_not_take_its_store_for_a_rewound_one(redis: Redis) -> None:
    async with proxied(redis) as (proxy, url), running(url) as store, running(redis.unix_url) as other:
        await write(store, put(b"k"))
        position, _ = await store.history()
        (field,) = [name for name in redis.cli("HKEYS", "{kvd}:meta").split() if name.startswith("batch:")]
        redis.cli("HSET", "{kvd}:meta", field, "1 1000")

        async def fresh() -> bool:
            return redis.cli("HGET", "{kvd}:meta", field) != "1 1000"

        await eventually(fresh)
        redis.cli("HSET", "{kvd}:meta", field, "1 1000")
        proxy.hiding = b"hide me"
        writing = asyncio.create_task(write(store, put(b"k", b"hide me")))
        pipe = await proxy.caught.get()
        proxy.hiding = None
        pipe.client.transport.abort()
        assert await writing == [b"2"]
        assert (await other.history())[0].store == position.store


@pytest.mark.usefixtures("patient")
async def test_a_store_that_was_idle_for_days_is_not_taken_for_a_rewound_one(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store's clock stands still while nothing is written; who comes back is there, also before the next trim."""
    monkeypatch.setattr(maintenance, "TRIM_INTERVAL", 3600)
    async with running(redis.unix_url) as store:
        await write(store, put(b"k"))
        position, _ = await store.history()
        (field,) = [name for name in redis.cli("HKEYS", "{kvd}:meta").split() if name.startswith("batch:")]
        redis.cli("HSET", "{kvd}:meta", "clock", "1000", field, "1 1000")
        redis.cli("CLIENT", "KILL", "TYPE", "normal")

        async def is_back() -> bool:
            return redis.cli("HGET", "{kvd}:meta", field) != "1 1000"

        await eventually(is_back)
        async with running(redis.unix_url) as other:
            assert await write(store, put(b"k")) == [b"2"]
            assert (await other.history())[0].store == position.store


@pytest.mark.slow
@pytest.mark.parametrize("daemons", [3])
async def test_expiry_with_three_daemons_on_one_store_is_logged_once(redis: Redis, daemons: int) -> None:
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(running(redis.unix_url)) for _ in range(daemons)]
        for number in range(300):
            await write(stores[number % daemons], put(b"k%d" % number, ttl=50 + number))

        async def swept() -> bool:
            return redis.cli("ZCARD", "{kvd}:ttl") == "0"

        await eventually(swept)
        log = redis.cli("XRANGE", "{kvd}:log", "-", "+").split()
        assert sorted(word for word in log if word.startswith("ek")) == sorted(f"ek{n}" for n in range(300))


async def test_many_small_transactions_in_a_batch_cost_no_more_than_they_must(redis: Redis) -> None:
    """What a transaction may have to undo is its own keys, however many others share its batch."""
    async with running(redis.unix_url) as store:
        one = [Transaction((put(b"a%d" % n), Increment(b"n%d" % n, b"1"))) for n in range(100)]
        outcomes = await asyncio.gather(*(store.transact(transaction, 0) for transaction in one))
        assert sorted(map(int, outcomes)) == [2 * n + 2 for n in range(100)]
        bad = Transaction((put(b"a0", b"changed"), Delete(b"a1"), Increment(b"a2", b"1")))
        mixed = await asyncio.gather(*(store.transact(t, 0) for t in [one[0], bad, one[1]]))
        assert mixed[1] == b"a"
        assert await value_of(store, b"a0") == b"v"
        assert await value_of(store, b"n1") == b"2"


async def test_the_history_says_which_changes_belong_together(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        start, _ = await store.history()
        await write(store, put(b"a"), put(b"b"))
        await store.transact(Transaction((put(b"c"), put(b"d", b"\0", kind=BYTES), Delete(b"a"))), 0)
        await write(store, put(b"e"))
        changes = await store.changes_after(start)
        assert [(change.key, change.more) for change in changes] == [
            (b"a", False), (b"b", False), (b"c", True), (b"d", True), (b"a", False), (b"e", False),
        ]  # fmt: skip


async def test_a_file_that_has_grown_over_many_restarts_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "SHRINK_INTERVAL", 0.05)
    monkeypatch.setattr(maintenance, "LEAST_FILE", 1_000_000)
    own = partial(Store, free_space=on_disk(tmp_path), retention=Retention(changes=1))
    async with serving(tmp_path / "data", own) as service:
        for number in range(200):
            await write(service.store, put(b"k", b"%05d" % number * 10_000))

        async def is_short() -> bool:
            # A file may go while it is looked for: it was written anew; perhaps amid the writes, and then it may go on
            # up to twice the memory that an engine takes, a fraction of the 10 MB that were written.
            with suppress(FileNotFoundError):
                return sum(file.stat().st_size for file in AppendOnlyFile(tmp_path / "data").files()) < 5_000_000
            return False

        await eventually(is_short)
        record = await service.store.fetch(b"k")
        assert record
        assert record.value == b"00199" * 10_000


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
async def test_history_that_leaves_no_room_to_write_the_file_anew_gives_way_to_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 32 MiB a quarter is the reserve, beside which a file with 20 MiB of history has no room."""
    monkeypatch.setattr(maintenance, "SHRINK_INTERVAL", 0.05)
    values = [b64encode(random.Random(number).randbytes(12_000)) for number in range(6000)]
    wanted = list(values)
    with small_disk(tmp_path / "small", 32):
        own = partial(Store, free_space=on_disk(tmp_path / "small"), retention=Retention(bytes=20_000_000))
        async with serving(tmp_path / "small" / "data", own) as service, asyncio.timeout(60):
            while wanted:
                try:
                    await write(service.store, put(b"k", wanted[-1]))
                    wanted.pop()
                except Unavailable:
                    await asyncio.sleep(0.01)
            record = await service.store.fetch(b"k")
            assert record
            assert record.value == values[0]

            async def is_shorter() -> bool:
                position, floor = await service.store.history()
                return position.revision - floor <= 10_000_000 / len(values[0])

            await eventually(is_shorter)
