"""Catching up: all watchers of one daemon that were set aside, in turn, with what the store has kept.

One task serves them all.  What many need is asked for once: the keys of older changes, which fill the index, and the
changes themselves, in the order of those who wait.  The work is done in slices, so that live traffic comes first.
"""

import asyncio
import time
from collections import deque
from typing import Any

from kvd.errors import Compacted, Refusal, Unavailable
from kvd.store.api import Store
from kvd.watch.beginnings import Beginnings
from kvd.watch.hub import COMPACTED, Hub, Step
from kvd.watch.watcher import Watcher

SLICE = 0.0005
"""Seconds of catching up before live traffic has its turn."""
NEVER = 2**53
"""A revision that is not reached: who waits for it is called when the history begins anew."""
MOST_WANTED = 1000
"""Changes that are asked for at once."""
UNREACHABLE_PAUSE = 0.2
"""Seconds between attempts to read from a store that is unreachable."""


class CatchingUp:
    """Serves those who are added; keep `run` running.

    beginnings: to be waited for before one is added.
    """

    def __init__(self, store: Store, hub: Hub) -> None:
        self._store = store
        self._hub = hub
        self.beginnings = Beginnings()
        self._ready: deque[Watcher] = deque()
        # Those for whom something has to be read first, in the order in which they came.
        self._not_indexed: list[Watcher] = []
        self._not_in_memory: list[Watcher] = []
        # Others who need the index, and from which revision on.
        self._covering: list[tuple[int, asyncio.Future[None]]] = []
        self._filling = False
        # The page that is asked for ahead: of which store, up to which change.
        self._ahead: tuple[bytes, int, asyncio.Task[tuple[list[bytes], bytes]]] | None = None
        self._called = asyncio.Event()
        self._needed = asyncio.Event()

    def add(self, watcher: Watcher) -> None:
        """Have a watcher catch up, which was set aside or has room again."""
        self._ready.append(watcher)
        self._called.set()

    def fill_index(self) -> None:
        """Have the index cover all that the store keeps, also before anybody resumes, and whenever it begins anew."""
        self._filling = True
        self._needed.set()
        self._hub.when_reached(NEVER, self.fill_index)

    async def cover(self, revision: int) -> None:
        """Have the index cover all after a revision, as far as that is kept; returns when it does."""
        if not self._hub.index.covers(revision):
            covered = asyncio.get_running_loop().create_future()
            self._covering.append((revision, covered))
            self._needed.set()
            await covered

    def __len__(self) -> int:
        """How many wait for their turn, or for the store."""
        return len(self._ready) + len(self._not_indexed) + len(self._not_in_memory)

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._give())
                group.create_task(self._read())
        finally:
            if self._ahead:
                self._ahead[2].cancel()

    async def _give(self) -> None:
        while True:
            await self._called.wait()
            self._called.clear()
            while self._ready:
                self._give_for(SLICE)
                await asyncio.sleep(0)

    def _give_for(self, seconds: float) -> None:
        # Not the loop's clock, which stands still within a turn of it.
        end = time.monotonic() + seconds
        while self._ready and time.monotonic() < end:
            watcher = self._ready.popleft()
            step = self._hub.catch_up(watcher)
            if step is Step.MORE:
                self._ready.append(watcher)
            elif step is Step.FULL:
                watcher.full()
            elif step is not Step.LIVE:
                (self._not_indexed if step is Step.NOT_INDEXED else self._not_in_memory).append(watcher)
                self._needed.set()

    async def _read(self) -> None:
        while True:
            await self._needed.wait()
            self._needed.clear()
            while self._not_indexed or self._not_in_memory or self._covering or self._filling:
                try:
                    if self._not_in_memory:
                        await self._fetch()
                    if self._not_indexed or self._covering or self._filling:
                        await self._extend_index()
                except Unavailable:
                    await asyncio.sleep(UNREACHABLE_PAUSE)
                except Refusal:
                    # The follower will see that this is another history, and end all watches.
                    await asyncio.sleep(UNREACHABLE_PAUSE)
                    self._release_all()

    async def _fetch(self) -> None:
        """Have changes in memory: all that the first one needs, so that it goes on, and as many of the others' who want
        values as it does, or as it does not."""
        self._not_in_memory = [watcher for watcher in self._not_in_memory if self._hub.serves(watcher)]
        if not self._not_in_memory:
            return
        store = self._hub.position.store
        values = self._not_in_memory[0].form.wants_values
        wanted: dict[int, None] = {}
        for watcher in self._not_in_memory:
            if len(wanted) >= MOST_WANTED:
                break
            if watcher.form.wants_values == values:
                wanted.update(dict.fromkeys(self._hub.missing(watcher)))
        if wanted:
            try:
                changes = await self._store.changes_at(store, list(wanted)[:MOST_WANTED], values=values)
            except Compacted as error:
                # Else those who wait by now are of another history.
                if store == self._hub.position.store:
                    self._end_all_who_need(next(iter(wanted)), str(error))
                return
            if store != self._hub.position.store:
                return
            self._hub.fetched.add(changes)
        self._release(self._not_in_memory)

    def _end_all_who_need(self, revision: int, text: str) -> None:
        """A change is kept no longer, and so none before it."""
        waiting, self._not_in_memory = self._not_in_memory, []
        ended: list[Watcher] = []
        for watcher in waiting:
            needs = (missing := self._hub.missing(watcher)) and missing[0] <= revision
            (ended if needs else self._not_in_memory).append(watcher)
        self._hub.end_some(ended, COMPACTED, text)

    async def _extend_index(self) -> None:
        """Have the index begin earlier, by a page; the next one is asked for meanwhile."""
        index = self._hub.index
        store, floor = self._hub.position.store, index.floor
        compacted: Compacted | None = None
        try:
            keys, more = await self._page_before(store, floor)
        except Compacted as error:
            compacted = error
            self._filling = False
        else:
            await self._ask_ahead(store, floor - len(keys))
            # Else it has lost its beginning meanwhile, or begun anew.
            if (store, floor) == (self._hub.position.store, index.floor):
                index.prepend(keys, more)
                self._filling = self._filling and not index.is_full
        if store != self._hub.position.store:
            return
        waiting, self._not_indexed = self._not_indexed, []
        ended = []
        for watcher in waiting:
            if index.covers(watcher.after) or not self._hub.serves(watcher):
                self._ready.append(watcher)
            elif compacted and watcher.after < floor:
                ended.append(watcher)
            else:
                self._not_indexed.append(watcher)
        self._hub.end_some(ended, COMPACTED, str(compacted))
        self._release_covered(floor if compacted else 0)
        self._called.set()

    def _release_covered(self, floor: int) -> None:
        """Those for whom the index covers enough have what they waited for; so have those for whom it never will: what
        comes up to a floor is not kept."""
        waiting, self._covering = self._covering, []
        for revision, covered in waiting:
            if covered.done():
                continue
            if self._hub.index.covers(revision) or revision < floor:
                covered.set_result(None)
            else:
                self._covering.append((revision, covered))

    async def _page_before(self, store: bytes, floor: int) -> tuple[list[bytes], bytes]:
        """The last changes up to one.  Raises what the store raises."""
        ahead, self._ahead = self._ahead, None
        if ahead and ahead[:2] == (store, floor):
            return await ahead[2]
        if ahead:
            ahead[2].cancel()
        return await self._store.keys_before(store, floor + 1)

    async def _ask_ahead(self, store: bytes, floor: int) -> None:
        """Send for the page before one, if somebody needs it."""
        wanted = [watcher.after for watcher in self._not_indexed] + [revision for revision, _ in self._covering]
        if self._filling or any(revision < floor for revision in wanted):
            page = asyncio.create_task(self._store.keys_before(store, floor + 1))
            page.add_done_callback(_see_error)
            self._ahead = store, floor, page
            await asyncio.sleep(0)

    def _release_all(self) -> None:
        self._release(self._not_in_memory)
        self._release(self._not_indexed)
        self._release_covered(NEVER)

    def _release(self, watchers: list[Watcher]) -> None:
        """What these waited for is there."""
        self._ready.extend(watchers)
        watchers.clear()
        self._called.set()


def _see_error(task: asyncio.Task[Any]) -> None:
    """Nobody may ask for what was asked ahead, and asyncio logs an error that nobody has seen."""
    if not task.cancelled():
        task.exception()
