"""A crowd that begins to watch leaves others their turns."""

import asyncio
from itertools import pairwise

from kvd.watch.beginnings import LEAST, MOST, Beginnings

CROWD = 3 * MOST


async def test_a_crowd_is_let_in_by_portions_in_its_order() -> None:
    beginnings, let_in = Beginnings(), list[int]()
    portions = [0]

    async def begin(number: int) -> None:
        await beginnings.enter()
        let_in.append(number)

    crowd = [asyncio.create_task(begin(number)) for number in range(CROWD)]
    while len(let_in) < CROWD:
        # One turn of the loop, in which others are served.
        await asyncio.sleep(0)
        portions.append(len(let_in))
    await asyncio.gather(*crowd)
    assert let_in == list(range(CROWD))
    assert portions[1] <= LEAST
    assert all(after - before <= MOST for before, after in pairwise(portions))


async def test_nobody_waits_who_is_alone() -> None:
    beginnings = Beginnings()
    for _ in range(2 * MOST):
        alone = beginnings.enter()
        try:
            alone.send(None)
        except StopIteration:
            pass
        else:
            raise AssertionError("it waits")
        await asyncio.sleep(0)


async def test_those_who_have_gone_take_no_turn() -> None:
    beginnings = Beginnings()
    crowd = [asyncio.create_task(beginnings.enter()) for _ in range(CROWD)]
    await asyncio.sleep(0)
    for task in crowd[LEAST:-1]:
        task.cancel()
    await asyncio.wait_for(crowd[-1], 10)
