"""Requests that are not answered before this daemon shows a position: `min=`."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from kvd.errors import OtherStore, Unavailable
from kvd.model import Position
from kvd.session.elsewhere import Elsewhere
from kvd.store.api import Store
from kvd.watch.hub import Hub

PAUSE = 0.02
"""Seconds between looks at a store whose change log nobody follows; all who wait look together."""


class Reaching:
    """Waits for positions."""

    def __init__(self, store: Store, hub: Hub, longest: float, elsewhere: Elsewhere | None = None) -> None:
        """longest: float, seconds that one waits.  elsewhere: as `Context` has it."""
        self._elsewhere = elsewhere
        self._store = store
        self._hub = hub
        self._longest = longest

    async def reach(self, wanted: Position, is_stopping: Callable[[], bool]) -> None:
        """Return once the store shows a position, or a later one.  Raises OtherStore, Unavailable."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._longest
        here, _ = await self._store.history()
        if self._elsewhere and here.store != wanted.store:
            # The history may have been replaced a moment ago.
            await self._elsewhere.position()
        while not self._is_there(wanted, (await self._store.history())[0]):
            left = give_up - loop.time()
            if left <= 0:
                raise Unavailable(f"this daemon has not seen {bytes(wanted).decode()} within {self._longest:.10g} s")
            if is_stopping():
                raise Unavailable("the daemon stops")
            await self._wait(wanted.revision, min(PAUSE, left))

    def _is_there(self, wanted: Position, here: Position) -> bool:
        if here.store != wanted.store:
            raise OtherStore("min= is a position of another store, or of a history that was replaced; read without it")
        return here.revision >= wanted.revision

    async def _wait(self, revision: int, seconds: float) -> None:
        """Until a revision is published, where the change log is followed; for some seconds at the most."""
        reached = asyncio.Event()
        self._hub.when_reached(revision, reached.set)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await reached.wait()
        finally:
            self._hub.wait_no_longer(reached.set)
