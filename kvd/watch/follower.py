"""The log reader: follows the store's history on one connection and hands on every change, in order, once."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from kvd.backoff import Backoff
from kvd.errors import GivenUp, StoreLost
from kvd.model import Change, Entry, Position
from kvd.process.activity import Activity
from kvd.process.log_lines import facts
from kvd.watch.hub import WHY_ALL_END

logger = logging.getLogger("kvd.watch.follower")

BLOCK = 1000
"""Milliseconds that a read waits for news; then the position is compared, for a log can be replaced in silence."""
REST_BLOCK = 5000
"""The same while nobody is connected."""
READ_ENTRIES = 16
"""Log entries in a read; each is a batch, of 512 KiB at the most, or one transaction or one larger value."""
PUBLISH_BYTES = 16 * 1024
"""Bytes of keys and values that are enough to be published; less is published together with what comes next, if that
has been read already."""
SHORTEST_WAIT = 0.001
"""Seconds that handing changes to the audience must have taken for more of them to be waited for: Redis counts in
milliseconds."""


class ChangeLog(Protocol):
    """A connection to the store; all raise StoreLost when it breaks or the store refuses."""

    async def read_log(self, after: int, count: int, block: int) -> list[Entry]:
        """At most `count` entries after a revision; waits `block` ms for one."""

    def is_written(self) -> bool:
        """Whether this daemon has writes in flight, which will be in the log soon."""

    async def tag_at(self, revision: int) -> bytes | None:
        """The tag of the entry that ends at a revision, if it is kept."""

    async def where(self) -> Position:
        """The store's position."""

    async def replace_history(self, store: bytes) -> None:
        """Give the store another id, if it still has this one."""

    async def close(self) -> None:
        """Close the connection."""


class Audience(Protocol):
    """Takes the changes: the hub."""

    def start(self, position: Position) -> None:
        """The history is followed from here on."""

    def publish(self, store: bytes, changes: list[Change]) -> None:
        """The next changes, without a gap."""

    def end_all(self, code: str, text: str) -> None:
        """What comes next is not known to follow on what was published."""


class Follower:
    """Follows the log, while anybody wants it."""

    def __init__(
        self, connect: Callable[[], Awaitable[ChangeLog]], audience: Audience, activity: Activity | None = None
    ) -> None:
        """activity: of this process, None for a constant one."""
        self._activity = activity or Activity()
        self._connect = connect
        self._audience = audience
        self._users = 0
        self._wanted = asyncio.Event()
        self._following = asyncio.Event()
        self._position: Position | None = None
        self._tag: bytes | None = None
        self._took = 0.0

    async def join(self) -> None:
        """Want the log; returns when all that the store does from now on will be published."""
        self._users += 1
        self._wanted.set()
        await self._following.wait()

    def leave(self) -> None:
        """Want the log no longer; once for every `join`, also for one that was cancelled."""
        self._users -= 1

    async def run(self) -> None:
        """Follow for ever; comes back when the connection is lost."""
        backoff = Backoff(jitter=True)
        while True:
            await self._wanted.wait()
            try:
                change_log = await self._connect()
                try:
                    await self._take_up(change_log)
                    backoff.reset()
                    await self._read(change_log)
                finally:
                    await change_log.close()
            except GivenUp as better:
                logger.debug("the log is followed anew: %s", better)
            except StoreLost as lost:
                logger.log(logging.WARNING if backoff.is_fresh else logging.DEBUG, "lost the store's log: %s", lost)
                await asyncio.sleep(backoff.next())

    async def _take_up(self, change_log: ChangeLog) -> None:
        """Begin where the store is, or go on where we were if that is still the same history."""
        here = await change_log.where()
        if self._position is None:
            self._start_at(here)
        elif here.store != self._position.store:
            self._replace(here, "store")
        elif await self._is_rewound(change_log, here, self._position):
            # At once: the store may refuse to be given another id, and has lost what they saw all the same.
            self._audience.end_all("store", WHY_ALL_END["store"])
            await change_log.replace_history(here.store)
            self._replace(await change_log.where(), "store")
        self._following.set()

    async def _is_rewound(self, change_log: ChangeLog, here: Position, ours: Position) -> bool:
        """Whether the store has lost what we have read, and perhaps written anew at its place."""
        if here.revision < ours.revision:
            return True
        tag = await change_log.tag_at(ours.revision) if self._tag else None
        return tag is not None and tag != self._tag

    def _start_at(self, here: Position) -> None:
        self._position, self._tag = here, None
        self._audience.start(here)

    def _replace(self, here: Position, code: str) -> None:
        logger.warning("all watches end: %s", WHY_ALL_END[code], extra=facts(code=code, store=here.store.decode(),
                    revision=here.revision))  # fmt: skip
        self._audience.end_all(code, WHY_ALL_END[code])
        self._start_at(here)

    async def _read(self, change_log: ChangeLog) -> None:
        while self._users:
            assert self._position  # noqa: S101
            entries = await self._next(change_log, self._position.revision)
            began = time.monotonic()
            is_whole = self._publish(self._position, entries)
            # uvloop's clock stands still within a turn of its loop.
            self._took = time.monotonic() - began
            if not is_whole:
                here = await change_log.where()
                self._replace(here, "compacted" if here.store == self._position.store else "store")
            elif not entries:
                # No news: because there are none, or because this is another log by now?
                here = await change_log.where()
                if here.store != self._position.store or here.revision < self._position.revision:
                    await self._take_up(change_log)
        self._wanted.clear()
        self._following.clear()
        self._position = None

    async def _next(self, change_log: ChangeLog, revision: int) -> list[Entry]:
        """The entries after a revision.

        Where there are very many watchers, also those that are about to follow: to hand them over together takes half
        the time.  They are waited for no longer than handing over the last ones took.
        """
        entries = await change_log.read_log(revision, READ_ENTRIES, REST_BLOCK if self._activity.resting else BLOCK)
        end = time.monotonic() + self._took
        while (
            entries
            and len(entries) < READ_ENTRIES
            and end - time.monotonic() >= SHORTEST_WAIT
            and change_log.is_written()
        ):
            more = await change_log.read_log(entries[-1].changes[-1].revision, READ_ENTRIES - len(entries), 1)
            entries += more
        return entries

    def _publish(self, position: Position, entries: list[Entry]) -> bool:
        """Publish entries as far as they follow on what was published; whether all of them do."""
        revision = position.revision
        changes: list[Change] = []
        size = 0
        for entry in entries:
            if entry.changes[0].revision != revision + 1:
                break
            revision, self._tag = entry.changes[-1].revision, entry.tag
            changes += entry.changes
            size += sum(len(change.key) + len(change.value) for change in entry.changes)
            # What is published at once is pushed at once: cheaper, but it waits for slow watchers in one piece.
            if size >= PUBLISH_BYTES:
                self._audience.publish(position.store, changes)
                changes, size = [], 0
        if changes:
            self._audience.publish(position.store, changes)
        self._position = Position(revision, position.store)
        return not entries or revision == entries[-1].changes[-1].revision
