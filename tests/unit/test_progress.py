"""kvd.session.progress: many are told at their intervals by one timer, a bounded number of them in one round."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from kvd.session.progress import ROUND_INTERVAL, ROUND_LINES, ProgressTimer
from tests.support.processes import PATIENCE

EARLY = 0.0001
"""Seconds by which sums of the loop's times may be less than they should be."""


class Told:
    """When somebody was told."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self) -> None:
        self.times.append(asyncio.get_running_loop().time())


@pytest.fixture
async def own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop's time passes only while it waits, and then at once: however busy the machine is, nothing is late."""
    loop: Any = asyncio.get_running_loop()
    select, now = loop._selector.select, loop.time()

    def wait(seconds: float | None = None) -> Any:
        nonlocal now
        now += seconds or 0
        return select(0)

    monkeypatch.setattr(loop._selector, "select", wait)
    monkeypatch.setattr(loop, "time", lambda: now)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # what changes has no event
            await asyncio.sleep(0.001)


@pytest.mark.usefixtures("own_time")
async def test_each_is_told_at_its_own_interval_until_it_stops() -> None:
    timer = ProgressTimer()
    quick, slow = Told(), Told()
    began = asyncio.get_running_loop().time()
    turns = [timer.start(slow, 0.1), timer.start(quick, 0.03)]
    await until(lambda: len(slow.times) == 2)
    assert len(quick.times) == 6
    for told, seconds in ((quick, 0.03), (slow, 0.1)):
        times = [began, *told.times]
        # What is due within a round's interval is told together.
        assert all(0 < later - earlier - seconds + EARLY < ROUND_INTERVAL for earlier, later in pairwise(times))
    timer.stop(turns[1])
    await until(lambda: len(slow.times) == 3)
    assert len(quick.times) == 6
    timer.stop(turns[0])


async def test_nothing_is_left_when_all_have_stopped() -> None:
    timer = ProgressTimer()
    turns = [timer.start(Told(), 0.01 * number) for number in range(1, 10)]
    assert timer._timer
    for turn in turns:
        timer.stop(turn)
    assert not timer._timer
    assert not timer._turns


async def test_those_that_stop_long_before_their_time_do_not_pile_up() -> None:
    timer = ProgressTimer()
    stays = timer.start(Told(), 3600)
    for _ in range(1000):
        timer.stop(timer.start(Told(), 3600))
    assert len(timer._turns) < 5
    timer.stop(stays)


@pytest.mark.usefixtures("own_time")
@pytest.mark.parametrize("more", [1, ROUND_LINES + 1])
async def test_a_round_is_bounded_and_the_longest_due_come_first(more: int) -> None:
    timer = ProgressTimer()
    many = [Told() for _ in range(ROUND_LINES + more)]
    turns = [timer.start(told, 0.02) for told in many]
    await until(lambda: all(len(told.times) > 2 for told in many))
    # Nobody is told twice before another is told once.
    firsts, seconds = ([told.times[place] for told in many] for place in (0, 1))
    assert max(firsts) <= min(seconds)
    rounds = -(-len(many) // ROUND_LINES)
    assert max(firsts) - min(firsts) > (rounds - 1) * (ROUND_INTERVAL - EARLY)
    for turn in turns:
        timer.stop(turn)
