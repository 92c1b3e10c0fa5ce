"""SYNC's copy: the keys page by page, and then what has changed of them meanwhile, until nothing has.

A page is exact at its own position only.  The change index says which keys of the pages so far have changed since; of
these the present record is sent again, and of those that changed meanwhile again, in turns that become shorter, as long
as the reader is faster than the keys that change.  What is left at last, and all in memory, goes in one step, after
which the copy is exact at the position that the hub has reached.  (Pairs alone were measured to be wrong nearly always
under load.)  A copy keeps its own set of changed keys, so that the history need not reach back to its beginning.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from kvd.errors import Unavailable
from kvd.model import PLAIN, Change, Form, Patterns, Position, Record
from kvd.store.api import Store
from kvd.watch.hub import Hub
from kvd.watch.pages import Page, Pages
from kvd.watch.rendering import pair
from kvd.watch.told import KEY_BYTES, Told
from kvd.wire import replies

PORTION_KEYS = 200
"""Changed keys that are sent at once."""
TAKE_PAGES = 16
"""Pages after which changed keys are taken from the index: keys that change often are then taken once."""
LINE_BYTES = 32
"""Bytes of a line beyond its key and value, roughly."""
NEAR_BYTES = 64 * 1024
"""Bytes of changed keys that are sent in one step also if there would be fewer after another round."""
PATIENCE = 8
"""Rounds of all changed keys in a row after none of which fewer of them were left."""
FEWER = 0.9
"""Part of the bytes that were left before that are fewer."""
SLOW = 0.05
"""Seconds that a reader takes for a portion who is not waited for by other copies."""
REPLACED = "the store's history was replaced under the copy; try again"
REACH_TIMEOUT = 10.0
"""Seconds that the store's log may take to be read up to what a page has shown."""


class Copying:
    """What the copies of one daemon share."""

    def __init__(self, store: Store, pages: Pages, hub: Hub) -> None:
        self.store = store
        self.pages = pages
        self.hub = hub
        # Held for the last rounds: one after the other they get to an end, and all at once perhaps none of them.
        self.turn = asyncio.Lock()


class Copy:
    """One copy.  Send the `portions`, then at once what `rest` gives; `close` it in any case."""

    def __init__(
        self, shared: Copying, patterns: Patterns, most_left: int, form: Form = PLAIN,
        grown: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """most_left: int, bytes that `rest` may give.  form: in which the lines are wanted.

        grown: called when `held` is more while the lines are with the reader.
        """
        self._shared = shared
        self._hub = shared.hub
        self._patterns = patterns
        self._form = form
        self._values = not form.keys
        self._most_left = most_left
        self._grown = grown
        self._store_id = self._hub.position.store
        self._generation = self._hub.index.generation
        self._told = Told(patterns)
        self._taken = self._hub.index.last
        # By key, the revision of the last change that was taken: the index may have dropped it since.
        self._changed: dict[bytes, int] = {}
        # Bytes that they take.
        self._size = 0
        # The copy is exact at no position before this one.
        self._newest = 0
        self._slow = self._holds_turn = False
        self._hub.index.keepers.add(self.keep)
        if self._values:
            self._hub.copied.add(patterns)
        shared.pages.join()

    @property
    def held(self) -> int:
        """Bytes that it takes, without the page that is being sent."""
        return self._size + self._told.held

    def close(self) -> None:
        """Follow the changes no longer."""
        self._hub.index.keepers.discard(self.keep)
        self._hub.copied.discard(self._patterns)
        self._shared.pages.leave()
        self._end_turn()

    async def portions(self) -> AsyncIterator[bytes]:
        """Item lines, each to be sent before the next are asked for, until `rest` is ready.

        Raises Unavailable.
        """
        for pattern in self._patterns.words:
            async for lines in self._copy(pattern):
                yield lines
        smallest, rounds = float("inf"), 0
        while not self._is_near(left := await self._left(), FEWER * smallest):
            rounds = 0 if left < FEWER * smallest else rounds + 1
            smallest = min(smallest, left)
            if rounds > PATIENCE:
                raise Unavailable(
                    "the keys change faster than they are read, so that the copy comes to no end; read faster, or SYNC "
                    "fewer keys on each of several connections"
                )
            async for lines in self._round():
                yield lines

    def rest(self) -> tuple[Position, bytes]:
        """The last lines, after which the copy is exact at the position, which is the hub's: begin to watch at once."""
        changes = [self._last_change(key) for key in self._changed]
        self._changed.clear()
        self._size = 0
        return self._hub.position, b"".join([self._line(change) for change in changes if change])

    # ---- the first round: all keys

    async def _copy(self, pattern: bytes) -> AsyncIterator[bytes]:
        after, number = b"", 0
        while True:
            page = await self._shared.pages.get(pattern, after, self._form)
            self._check()
            if not self._hub.index.covers(page.position.revision):
                continue
            self._told_page(pattern, after, page)
            yield page.lines
            if not page.last:
                return
            after = page.last
            number += 1
            if number % TAKE_PAGES == 0:
                self._take()

    def _told_page(self, pattern: bytes, after: bytes, page: Page) -> None:
        if page.position.store != self._store_id:
            raise Unavailable(REPLACED)
        revision = page.position.revision
        if revision < self._taken:
            # It was read for another copy, before the last changes that were taken.
            self._note(self._hub.index.keys_of(pattern, after, page.last, revision))
        self._told.page(pattern, page.last, revision)
        self._newest = max(self._newest, revision)

    # ---- further rounds: the keys that have changed

    async def _left(self) -> int:
        """Bytes of the lines of all that has changed, as of the hub's position, which no page is ahead of."""
        self._check()
        if self._newest > self._hub.position.revision:
            await self._reach(self._newest)
        self._check()
        self._take()
        return sum([len(key) + self._size_of(key) + LINE_BYTES for key in self._changed])

    def _is_near(self, left: int, fewer: float) -> bool:
        """Whether what is left can go as the rest; fewer: below this many bytes another round would be shorter."""
        fits = left <= NEAR_BYTES or (left <= self._most_left and left >= fewer)
        return fits and all(self._last_change(key) for key in self._changed)

    async def _round(self) -> AsyncIterator[bytes]:
        """Send once all that has changed by now."""
        await self._begin_turn()
        left = list(self._changed)
        while left:
            portion = [key for key in left[:PORTION_KEYS] if key in self._changed]
            del left[:PORTION_KEYS]
            if not portion:
                continue
            lines, not_sent = await self._present(portion)
            left += not_sent
            # Not asked after the portion: one who does not read at all never comes back.
            too_long = asyncio.get_running_loop().call_later(SLOW, self._is_slow)
            try:
                yield lines
            finally:
                too_long.cancel()

    async def _present(self, keys: list[bytes]) -> tuple[bytes, list[bytes]]:
        """Lines of the present records of keys, and the keys for which they were too many."""
        changes = [change for key in keys if (change := self._last_change(key))]
        # The time to live of a key may be another one since it was set.
        if len(changes) == len(keys) and not self._form.ttl:
            for change in changes:
                # It may be one that has not been taken from the index yet.
                self._told.record(change.key, change.revision)
                self._forget(change.key)
            return b"".join(map(self._line, changes)), []
        position, items = await self._shared.store.records(keys, values=self._values)
        self._check()
        if position.store != self._store_id:
            raise Unavailable(REPLACED)
        self._newest = max(self._newest, position.revision)
        for key, _ in items:
            self._told.record(key, position.revision)
            # What has changed again, and was taken meanwhile, stays.
            if self._changed[key] <= position.revision:
                self._forget(key)
        lines = [
            pair(key, record, self._form, self._hub.clock) if record else replies.gone(key, position.revision)
            for key, record in items
        ]
        return b"".join(lines), keys[len(items) :]

    async def _begin_turn(self) -> None:
        if not (self._slow or self._holds_turn):
            await self._shared.turn.acquire()
            self._holds_turn = True

    def _is_slow(self) -> None:
        self._slow = True
        self._end_turn()

    def _end_turn(self) -> None:
        if self._holds_turn:
            self._holds_turn = False
            self._shared.turn.release()

    async def _reach(self, revision: int) -> None:
        """Wait until a revision is published."""
        reached = asyncio.Event()
        self._hub.when_reached(revision, reached.set)
        try:
            async with asyncio.timeout(REACH_TIMEOUT):
                await reached.wait()
        except TimeoutError:
            raise Unavailable("the store's log is unreachable; the copy is not complete; try again") from None
        finally:
            self._hub.wait_no_longer(reached.set)

    # ---- which keys have changed

    def keep(self, floor: int) -> None:
        """Called before the index covers what is up to a revision no longer."""
        if self._taken < floor and self._generation == self._hub.index.generation:
            # No more than that: every copy takes it in this turn of the loop, before any is ended for what it takes.
            self._take(floor)
            self._grown()

    def _take(self, last: int = 0) -> None:
        """Take over from the index which keys have changed.  last: the revision up to which, 0 for all."""
        index = self._hub.index
        last = last or index.last
        outdated, last_of = self._told.is_outdated, index.last_of
        self._note([key for key in index.keys_after(self._taken, last) if outdated(key, last_of(key))])
        self._taken = last
        self._told.forget(self._taken)

    def _note(self, keys: Sequence[bytes]) -> None:
        """Keys have changed, as the index knows."""
        changed = self._changed
        # The index may drop them, too, so that nobody else keeps them.
        self._size += sum([KEY_BYTES + len(key) for key in keys if key not in changed])
        changed.update(zip(keys, map(self._hub.index.last_of, keys), strict=True))

    def _forget(self, key: bytes) -> None:
        """A key is sent as it is since it has changed."""
        del self._changed[key]
        self._size -= KEY_BYTES + len(key)

    def _check(self) -> None:
        """Whether the index is the one that it was.  Raises Unavailable."""
        if self._store_id != self._hub.position.store:
            raise Unavailable(REPLACED)
        if self._generation != self._hub.index.generation:
            raise Unavailable("changes were dropped before the copy was complete; try again")

    def _last_change(self, key: bytes) -> Change | None:
        """The last change of a key that has changed, if it is in memory."""
        revision = max(self._hub.index.last_of(key), self._changed[key])
        return self._hub.known(revision, self._values)

    def _size_of(self, key: bytes) -> int:
        change = self._last_change(key)
        return len(change.value) if change else 0

    def _line(self, change: Change) -> bytes:
        if change.verb != b"SET":
            return replies.gone(change.key, change.revision)
        revision = b"%d" % change.revision
        deadline = b"%d" % change.deadline
        record = Record(revision, deadline, change.kind, change.value, bool(change.apart), change.apart, change.owner)
        return pair(change.key, record, self._form, self._hub.clock)
