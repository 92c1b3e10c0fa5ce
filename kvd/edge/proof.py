"""Whether the copy is up to date: the upstream is asked over and over where the store is."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from kvd.asked_once import AskedOnce
from kvd.edge.freshness import Freshness
from kvd.edge.pipe import POSITION, Pipe, position_of
from kvd.errors import Refusal
from kvd.model import Position

PROBES = 10
"""How often within `--max-stale` it is made sure that the copy is up to date."""
LEAST_PROBE = 0.02
"""Seconds between two of these at the least, and
MOST_PROBE: at the most."""
MOST_PROBE = 1.0


class Proof:
    """Keep `run` running; `close` it."""

    def __init__(self, pipe: Pipe, freshness: Freshness, is_behind: Callable[[], None]) -> None:
        """pipe: to an upstream.  is_behind: called when the copy was brought nothing of what that one has."""
        self._pipe = pipe
        self._freshness = freshness
        self._is_behind = is_behind
        self._probe = min(MOST_PROBE, max(LEAST_PROBE, freshness.max_stale / PROBES))
        self._position = AskedOnce(self._ask)

    async def run(self) -> None:
        """Prove it until cancelled."""
        while True:
            with suppress(Refusal):
                await self.position()
            is_shown = time.monotonic() < self._freshness.until
            await asyncio.sleep(self._probe if is_shown else LEAST_PROBE)

    async def position(self) -> Position:
        """The position that the store has now, once the copy has it.  Raises Unavailable."""
        return await self._position.ask()

    async def _ask(self) -> Position:
        asked = time.monotonic()
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def done(replies: list[bytes], position: Position | None, sent: bool) -> None:  # noqa: ARG001
            if not future.done():
                future.set_result(replies[0] if replies else b"")

        self._pipe.ask(POSITION, 1, done)
        try:
            async with asyncio.timeout(self._freshness.max_stale):
                position = position_of(await future)
        except TimeoutError:
            position = None
        if position is None:
            raise self._freshness.refusal()
        late = self._freshness.patience / 2
        timer = asyncio.get_running_loop().call_later(late, self._look, self._freshness.hub.position)
        try:
            await self._freshness.reach(position)
        finally:
            timer.cancel()
        self._freshness.confirm(asked)
        return position

    def _look(self, before: Position) -> None:
        if self._freshness.hub.position == before:
            self._is_behind()

    def close(self) -> None:
        """Ask no longer."""
        self._position.close()
