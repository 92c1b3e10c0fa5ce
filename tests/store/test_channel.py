"""Calls that go one at a time, to a store that is away."""

import asyncio
import time
from pathlib import Path

from kvd.errors import Unavailable
from kvd.store.redis.channel import Channel
from kvd.store.redis.clock import Clock
from kvd.store.redis.connection import Connector, command

CALLS = 8


async def test_while_the_store_is_away_many_wait_no_longer_than_one(tmp_path: Path) -> None:
    """They waited one after the other, for a second each."""
    channel = Channel(Connector(f"unix://{tmp_path}/nobody.sock", direct=True), Clock())

    async def took(count: int) -> float:
        begun = time.monotonic()
        found = await asyncio.gather(*(channel.call(command("PING")) for _ in range(count)), return_exceptions=True)
        assert [type(one) for one in found] == [Unavailable] * count
        return time.monotonic() - begun

    alone = await took(1)
    assert await took(CALLS) < alone * CALLS / 2
