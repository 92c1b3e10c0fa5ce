"""A connection's watch: at most one at a time."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from typing import Any, Protocol

from kvd.errors import Compacted, Refusal, Unavailable
from kvd.model import Change, Patterns, Position
from kvd.requests import KeyRange
from kvd.session.output import Output
from kvd.session.progress import ProgressTimer, Turn
from kvd.watch.hub import Hub, Step, Watcher
from kvd.watch.snapshot import copy
from kvd.wire import replies

AWAY_PAUSE = 0.2
"""Seconds between attempts to read the log of a store that is away."""
SHORTEST_PROGRESS = 0.05
"""Seconds between two PROGRESS lines at the least: a hundred idle watchers must cost next to nothing."""
JOIN_TIMEOUT = 2.0
"""Seconds that a WATCH waits for the store's log."""


class Store(Protocol):
    """What a watch asks of the store; see `store.Store`.  All raise Unavailable."""

    async def history(self) -> tuple[Position, int]:
        """Where it is now, and the revision after which all changes are kept."""

    async def changes_after(self, position: Position, *, copying: bool = False) -> list[Change]:
        """The next page of the history.  Raises OtherStore, Future, Compacted."""

    async def check(self, position: Position) -> None:
        """Whether all that came after a position is kept.  Raises OtherStore, Future, Compacted."""

    def pages(
        self, page: KeyRange, *, records: bool, due: bool
    ) -> AsyncIterator[tuple[Position, list[tuple[bytes, Any]]]]:
        """The keys that match, page by page."""


class Log(Protocol):
    """See `changes.Follower`."""

    async def join(self) -> None:
        """Returns when all that the store does from now on will be published."""

    def leave(self) -> None:
        """Once for every `join`."""


class Watching:
    """Begins, replaces and ends the watch of one connection."""

    def __init__(self, store: Store, log: Log, hub: Hub, timer: ProgressTimer, output: Output) -> None:
        self._store = store
        self._log = log
        self._hub = hub
        self._timer = timer
        self._output = output
        self._joined = False
        self._is_all = False
        self._watcher: Watcher | None = None
        self._catching_up: asyncio.Task[None] | None = None
        self._interval = 0.0
        self._turn: Turn | None = None

    @property
    def active(self) -> bool:
        """Whether there is a watch."""
        return self._watcher is not None

    async def watch(self, patterns: tuple[bytes, ...]) -> None:
        """Replace the watch by one from now on, and answer.

        This and the other two raise a `Refusal`, Unavailable for one, and then leave the old watch as it was.
        """
        await self._join()
        position, _ = await self._store.history()
        self._begin(Patterns(patterns), position)

    async def resume(self, position: Position, patterns: tuple[bytes, ...]) -> None:
        """Replace the watch by one from a position on, and answer."""
        await self._join()
        await self._store.check(position)
        self._begin(Patterns(patterns), position)

    async def sync(self, words: tuple[bytes, ...]) -> None:
        """Answer with a copy of what matches, and replace the watch by one from there on."""
        await self._join()
        patterns = Patterns(words)
        self._output.hold()
        try:
            position = None
            async for position, lines in copy(self._store, patterns):  # noqa: B007
                self._output.reply_all(lines)
                await self._output.flush_if_full()
            assert position  # noqa: S101
            self._begin(patterns, position)
        except Refusal as error:
            self._output.reply(replies.refused(error))
        finally:
            self._output.release()

    def _begin(self, patterns: Patterns, position: Position) -> None:
        if self._hub.position.store != position.store:
            raise Unavailable("the store's history was replaced a moment ago; try again")
        self._leave()
        self._watcher = Watcher(patterns, self._output.push, self._set_aside, self._ended, position.revision)
        # No line of the old watch stands after this reply, and none of the new one before it.
        self._output.reply(replies.ok(bytes(position)))
        self._output.write()
        self._hub.add(self._watcher)
        self._keep_time()

    def progress(self, milliseconds: int) -> None:
        """Tell the watcher its position every so often, or no longer."""
        self._interval = max(milliseconds / 1000, SHORTEST_PROGRESS) if milliseconds else 0.0
        self._stop_time()
        self._keep_time()

    def _keep_time(self) -> None:
        """Be told while there are an interval and a watch; a watch that takes another's place goes on in its time."""
        if not (self._watcher and self._interval):
            self._stop_time()
        elif not self._turn:
            self._turn = self._timer.start(self._tell, self._interval)

    def _stop_time(self) -> None:
        if self._turn:
            self._timer.stop(self._turn)
            self._turn = None

    def _tell(self) -> None:
        if self._watcher:
            self._hub.progress(self._watcher)

    async def unwatch(self) -> None:
        """End the watch, if there is one, and answer.  Raises Unavailable."""
        if self._watcher:
            position = self._hub.complete_to(self._watcher)
            self.drop()
        else:
            position, _ = await self._store.history()
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
        self._leave()
        self._keep_time()

    def _leave(self) -> None:
        if self._watcher:
            self._hub.remove(self._watcher)
            self._watcher = None
        self._output.forget_pushed()
        if self._catching_up:
            self._catching_up.cancel()
            self._catching_up = None

    def close(self) -> None:
        """The connection ends."""
        self.drop()
        if self._joined:
            self._log.leave()

    @staticmethod
    def _start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)

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
            self._catching_up = self._start(self._catch_up(self._watcher))

    async def _catch_up(self, watcher: Watcher) -> None:
        # A connection that breaks is the business of whoever reads from it.
        with suppress(OSError):
            while (step := self._hub.catch_up(watcher)) is not Step.LIVE:
                if step is Step.FULL:
                    await self._output.room()
                elif step is Step.GONE:
                    await self._feed_from_log(watcher)
                else:
                    await asyncio.sleep(0)

    async def _feed_from_log(self, watcher: Watcher) -> None:
        try:
            changes = await self._store.changes_after(self._hub.complete_to(watcher))
        except Unavailable:
            await asyncio.sleep(AWAY_PAUSE)
        except Refusal as error:
            self._hub.end(watcher, "compacted" if isinstance(error, Compacted) else "store", str(error))
        else:
            while not self._hub.feed(watcher, changes):
                await self._output.room()

    def _ended(self, line: bytes) -> None:
        self._watcher = None
        self._keep_time()
        self._output.push_last(line)
        if self._is_all:
            self._output.close()
