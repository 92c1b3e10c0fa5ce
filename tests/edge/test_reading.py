"""What an edge's copy gives while it changes."""

import asyncio
import time
from dataclasses import replace

from kvd.edge.store import EdgeStore
from kvd.model import TEXT, Change, Position
from kvd.settings import Settings
from tests.support.processes import PATIENCE


async def test_a_page_is_of_the_position_that_it_names() -> None:
    """A copy (SYNC) asks for changes after that position, and would lack what came while others had their turn."""
    store = EdgeStore(replace(Settings(), follow=("127.0.0.1:1",), max_stale=PATIENCE))
    store._freshness.confirm(time.monotonic())
    begun: list[asyncio.Task[None]] = []

    async def change() -> None:
        position = store.feed.position or Position(0, b"s")
        store.feed.position = position._replace(revision=position.revision + 1)
        store.feed.copy.apply([Change(position.revision + 1, b"SET", b"k%d" % position.revision, TEXT, b"v")])

    for _ in range(3):
        begun.append(asyncio.create_task(change()))
        (position, items), _ = await store.page(b"*", b"")
        assert len(items) == position.revision
    await asyncio.gather(*begun)
    assert len((await store.page(b"*", b""))[0].items) == 3
    await store.close()
