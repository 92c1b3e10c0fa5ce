"""kvd.asked_once: what many ask at once is asked once, and nobody is left waiting."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest

from kvd import asked_once
from kvd.asked_once import AT_ONCE, AskedOnce
from kvd.errors import Unavailable
from tests.support.processes import PATIENCE


class Store:
    """Counts, and answers when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.failures: list[Unavailable] = []

    async def ask(self) -> int:
        self.asked += 1
        number = self.asked
        await self.may_answer.wait()
        if self.failures:
            raise self.failures.pop()
        return number


def ask(once: AskedOnce[int], count: int) -> list[asyncio.Task[int]]:
    return [asyncio.ensure_future(once.ask()) for _ in range(count)]


async def ends(callers: Sequence[asyncio.Task[int]]) -> list[int | BaseException]:
    async with asyncio.timeout(PATIENCE):
        return await asyncio.gather(*callers, return_exceptions=True)


async def test_who_asks_while_one_is_in_flight_gets_the_answer_to_the_next() -> None:
    store = Store()
    once = AskedOnce(store.ask)
    first = ask(once, 100)
    while not store.asked:  # noqa: ASYNC110  # it has no event
        await asyncio.sleep(0)
    later = ask(once, 100)
    await asyncio.sleep(0)
    store.may_answer.set()
    assert (await ends(first), await ends(later)) == ([1] * 100, [2] * 100)


async def test_a_refusal_is_that_of_those_who_asked_then() -> None:
    store = Store()
    once = AskedOnce(store.ask)
    store.failures = [Unavailable("gone")]
    store.may_answer.set()
    refused = await ends(ask(once, 3))
    assert [str(end) for end in refused] == ["gone"] * 3
    assert len(set(map(id, refused))) == 3
    assert await ends(ask(once, 1)) == [2]


@pytest.mark.parametrize(("patience", "later"), [(0.0, "gone"), (PATIENCE, "2")])
async def test_who_has_waited_long_shares_a_refusal(
    monkeypatch: pytest.MonkeyPatch, patience: float, later: str
) -> None:
    """The next answer may take as long, and both together longer than a reply may."""
    monkeypatch.setattr(asked_once, "PATIENCE", patience)
    store = Store()
    once = AskedOnce(store.ask)
    callers = ask(once, 1)
    while not store.asked:  # noqa: ASYNC110  # it has no event
        await asyncio.sleep(0)
    callers += ask(once, 2)
    await asyncio.sleep(0)
    store.failures = [Unavailable("gone")]
    store.may_answer.set()
    assert list(map(str, await ends(callers))) == ["gone", later, later]


async def test_who_goes_away_leaves_it_to_the_others() -> None:
    store = Store()
    once = AskedOnce(store.ask)
    gone, there = ask(once, 2)
    while not store.asked:  # noqa: ASYNC110  # it has no event
        await asyncio.sleep(0)
    gone.cancel()
    store.may_answer.set()
    assert await ends([there]) == [1]
    with suppress(asyncio.CancelledError):
        await gone


@pytest.mark.parametrize("turns", range(6))
async def test_nobody_waits_for_one_that_is_closed(turns: int) -> None:
    store = Store()
    store.may_answer.set()
    once = AskedOnce(store.ask)
    callers = ask(once, 4 * AT_ONCE)
    for _ in range(turns):
        await asyncio.sleep(0)
    once.close()
    ended = await ends(callers)
    assert all(end == 1 or isinstance(end, asyncio.CancelledError) for end in ended)
