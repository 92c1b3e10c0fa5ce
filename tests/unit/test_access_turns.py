"""kvd.access.turns: who waits, in which order."""

import asyncio

from kvd.access.turns import Turns


async def test_addresses_take_turns_however_many_of_one_wait() -> None:
    turns = Turns(2)
    begun: list[str] = []
    most = running = 0

    async def one(name: str) -> None:
        nonlocal most, running
        async with turns.of(name[0]):
            begun.append(name)
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    names = [f"a{number}" for number in range(8)] + ["b0", "b1", "c0"]
    await asyncio.gather(*map(one, names))
    assert begun == ["a0", "a1", "a2", "b0", "c0", "a3", "b1", "a4", "a5", "a6", "a7"]
    assert most == 2


async def test_one_that_fails_or_was_given_up_keeps_no_place() -> None:
    turns = Turns(1)
    gone = asyncio.Event()

    async def fail() -> None:
        async with turns.of("a"):
            await gone.wait()
            raise ValueError

    async def wait() -> str:
        async with turns.of("b"):
            return "done"

    failing, given_up, waiting = asyncio.create_task(fail()), asyncio.create_task(wait()), asyncio.create_task(wait())
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.sleep(0)
    gone.set()
    assert await waiting == "done"
    assert await wait() == "done"
    assert isinstance(failing.exception(), ValueError)
