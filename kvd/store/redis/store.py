"""The store: what sessions and the daemon ask of Redis, in kvd's own terms."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path

from kvd.counts import Counts
from kvd.errors import StoreLost, Superseded, Unavailable
from kvd.model import Position
from kvd.process.activity import Activity
from kvd.process.tasks import run_together
from kvd.requests import KeyRange
from kvd.store.api import Page, Vitals
from kvd.store.redis.attach import End, read_end
from kvd.store.redis.batching import GRACE
from kvd.store.redis.cache import Cache, LocalCache
from kvd.store.redis.changes import LoggedChanges
from kvd.store.redis.clock import Clock
from kvd.store.redis.connection import META, Connector, Rejected, command, info_of, script
from kvd.store.redis.counted import ask_counted
from kvd.store.redis.disk_space import DELETES_SHARE, FreeSpace, unlimited
from kvd.store.redis.durability import Durability
from kvd.store.redis.engine import engine_of
from kvd.store.redis.expiry import Counting
from kvd.store.redis.first_look import FirstLook
from kvd.store.redis.listing import Ranges
from kvd.store.redis.log import ChangeLogConnection
from kvd.store.redis.maintenance import DEFAULT_RETENTION, Housekeeping, Retention
from kvd.store.redis.parts import Parts
from kvd.store.redis.single_keys import SingleKeys
from kvd.store.redis.unsynced import UnsyncedMark
from kvd.store.redis.vitals import ask_vitals

OWNER_KEYS = 100
"""Keys that may live with one, unless told."""
BUSY_PAUSE = 0.02
"""Seconds between looks whether writes are still in flight."""


def _always(_: bytes) -> bool:
    return True


class Store(SingleKeys, LoggedChanges):
    """One Redis, by URL.  `start` it, keep `run` running, `close` it."""

    def __init__(
        self, url: str, retention: Retention = DEFAULT_RETENTION, free_space: FreeSpace = unlimited,
        cache: Cache | None = None, fsync: str = "", owner_keys: int = OWNER_KEYS, *, direct: bool = False,
        parts: Parts | None = None, activity: Activity | None = None, notes: Path | None = None,
    ) -> None:  # fmt: skip
        """url, direct: as Connector takes them.  retention: of the change log.  free_space: on its disk.

        cache: for values that were read; None if others write to the store, and it does not know of that.
        fsync: its appendfsync; "" to ask it.  owner_keys: that may live with one at the most.
        parts: what it is made of; None: of those for one Redis.
        activity: of this process, None for a constant one.  notes: a directory for what is to outlive the store.
        Raises StartError if the URL is none.
        """
        parts = parts or Parts(Connector(url, direct=direct))
        self.server = ""
        self._free_space = free_space
        self._clock = Clock()
        cache = cache or LocalCache(0)
        large = parts.large_reads(self._clock, cache)
        reads = parts.reads(self._clock, cache, large.read_then)
        writes = parts.writes(self._clock, cache, free_space, owner_keys)
        for one in (reads, large, writes):
            one.others = tuple(other for other in (reads, large, writes) if other is not one)
        SingleKeys.__init__(self, cache, reads, large, writes)
        attaching = parts.attaching(self._clock, writes.daemon, fsync, self._is_full)
        attaching.unsynced = UnsyncedMark(notes)
        LoggedChanges.__init__(self, parts, parts.control(self._clock), parts.calls(self._clock), attaching)
        writes.attach = attaching.attach
        self._fsync = fsync
        self._listing = parts.calls(self._clock)
        self._housekeeping = Housekeeping(
            self._control, self._writes, self._clock, retention, free_space, self._asked, activity or Activity()
        )
        self._durability = Durability(self._control, attaching, activity or Activity(), self._housekeeping.fit_into)
        self._housekeeping.sweep.is_needless = parts.is_nothing_due
        counting = Counting(self._listing, self._clock, self._housekeeping.sweep)
        self._ranges = Ranges(self._listing, self._clock, counting, self._asked)

    async def start(
        self, *, suspect: bool | None = None, end: End | None = None, wait: float = 0, loss: str = ""
    ) -> None:
        """Look at the store once.  Raises StartError if it cannot be reached or must not be used.

        suspect: whether its history may have been rewound, so that it is given another id; None to find out.
        end: its end when the last daemon here ended in order.  wait: seconds that it has to come, and to have
        read its data.
        loss: what to say if there is no store, where there was one; "" where there need not be one.
        """
        first = FirstLook(self._parts, self._attaching, self._is_full, end, loss, suspect=suspect)
        self.server = await first.until_good(wait)

    def _is_full(self) -> bool:
        """Whether its disk has no space, not even for deletes."""
        return self._free_space(0) < DELETES_SHARE

    def count_in(self, counts: Counts) -> None:
        """Count what is asked of it in a process's row."""
        for batcher in (self._reads, self._large, self._writes):
            batcher.count_in(counts)
        self._housekeeping.sweep.count_in(counts)

    @property
    def known(self) -> Position:
        """Where the store was when it was last looked at, as `Attaching` has it."""
        return self._attaching.known

    async def end(self) -> End | None:
        """The end of the history, None if the store does not say so at once."""
        with suppress(StoreLost, Rejected, TimeoutError):
            async with asyncio.timeout(GRACE):
                connection = await self._parts.attacher.open()
                try:
                    return await read_end(connection)
                finally:
                    await connection.close()
        return None

    async def open_log(self, wants_value: Callable[[bytes], bool] = _always) -> "ChangeLogConnection":
        """A connection on which the change log can be followed.  Raises StoreLost.

        wants_value: whether a key's large values are to be read; else its changes say only how many bytes they have.
        """
        return await self._parts.log(self._writes.is_busy, self._attaching.know, wants_value)

    async def run(self) -> None:
        """Serve until cancelled.  Raises Superseded if a script refuses the store; from then on all is refused."""
        batchers = (self._reads, self._large, self._writes)
        try:
            await run_together(*(batcher.run() for batcher in batchers), *self._parts.tasks(), self._keep_house())
        except Superseded as error:
            for batcher in batchers:
                batcher.retire(error)
            raise

    async def _keep_house(self) -> None:
        try:
            # How the embedded store syncs is known.
            await run_together(self._housekeeping.run(), *([] if self._fsync else [self._durability.run()]))
        except Superseded:
            # Writes in flight are refused as well, and then certainly not done.
            with suppress(TimeoutError):
                async with asyncio.timeout(GRACE):
                    while self._writes.is_busy():  # noqa: ASYNC110  # rare, and soon over
                        await asyncio.sleep(BUSY_PAUSE)
            raise

    def learn_servers(self) -> None:
        """See `Parts`."""
        self._parts.learn_servers()

    async def close(self) -> None:
        """Close what `run` does not close, and note that we left: nobody has to find our last writes again."""
        engine = self._attaching.engine
        if engine and not (engine.synced and self._fsync):
            with suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(GRACE):
                    await self._control.call(script("leave", [META], [self._writes.daemon]))
        self._history.close()
        await self._control.close()
        await self._listing.close()
        await self._backlog.close()
        await self._parts.close()

    # ---- ranges of keys

    def pages(self, wanted: KeyRange, *, records: bool) -> AsyncIterator[Page]:
        """The keys that match, page by page; at least one page.  Raises Unavailable."""
        return self._ranges.pages(wanted, records=records)

    async def page(self, pattern: bytes, after: bytes, *, values: bool = True) -> tuple[Page, bytes]:
        """Some of the keys that match, from one on, with their records, as of one moment; and the last key that was
        looked at, b"" at the end.  Also expired keys whose end is not in the change log yet.

        values: whether with large ones.  Raises Unavailable.
        """
        return await self._ranges.page(pattern, after, values=values)

    async def records(self, keys: Sequence[bytes], *, values: bool = True) -> Page:
        """The records of the first of some keys, at least one, as of one moment, None for those that are not there;
        also expired ones whose end is not in the change log yet.  values: whether with large ones.  Raises
        Unavailable."""
        return await self._ranges.records(keys, values=values)

    async def count(self, pattern: bytes) -> int:
        """How many keys match.  Raises Unavailable."""
        return await self._ranges.count(pattern)

    # ---- how it is doing

    def now(self) -> int:
        """The store's clock as far as this daemon knows, in milliseconds."""
        return self._clock.now

    async def memory(self) -> tuple[int, int]:
        """Bytes that it takes, and that it may take, 0 for no limit.  Raises Unavailable."""
        info = info_of(await self._control.call(command("INFO", "memory")))
        return int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))

    async def vitals(self) -> Vitals:
        """How it is doing.  Raises Unavailable."""
        return await ask_vitals(self._control, self._clock)

    async def counted(self) -> dict[bytes, tuple[int, int]]:
        """Keys and bytes of the patterns that are counted for quotas.  Raises Unavailable."""
        return await ask_counted(self._control)

    async def engine(self) -> str:
        """The engine that answers now, such as "Valkey 9.1.2".  Raises Unavailable."""
        return engine_of(info_of(await self._control.call(command("INFO", "server"))))
