"""A connection that is cut for what it holds lets go of it at once, also while its task waits for the store."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kvd.store.redis.store import Store
from tests.support.memory import serving
from tests.support.processes import PATIENCE

SIZE = 60_000
"""Of a value: as many bytes of replies are collected before they are written."""


class Halting(Store):
    """Answers no reads of several keys until they may go on; and how often one large value was asked for."""

    asked = 0

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.is_halted, self.may_go_on = asyncio.Event(), asyncio.Event()

    async def read(self, keys: Sequence[bytes]) -> Any:
        if len(keys) > 1:
            self.is_halted.set()
            await self.may_go_on.wait()
        return await super().read(keys)

    async def fetch(self, key: bytes) -> Any:
        self.asked += 1
        return await super().fetch(key)


async def test_what_is_collected_is_counted_and_let_go_of_and_nothing_more_is_read(tmp_path: Path) -> None:
    """Found: it was kept until the store had answered, and the rest was asked for, value by value."""
    async with serving(tmp_path / "data", Halting) as service:
        store = service.store
        assert isinstance(store, Halting)
        peer, other = service.connect(), service.connect()
        assert (await other.ask("SET k " + "x" * SIZE)).startswith("OK ")
        peer.send("GET k\n" * 4)
        async with asyncio.timeout(PATIENCE):
            await store.is_halted.wait()
        before = peer.session.held()
        peer.session.end_for_memory()
        after = peer.session._output.held
        store.may_go_on.set()
        async with asyncio.timeout(PATIENCE):
            await peer.task
        assert before >= SIZE
        assert (after, store.asked) == (0, 1)
