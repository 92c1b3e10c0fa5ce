"""Many requests of one kind on a connection."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar, cast

from kvd.client.pipelines import IN_FLIGHT
from kvd.errors import KvdError

Outcome = TypeVar("Outcome")


async def each(ask: Callable[[str], Awaitable[Outcome]], words: Sequence[str], outcomes: list[Outcome | None]) -> None:
    """Ask for every word, in order; put what comes of it into the same place of `outcomes`, as it comes."""
    asked = iter(enumerate(words))

    async def ask_on() -> None:
        for place, word in asked:
            outcomes[place] = await ask(word)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(IN_FLIGHT, len(words))):
            group.create_task(ask_on())


async def every(ask: Callable[[str], Awaitable[Outcome]], words: Sequence[str]) -> list[Outcome]:
    """Ask for every word; return what came, in order.  Raises what the first one raised that failed."""
    outcomes: list[Outcome | None] = [None] * len(words)
    try:
        await each(ask, words, outcomes)
    except* KvdError as errors:
        raise errors.exceptions[0] from None
    return cast(list[Outcome], outcomes)
