"""What the store does by itself makes way for what others ask meanwhile."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest
import uvloop

from kvd.store.redis import turns
from kvd.store.redis.turns import Turns, pause


class Others:
    """Those who ask for something."""

    def __init__(self) -> None:
        self.asked = 0

    async def ask(self) -> None:
        """A step in whose time they do."""
        self.asked += 1


async def _nothing() -> None:
    """A step in whose time nobody asks for anything."""


async def _is_waited_for(work: Coroutine[Any, Any, None]) -> bool:
    """Whether something is not done at once; it is not done at all then."""
    task = asyncio.create_task(work)
    for _ in range(10):
        await asyncio.sleep(0)
    is_done = task.done()
    task.cancel()
    return not is_done


async def test_no_step_of_any_kind_follows_at_once_on_one_in_whose_time_others_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "TURN_PAUSE", 3600)
    others = Others()
    own = Turns(lambda: others.asked)
    assert not await _is_waited_for(own.take(_nothing))
    others.asked += 1
    assert not await _is_waited_for(own.take(_nothing))
    await own.take(others.ask)
    assert await _is_waited_for(own.take(_nothing))


async def test_steps_are_taken_one_at_a_time() -> None:
    own, ended = Turns(lambda: 0), asyncio.Event()
    first = asyncio.create_task(own.take(ended.wait))
    await asyncio.sleep(0)
    assert await _is_waited_for(own.take(_nothing))
    ended.set()
    assert await first
    await own.take(_nothing)


def test_a_pause_is_no_shorter_than_it_should_be() -> None:
    async def shortest() -> float:
        lengths = []
        for _ in range(30):
            # From any place between two milliseconds.
            while time.monotonic() % 0.001 < 0.0008:
                pass
            began = time.monotonic()
            await pause(0.001)
            lengths.append(time.monotonic() - began)
        return min(lengths)

    assert uvloop.run(shortest()) >= 0.001
