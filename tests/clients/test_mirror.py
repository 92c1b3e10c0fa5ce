"""A mirror: a live copy, with both faces of the library."""

import asyncio
import itertools
from typing import Any

import pytest

from kvd.client import Item, Unreachable
from kvd.errors import ConnectionLost, Usage
from tests.support.faces import Connect
from tests.support.ports import quiet_port
from tests.support.processes import Daemon

NAMES = map(str, itertools.count())
"""Of keys that no other test has."""


async def test_it_is_a_mapping_that_is_kept_up_to_date(shared_daemon: Daemon, connect: Connect) -> None:
    root = f"m{next(NAMES)}"
    async with await connect(shared_daemon.addr) as kv:
        first = await kv.set(f"{root}/a", "1")
        async with kv.mirror(f"{root}/*") as mirror:
            assert dict(mirror) == {f"{root}/a": b"1"} == mirror
            assert mirror.item(f"{root}/a") == Item(f"{root}/a", b"1", first)
            revision = await kv.set(f"{root}/b", b"\xff")
            await mirror.reach(revision)
            assert list(mirror.items()) == [(f"{root}/a", b"1"), (f"{root}/b", b"\xff")]
            await mirror.reach(await kv.delete(f"{root}/a"))
            assert (f"{root}/a" in mirror, len(mirror), list(mirror.values())) == (False, 1, [b"\xff"])
            assert (mirror.get(f"{root}/a"), mirror.item(f"{root}/a")) == (None, None)
            with pytest.raises(KeyError):
                mirror[f"{root}/a"]
            items, position = mirror.snapshot()
            assert (list(items), position) == ([f"{root}/b"], mirror.position)


async def test_it_reaches_what_does_not_match_at_once(shared_daemon: Daemon, connect: Connect) -> None:
    """It asks how far the store is, more often than to notice that a daemon is silent."""
    async with await connect(shared_daemon.addr) as kv, kv.mirror("nothing") as mirror:
        for _ in range(3):
            await mirror.reach(await kv.set("something", ""), 5)
        with pytest.raises(TimeoutError):
            await mirror.reach(2**53 - 1, 0.05)
        with pytest.raises(Usage, match="invalid position"):
            await mirror.reach("7")
        await mirror.reach(mirror.position)


async def test_a_transaction_is_in_it_as_a_whole(shared_daemon: Daemon, connect: Connect) -> None:
    root = f"m{next(NAMES)}"
    async with await connect(shared_daemon.addr) as kv, kv.mirror(f"{root}/*") as mirror:
        seen: set[tuple[bytes | None, ...]] = set()
        is_over = asyncio.Event()

        async def look() -> None:
            while not is_over.is_set():
                items = mirror.snapshot()[0]
                seen.add(tuple(items[key].value for key in sorted(items)))
                await asyncio.sleep(0)

        looking = asyncio.create_task(look())
        for number in range(50):
            async with kv.transaction() as together:
                for key in "abcdef":
                    together.set(f"{root}/{key}", str(number))
        await mirror.reach(together.revision)
        is_over.set()
        await looking
        assert all(len(set(values)) <= 1 and len(values) in (0, 6) for values in seen)
        assert len(seen) > 1


async def test_it_lasts_through_a_restart(daemon: Daemon, connect: Connect) -> None:
    async with await connect(daemon.addr) as kv, kv.mirror() as mirror:
        await kv.set("a", "1")
        await asyncio.to_thread(daemon.stop)
        await asyncio.to_thread(daemon.start)
        await mirror.reach(await kv.set("b", "2"))
        assert dict(mirror) == {"a": b"1", "b": b"2"}


async def test_it_ends(shared_daemon: Daemon, connect: Connect) -> None:
    async with await connect(shared_daemon.addr) as kv:
        mirror: Any = kv.mirror("ends/*")
        await kv.set("ends/a", "1")
        async with mirror:
            waiting = asyncio.create_task(mirror.reach(2**53 - 1))
            await asyncio.sleep(0.05)
            await mirror.close()
            with pytest.raises(ConnectionLost, match="has ended"):
                await waiting
        assert mirror["ends/a"] == b"1"
        with pytest.raises(ConnectionLost, match="has ended"):
            await mirror.reach(2**53 - 1)


async def test_nobody_answers(connect: Connect, daemon: Daemon) -> None:
    async with await connect([daemon.addr, f"127.0.0.1:{quiet_port()}"]) as kv:
        await asyncio.to_thread(daemon.stop)
        with pytest.raises(Unreachable):
            async with kv.mirror():
                pass
