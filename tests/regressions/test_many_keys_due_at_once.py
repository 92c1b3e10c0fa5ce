"""120,000 keys were due at once: EXPIRE lines came up to 16 s late, and each COUNT kept all others waiting for 100 ms.

With 300,000 due and five connections that repeated COUNT, expiry all but stopped.  No step of the store may grow with
what is due, and the answers stay exact.
"""

import asyncio
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from kvd.requests import Delete, KeyRange
from kvd.store.redis import expiry, turns
from kvd.store.redis.connection import ALL, META, Connector, script
from kvd.store.redis.scripts import SHAS
from kvd.store.redis.store import Store
from tests.support.peers import Peer
from tests.support.processes import Redis, StartDaemon, wait_for
from tests.support.stores import eventually, put, running, write

DUE = 5000
"""Keys: five times what one call looks at."""
MOST_LOOKED_AT = 1024
"""Keys that one command of a script may go through."""


@contextmanager
def commands(redis: Redis, path: Path) -> Iterator[list[str]]:
    """What Redis does meanwhile, those commands too that scripts call; complete after the block."""
    seen: list[str] = []
    with path.open("wb") as output:
        socket = str(redis.directory / "redis.sock")
        monitor = subprocess.Popen(
            ["redis-cli", "-s", socket, "--no-auth-warning", "-a", redis.password, "MONITOR"], stdout=output
        )
        try:
            wait_for("MONITOR", lambda: path.read_bytes().startswith(b"OK"))
            yield seen
            redis.cli("ECHO", "the end")
            wait_for("the end", lambda: b'"the end"' in path.read_bytes())
        finally:
            monitor.terminate()
            monitor.wait()
    seen += path.read_text().splitlines()


def are_bounded(seen: list[str]) -> None:
    """No command went through more keys than one call may look at."""
    for line in seen:
        if " lua] " not in line:
            continue
        words = re.findall(r'"([^"]*)"', line)
        name = words[0].upper()
        if name == "ZRANGE":
            assert int(words[3]) - int(words[2]) < MOST_LOOKED_AT, line
        elif name in ("ZRANGEBYSCORE", "ZRANGEBYLEX") and "LIMIT" in words:
            assert int(words[words.index("LIMIT") + 2]) <= MOST_LOOKED_AT, line
        elif name == "ZRANGEBYSCORE":
            raise AssertionError(f"without a bound: {line}")
        elif name in ("ZMSCORE", "ZREM", "HDEL", "HMGET"):
            assert len(words) <= MOST_LOOKED_AT + 2, line


def calls(seen: list[str], name: str) -> int:
    """How often a script was called: others are called from time to time."""
    return sum(f' "EVALSHA" "{SHAS[name]}"' in line for line in seen)


LIFE = 3600
"""Seconds that keys live which are not to be due before a test says so."""


def fill(peer: Peer) -> None:
    """Write keys that are due in an hour."""
    for first in range(0, DUE, 500):
        peer.send("".join(f"PUT t/{number:05} ttl={LIFE} = v\n" for number in range(first, first + 500)))
        assert all(line.startswith("OK ") for line in peer.lines(500))


def let_pass(redis: Redis) -> None:
    """Put the store's clock beyond that hour: all of them are due at once."""
    redis.cli("HSET", META.decode(), "clock", str(int(time.time() + 2 * LIFE) * 1000))


@pytest.mark.slow
def test_counts_without_end_hold_up_neither_expiry_nor_others(
    start_daemon: StartDaemon, redis: Redis, tmp_path: Path
) -> None:
    daemon = start_daemon("--store", redis.unix_url)
    with daemon.connect() as peer, daemon.connect() as watcher, commands(redis, tmp_path / "commands") as seen:
        assert peer.ask("SET stays v").startswith("OK ")
        fill(peer)
        assert watcher.ask("WATCH t/*").startswith("OK ")
        with ExitStack() as stack:
            counters = [stack.enter_context(daemon.connect()) for _ in range(5)]
            found = [[DUE] * 5]
            let_pass(redis)
            while found[-1] != [0] * 5:
                for counter in counters:
                    counter.send("COUNT t/*\n")
                found.append([int(counter.line().split()[1]) for counter in counters])
        lines = watcher.lines(DUE)
        assert peer.ask("COUNT") == "OK 1"
    keys = [line.split()[3] for line in lines if " EXPIRE " in line]
    assert sorted(keys) == [f"t/{number:05}" for number in range(DUE)]
    # None comes back.
    for counts in zip(*found, strict=True):
        assert list(counts) == sorted(counts, reverse=True)
    are_bounded(seen)


@pytest.fixture
def no_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Due keys stay."""
    monkeypatch.setattr(expiry.Sweep, "run", never)


async def never(_: expiry.Sweep) -> None:
    await asyncio.Event().wait()


async def fill_due(store: Store, redis: Redis) -> None:
    """Write keys that are due when this returns: a third of them beside the range t/."""
    for first in range(0, DUE, 250):
        await write(
            store, *(put(b"u/%05d" % n if n % 3 == 0 else b"t/%05d" % n, ttl=1) for n in range(first, first + 250))
        )

    async def are_due() -> bool:
        return await store.count(b"*") == 0

    await eventually(are_due)
    assert redis.cli("ZCARD", "{kvd}:ttl") == str(DUE)


@pytest.mark.usefixtures("no_sweep")
async def test_a_count_in_several_steps_is_exact_whatever_is_written_meanwhile(redis: Redis, tmp_path: Path) -> None:
    async with running(redis.unix_url) as store, running(redis.unix_url) as other:
        await fill_due(store, redis)
        await write(store, *(put(b"t/living%04d" % n) for n in range(200)))
        await write(store, *(put(b"t/later%04d" % n, ttl=LIFE * 1000) for n in range(200)))
        assert await store.count(b"t/*") == 400
        living = 400
        done = asyncio.Event()

        async def change() -> None:
            """Due keys go, keys come: what a count is between is kept on both sides."""
            nonlocal living
            for number in range(600):
                await write(other, Delete(b"t/%05d" % (number * 7 % DUE)), put(b"t/new%04d" % number))
                living += 1
            done.set()

        changing = asyncio.create_task(change())
        with commands(redis, tmp_path / "commands") as seen:
            while not done.is_set():
                before = living
                counts = await asyncio.gather(*(store.count(b"t/*") for _ in range(20)))
                # A write may be done and not yet be acknowledged.
                assert all(before <= count <= living + 1 for count in counts)
            await changing
            assert await store.count(b"t/*") == living == 1000
            assert await store.count(b"u/*") == 0
        are_bounded(seen)


@pytest.mark.usefixtures("no_sweep")
async def test_many_who_count_the_same_share_the_work(redis: Redis, tmp_path: Path) -> None:
    async with running(redis.unix_url) as store:
        await fill_due(store, redis)
        with commands(redis, tmp_path / "commands") as seen:
            assert await asyncio.gather(*(store.count(b"t/*") for _ in range(100))) == [0] * 100
        # Each looks once for itself; then one goes through all of them, twice at the most.
        assert 100 <= calls(seen, "count") <= 100 + 2 * DUE // 1000 + 1


async def test_a_store_that_may_not_be_written_to_is_counted_without_a_sweep(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(expiry.Sweep, "run", never)
        async with running(redis.unix_url) as store:
            await fill_due(store, redis)
            await write(store, put(b"t/living"), *(put(b"t/later%d" % n, ttl=LIFE * 1000) for n in range(9)))
    full = Store(redis.unix_url, free_space=lambda _: 0.0)
    housekeeping = asyncio.create_task(full._housekeeping.run())
    try:
        assert await full.count(b"t/*") == 10
        assert await full.count(b"t/l*") == 10
        assert await full.count(b"t/00001") == 0
        assert await full.count(b"*") == 10
    finally:
        housekeeping.cancel()
        await asyncio.gather(housekeeping, return_exceptions=True)
        await full.close()
    assert redis.cli("ZCARD", "{kvd}:ttl") == str(DUE + 9)


@pytest.mark.usefixtures("no_sweep")
@pytest.mark.parametrize("records", [True, False])
async def test_a_listing_passes_over_due_keys_in_few_bounded_steps(redis: Redis, tmp_path: Path, records: bool) -> None:
    """Looking for one key after thousands that were due took a call for each of them."""
    async with running(redis.unix_url) as store:
        await fill_due(store, redis)
        await write(store, *(put(b"u/z%03d" % n) for n in range(150)))
        for limit in (1, 2, 100, 149, 0):
            with commands(redis, tmp_path / f"commands{limit}") as seen:
                pages = store.pages(KeyRange(b"*", limit=limit), records=records)
                listed = [key async for page in pages for key, _ in page.items]
            assert listed == [b"u/z%03d" % n for n in range(limit or 150)]
            assert 0 < calls(seen, "page") <= DUE // 1000 + 3
            are_bounded(seen)


@pytest.mark.slow
@pytest.mark.parametrize("others", [True, False])
async def test_the_sweep_makes_way_for_whoever_asks_meanwhile(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, others: bool
) -> None:
    monkeypatch.setattr(turns, "TURN_PAUSE", 3600)
    # Others ask for something during each step that deletes keys.
    monkeypatch.setattr(Store, "_asked", lambda _: int(redis.cli("ZCARD", "{kvd}:ttl")) if others else 0)
    with monkeypatch.context() as patch:
        patch.setattr(expiry.Sweep, "run", never)
        async with running(redis.unix_url) as store:
            await fill_due(store, redis)
    left = DUE - expiry.SWEEP_KEYS if others else 0

    async def has_come_so_far() -> bool:
        return redis.cli("ZCARD", "{kvd}:ttl") == str(left)

    async with running(redis.unix_url) as store:
        await eventually(has_come_so_far)
        for _ in range(20):
            await store.history()
        assert await has_come_so_far()
    entries = redis.cli("XRANGE", "{kvd}:log", "-", "+").split()
    assert sum(word[:2] in ("et", "eu") for word in entries) == DUE - left


@pytest.mark.usefixtures("no_sweep")
async def test_a_daemon_leaves_a_sweep_to_another_that_is_at_it(redis: Redis) -> None:
    async with running(redis.unix_url) as store:
        await fill_due(store, redis)
        link = await Connector(redis.unix_url).open()

        async def sweep(daemon: str) -> tuple[int, int]:
            found, _, behind, _ = await link.call(script("sweep", ALL, [daemon, 0, 10]))
            return found, behind

        async def is_left() -> bool:
            assert (await sweep("a")) in ((10, 1), (0, 1))
            return await sweep("b") == (0, 1)

        async def is_taken_over() -> bool:
            return await sweep("b") == (10, 1)

        await eventually(is_left)
        await eventually(is_taken_over)
        await link.close()
