"""kvd.store.redis.patience: what may take so long, and is not given up for a pause of the machine."""

import asyncio
import time

import pytest

from kvd.errors import StoreLost
from kvd.store.redis.patience import within

LONG = 0.8
"""Seconds."""


async def test_what_takes_too_long_is_given_up() -> None:
    ended: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with pytest.raises(TimeoutError):
        await within(0.02, work())
    assert ended


async def test_a_pause_of_the_machine_is_not_taken_for_all_of_the_time() -> None:
    """Found: a daemon whose machine paused for five seconds as it came to its own engine said that there is none."""
    came = asyncio.Event()
    working = asyncio.create_task(within(LONG, came.wait()))
    await asyncio.sleep(0.01)
    time.sleep(LONG + 0.1)  # noqa: ASYNC251  # nothing goes on meanwhile, as in a pause
    # It sees the end of its time, and what it waits for comes a moment later.
    await asyncio.sleep(0.01)
    came.set()
    assert await working


async def test_what_is_raised_passes_and_who_is_cancelled_waits_no_more() -> None:
    async def lose() -> None:
        raise StoreLost("gone")

    with pytest.raises(StoreLost, match="gone"):
        await within(LONG, lose())
    waiting = asyncio.create_task(within(3600, asyncio.Event().wait()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
