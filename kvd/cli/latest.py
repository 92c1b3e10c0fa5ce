"""The newest change of each key, for who is slower than the changes: --latest.

Changes are read as fast as they come.  One that waits to be taken is replaced by the next one of its key, which takes
its place at the end.  So no more wait than there are keys, and the last one that is taken is true.

The position that is kept is the last one up to which every change was taken, or was replaced by one that comes after
that position: who begins there gets it.
"""

import asyncio

from kvd.cli.following import State, gone, newer
from kvd.cli.interrupts import ended
from kvd.cli.output import say
from kvd.client import Copy, Event, Follow


class Latest:
    """Stands between a Follow, whose `place` it is, and who takes the changes.

    with_copies: where changes are gone a copy is handed on; else what it has that is newer, as changes.
    """

    def __init__(self, state: State | None, *, with_copies: bool) -> None:
        self._state, self._with_copies = state, with_copies
        self._waiting: dict[str, tuple[Event, str | None]] = {}
        self._copy: Copy | None = None
        self._set: set[str] = set()
        self._ready = asyncio.Event()
        self._read: str | None = None
        self._kept: str | None = None
        self._is_in_hand = False
        self._before: str | None = None
        self._error: Exception | None = None
        self._reading: asyncio.Task[None] | None = None

    def load(self) -> str | None:
        """Nothing: the Follow is told where to begin."""
        return None

    def save(self, position: str) -> None:
        """All up to here was read."""
        self._read = position
        self._keep()

    def begin(self, follow: Follow) -> None:
        """Read from now on."""
        if follow.position:
            self.save(follow.position)
        self._reading = asyncio.create_task(self._read_on(follow))

    async def _read_on(self, follow: Follow) -> None:
        try:
            async for change in follow:
                self._put(change)
                self._ready.set()
        except Exception as error:
            self._error = error
            self._ready.set()

    def _put(self, change: Event | Copy) -> None:
        if isinstance(change, Event):
            self._put_event(change, self._read)
        elif self._with_copies:
            self._waiting.clear()
            self._copy = change
        else:
            self._put_newer(change, self._read or change.position)

    def _put_event(self, change: Event, before: str | None) -> None:
        self._waiting.pop(change.key, None)
        self._waiting[change.key] = change, before
        (self._set.add if change.verb == "SET" else self._set.discard)(change.key)

    def _put_newer(self, copy: Copy, before: str) -> None:
        if copy.reason != "compacted":
            raise gone(before, copy.reason)
        say(f"changes after {before} are no longer kept: going on with the newest of each key, up to {copy.position}")
        for change in newer(copy, before):
            self._put_event(change, before)
        for key in self._set - copy.items.keys():
            self._put_event(Event(copy.position, copy.revision, "DEL", key, None), before)

    async def next(self, seconds: float | None = None) -> Event | Copy:
        """Wait for a change; what was taken before is done with.  Raises TimeoutError, and what reading raises."""
        self.save_done()
        while not (self._copy or self._waiting):
            if self._error:
                raise self._error
            self._ready.clear()
            async with asyncio.timeout(seconds):
                await self._ready.wait()
        self._is_in_hand = True
        if self._copy:
            copy, self._copy = self._copy, None
            self._before = self._kept
            return copy
        change, self._before = self._waiting.pop(next(iter(self._waiting)))
        return change

    def save_done(self) -> None:
        """What was taken is done with."""
        self._is_in_hand = False
        self._keep()

    def _keep(self) -> None:
        """Keep the position up to which nothing is missing."""
        if not self._state or self._copy:
            return
        if self._is_in_hand:
            position = self._before
        elif self._waiting:
            position = next(iter(self._waiting.values()))[1]
        else:
            position = self._read
        if position is not None and position != self._kept:
            self._state.save(position)
            self._kept = position

    async def close(self) -> None:
        """Read no more."""
        if self._reading:
            await ended(self._reading)
