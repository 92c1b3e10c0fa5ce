"""Until when a copy may be shown."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from kvd.edge.freshness import Freshness
from kvd.edge.proof import Proof
from kvd.errors import Unavailable
from kvd.model import Position
from tests.support.processes import PATIENCE

BEFORE, LOST, AFTER = Position(1, b"before"), Position(3, b"before"), Position(100, b"after")


class Upstream:
    """A `Pipe` to one that says where it is."""

    def __init__(self, *positions: Position) -> None:
        self._positions = list(positions)

    def ask(self, data: bytes, lines: int, done: Callable[..., Any]) -> None:  # noqa: ARG002
        done([b"OK " + bytes(self._positions.pop(0))], None, True)


async def turns() -> None:
    """As many as it takes until an answer is waited for."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_what_an_ended_history_had_is_waited_for_no_longer() -> None:
    """The upstream told of a revision that was lost with it: the copy of the new history may be shown at once."""
    freshness = Freshness(2 * PATIENCE)
    freshness.hub.start(BEFORE)
    proof = Proof(Upstream(LOST, AFTER), freshness, lambda: None)  # type: ignore[arg-type]
    asked = asyncio.create_task(proof.position())
    await turns()
    assert not asked.done()
    freshness.doubt()
    freshness.hub.start(AFTER)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(Unavailable):
            await asked
        assert await proof.position() == AFTER
    freshness.check()


async def test_what_a_history_has_is_waited_for_until_it_begins() -> None:
    freshness = Freshness(PATIENCE)
    freshness.hub.start(BEFORE)
    proof = Proof(Upstream(AFTER), freshness, lambda: None)  # type: ignore[arg-type]
    asked = asyncio.create_task(proof.position())
    await turns()
    assert not asked.done()
    freshness.hub.start(AFTER)
    assert await asked == AFTER
