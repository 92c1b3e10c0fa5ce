"""A connection's watch: at most one at a time."""

import asyncio
from contextlib import suppress
from typing import Protocol

from kvd.errors import Unavailable
from kvd.hub import Hub, Watcher
from kvd.model import Position
from kvd.session.output import Output
from kvd.wire import replies

JOIN_TIMEOUT = 2.0
"""Seconds that a WATCH waits for the store's log."""


class Store(Protocol):
    """Where the store is now; raises Unavailable."""

    async def position(self) -> Position:
        """See `store.Store`."""


class Log(Protocol):
    """See `changes.Follower`."""

    async def join(self) -> None:
        """Returns when all that the store does from now on will be published."""

    def leave(self) -> None:
        """Once for every `join`."""


class Watching:
    """Begins, replaces and ends the watch of one connection."""

    def __init__(self, store: Store, log: Log, hub: Hub, output: Output) -> None:
        self._store = store
        self._log = log
        self._hub = hub
        self._output = output
        self._joined = False
        self._is_all = False
        self._watcher: Watcher | None = None
        self._catching_up: asyncio.Task[None] | None = None

    @property
    def active(self) -> bool:
        """Whether there is a watch."""
        return self._watcher is not None

    async def watch(self, patterns: tuple[bytes, ...]) -> None:
        """Replace the watch and answer.  Raises Unavailable, and then leaves the old one as it was."""
        await self._join()
        position = await self._store.position()
        self.drop()
        self._watcher = Watcher(patterns, self._output.push, self._set_aside, self._ended, position.revision)
        # No line of the old watch stands behind this reply, and none of the new one before it.
        self._output.reply(replies.ok(bytes(position)))
        self._output.write()
        self._hub.add(self._watcher)

    async def unwatch(self) -> None:
        """End the watch, if there is one, and answer.  Raises Unavailable."""
        if self._watcher:
            position = self._hub.complete_to(self._watcher)
            self.drop()
        else:
            position = await self._store.position()
        self._output.reply(replies.ok(bytes(position)))

    def end(self, code: str, text: str) -> None:
        """End the watch, if there is one, and say why."""
        if self._watcher:
            self._hub.end(self._watcher, code, text)

    def close_with_it(self) -> None:
        """The peer can ask for nothing more: when the watch ends, so does the connection."""
        self._is_all = True

    def drop(self) -> None:
        """End the watch without a word."""
        if self._watcher:
            self._hub.remove(self._watcher)
            self._watcher = None
        if self._catching_up:
            self._catching_up.cancel()
            self._catching_up = None

    def close(self) -> None:
        """The connection ends."""
        self.drop()
        if self._joined:
            self._log.leave()

    async def _join(self) -> None:
        if self._joined:
            return
        self._joined = True
        try:
            async with asyncio.timeout(JOIN_TIMEOUT):
                await self._log.join()
        except TimeoutError:
            self._joined = False
            self._log.leave()
            raise Unavailable("the store is away; the watch was not begun; try again") from None

    def _set_aside(self) -> None:
        """The hub found no room for this watcher's lines."""
        if self._watcher:
            self._catching_up = asyncio.get_running_loop().create_task(self._catch_up(self._watcher))

    async def _catch_up(self, watcher: Watcher) -> None:
        # A connection that breaks is the business of whoever reads from it.
        with suppress(ConnectionError):
            while not self._hub.catch_up(watcher):
                await self._output.room()

    def _ended(self, line: bytes) -> None:
        self._watcher = None
        self._output.push_last(line)
        if self._is_all:
            self._output.close()
