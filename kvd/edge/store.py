"""The store of an edge: reads from the copy, and asks the upstream for what is left."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import NoReturn

from kvd.asked_once import AskedOnce
from kvd.counts import Counts
from kvd.edge.clock import Clock
from kvd.edge.copy import Copy, within
from kvd.edge.feed import Feed, TooLarge
from kvd.edge.forwarding import Forwarding
from kvd.edge.freshness import Freshness
from kvd.edge.pipe import POSITION, Pipe, position_of
from kvd.edge.relaying import Relay, refusal_of
from kvd.edge.tunnel import Tunnel
from kvd.edge.upstream import Unfit, Upstream, shown
from kvd.errors import (
    ANEW,
    Compacted,
    Denied,
    Future,
    NotAuthenticated,
    OtherStore,
    Refusal,
    StartError,
    StoreLost,
    Unavailable,
)
from kvd.model import TEXT, Change, Form, Position, Record
from kvd.process.tasks import run_together
from kvd.requests import KeyRange
from kvd.settings import Settings
from kvd.store.api import Found, Page, ReadDone, Vitals
from kvd.watch.hub import Hub
from kvd.wire.asking import watch_words

SILENCE = 30.0
"""Seconds without a byte after which a write's connection is lost: a daemon answers within some 20."""
LARGE = 16 * 1024
"""Bytes of a value that is sent alone, so that the peer may read it first."""
PROBES = 10
"""How often within `--max-stale` it is made sure that the copy is up to date."""
LEAST_PROBE = 0.02
"""Seconds between two of these at the least, and
MOST_PROBE: at the most."""
MOST_PROBE = 1.0
LASTING = (Unfit, TooLarge, NotAuthenticated, Denied)
"""What time does not mend."""
EVERYTHING = 2**53
"""More keys than there can be."""


class EdgeStore:
    """One copy.  `start` it, keep `run` running, `close` it."""

    batch_items = 512
    batch_bytes = 512 * 1024

    def __init__(self, settings: Settings) -> None:
        """Raises StartError."""
        self._upstream = Upstream(settings)
        self._clock = Clock()
        self._freshness = Freshness(settings.max_stale)
        self.feed = Feed(self._upstream, self._freshness, self._clock, settings.memory.store)
        self._most = settings.memory.store
        self._writes = Pipe(self._upstream, SILENCE)
        # Apart from writes, which may take longer than it takes to see that an upstream is gone.
        self._control = Pipe(self._upstream, self._freshness.patience)
        self.feed.silent = self._writes.give_up
        self._forwarding = Forwarding(self._writes, self._freshness, lambda: self.known)
        self.write_then, self.write, self.transact = (
            self._forwarding.write_then, self._forwarding.write, self._forwarding.transact
        )  # fmt: skip
        self._relay = Relay(self._upstream, SILENCE)
        self._position = AskedOnce(self._ask_position)
        self._tasks: list[asyncio.Task[None]] = []
        self._probe = min(MOST_PROBE, max(LEAST_PROBE, settings.max_stale / PROBES))
        self.now = self._clock.now

    # ---- its life

    async def start(self, *, wait: float) -> None:
        """Begin to follow; returns when there is a copy that may be shown.  wait: seconds.  Raises StartError."""
        self._tasks = [
            asyncio.create_task(run_together(self.feed.run(), self._writes.run(), self._control.run(), self._prove()))
        ]
        loop = asyncio.get_running_loop()
        give_up = loop.time() + wait
        while time.monotonic() >= self._freshness.until:
            if isinstance(self.feed.failure, LASTING):
                raise StartError(f"--follow: {self.feed.failure}")
            if loop.time() > give_up:
                why = self.feed.failure or "it does not answer"
                raise StartError(f"cannot follow {shown(self._upstream.addresses)}: {why}")
            await asyncio.sleep(LEAST_PROBE)

    @property
    def known(self) -> Position:
        """Where the copy is."""
        return self.feed.position or Position(0, b"")

    @property
    def server(self) -> str:
        """What keeps the data, in words."""
        return f"a copy of {self._upstream.address}"

    def max_value(self) -> int:
        """The longest value that the upstream takes."""
        return int(self._upstream.facts.get("max-value", 0))

    async def run(self) -> None:
        """Serve until cancelled."""
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Let go of the upstream."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._position.close()
        await self._relay.close()

    async def open_log(self, wants_value: Callable[[bytes], bool]) -> NoReturn:  # noqa: ARG002
        """There is no change log here but what the feed brings.  Raises StoreLost."""
        raise StoreLost("an edge has no change log")

    def attach(self, hub: Hub) -> Feed:
        """Hand changes to a hub, which is that of the sessions."""
        self.feed.attach(hub)
        return self.feed

    # ---- whether it is up to date

    async def _prove(self) -> None:
        while True:
            with suppress(Refusal):
                await self.position()
            is_shown = time.monotonic() < self._freshness.until
            await asyncio.sleep(self._probe if is_shown else LEAST_PROBE)

    async def position(self) -> Position:
        """The position that the store has now, once the copy has it.  Raises Unavailable."""
        return await self._position.ask()

    async def _ask_position(self) -> Position:
        asked = time.monotonic()
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def done(replies: list[bytes], position: Position | None, sent: bool) -> None:  # noqa: ARG001
            if not future.done():
                future.set_result(replies[0] if replies else b"")

        self._control.ask(POSITION, 1, done)
        try:
            async with asyncio.timeout(self._freshness.max_stale):
                position = position_of(await future)
        except TimeoutError:
            position = None
        if position is None:
            raise self._freshness.refusal()
        await self._freshness.reach(position)
        self._freshness.confirm(asked)
        return position

    def facts(self) -> dict[str, int | str]:
        """What INFO says of an edge."""
        behind = self._freshness.behind()
        return {
            "upstream": self._upstream.address,
            "behind-ms": int(min(behind, 10**9) * 1000),
            "path": " ".join(self._upstream.path),
        }

    @property
    def _copy(self) -> Copy:
        """Raises Unavailable if it must not be shown."""
        self._freshness.check()
        return self.feed.copy

    # ---- single keys

    @property
    def kept(self) -> Callable[[bytes], Record | None]:
        """See `api.Store`."""
        feed, freshness, now = self.feed, self._freshness, time.monotonic

        def kept(key: bytes) -> Record | None:
            return feed.copy.get(key) if now() < freshness.until else None

        return kept

    def kept_all(self, keys: Sequence[bytes]) -> list[Record] | None:
        """See `api.Store`."""
        if time.monotonic() >= self._freshness.until:
            return None
        records = [record for record in map(self.feed.copy.get, keys) if record]
        fits = len(records) == len(keys) and sum([len(record.value) for record in records]) <= self.batch_bytes
        return records if fits else None

    def read_then(self, keys: Sequence[bytes], done: ReadDone, *, fetch: bool = False) -> None:
        """See `api.Store`."""
        try:
            found = self._found(keys, fetch=fetch)
        except Unavailable as error:
            done(error)
        else:
            done((found, 0))

    def ask_then(self, keys: Sequence[bytes], done: ReadDone, *, fetch: bool = False) -> None:
        """See `api.Store`."""
        self.read_then(keys, done, fetch=fetch)

    def _found(self, keys: Sequence[bytes], *, fetch: bool) -> list[Record | None]:
        records = [*map(self._copy.get, keys)]
        if fetch:
            return records
        return [record._replace(large=True) if record and len(record.value) > LARGE else record for record in records]

    async def read(self, keys: Sequence[bytes]) -> Found:
        """See `api.Store`."""
        return self._found(keys, fetch=False), 0

    async def fetch(self, key: bytes) -> Record | None:
        """See `api.Store`."""
        return self._copy.get(key)

    def lives_then(self, keys: Sequence[bytes], wanted: Sequence[bool], done: ReadDone) -> None:
        """See `session.elsewhere`."""
        asked = [key for key, is_wanted in zip(keys, wanted, strict=True) if is_wanted]

        def answered(replies: list[bytes], position: Position | None, sent: bool) -> None:  # noqa: ARG001
            if len(replies) < len(asked):
                done(Unavailable("the upstream was lost; try again"))
            elif refusal := next(filter(None, map(refusal_of, replies)), None):
                done(refusal)
            else:
                self._forwarding.settle(position, 0, partial(self._tell_lives, keys, wanted, replies, done))

        self._writes.ask(b"".join([b"TTL %b\n" % key for key in asked]), len(asked), answered, wants_position=True)

    def _tell_lives(
        self, keys: Sequence[bytes], wanted: Sequence[bool], replies: Sequence[bytes], done: ReadDone
    ) -> None:
        lives = iter(map(_life_of, replies))
        try:
            found = self._found(keys, fetch=False)
        except Unavailable as error:
            done(error)
        else:
            pairs = zip(found, wanted, strict=True)
            done(([next(lives) if is_wanted else record for record, is_wanted in pairs], 0))

    # ---- ranges of keys

    async def pages(self, wanted: KeyRange, *, records: bool) -> AsyncIterator[Page]:
        """See `api.Store`."""
        least, most = within(wanted)
        left = wanted.limit or EVERYTHING
        while left > 0:
            items, last = self._copy.page(wanted, least, most, left, records=records)
            yield Page(self.known, items)
            if not last:
                return
            left -= len(items)
            least, most = (least, (last, False)) if wanted.reverse else ((last, False), most)
            await asyncio.sleep(0)

    async def page(self, pattern: bytes, after: bytes, *, values: bool = True) -> tuple[Page, bytes]:
        """See `api.Store`."""
        wanted = KeyRange(pattern, after)
        items, last = self._copy.page(wanted, *within(wanted), EVERYTHING, records=True)
        # Others have their turn.
        await asyncio.sleep(0)
        return Page(self.known, items if values else [(key, _without_value(record)) for key, record in items]), last

    async def records(self, keys: Sequence[bytes], *, values: bool = True) -> Page:
        """See `api.Store`."""
        items = self._copy.records(keys)
        if not values:
            items = [(key, record and _without_value(record)) for key, record in items]
        return Page(self.known, items)

    async def count(self, pattern: bytes) -> int:
        """See `api.Store`."""
        return self._copy.count(pattern)

    # ---- the change log

    async def history(self) -> tuple[Position, int]:
        """See `api.Store`."""
        self._freshness.check()
        return self.known, self._freshness.hub.floor

    async def check(self, position: Position) -> int:
        """See `api.Store`; a position before the revision that it returns is one for `tunnel`."""
        here, floor = await self.history()
        if here.store != position.store or position.revision > here.revision:
            # Newer than the copy, or of no history at all.
            here = await self.position()
            if here.store != position.store:
                raise OtherStore("the position is of another store, or of a history that was replaced" + ANEW)
            if position.revision > here.revision:
                raise Future("there is no such revision yet" + ANEW)
            floor = self._freshness.hub.floor
        return floor

    async def changes_after(self, *_: object, **__: object) -> list[Change]:
        """Not of an edge: its upstream is asked."""
        raise Compacted(self._too_old())

    async def keys_before(self, *_: object) -> tuple[list[bytes], bytes]:
        """See `api.Store`: no more than the hub has."""
        raise Compacted(self._too_old())

    async def changes_at(self, *_: object, **__: object) -> list[Change]:
        """See `api.Store`: no more than the hub has."""
        raise Compacted(self._too_old())

    def _too_old(self) -> str:
        floor = Position(self._freshness.hub.floor, self.known.store)
        return f"{bytes(floor).decode()} is the oldest position that this daemon remembers"

    # ---- what the upstream answers whole: see `session.elsewhere`

    async def reach(self, position: Position) -> None:
        """Return once the copy has a position.  Raises Unavailable."""
        await self._freshness.reach(position)

    def relay(self, request: bytes, *, is_write: bool = False) -> AsyncGenerator[bytes, None]:
        """The lines of a reply."""
        return self._relay.ask(request, is_write=is_write)

    async def tunnel(self, position: Position, form: Form, patterns: Sequence[bytes]) -> Tunnel:
        """A watch of what is older than the copy."""
        return await Tunnel.open(self._relay, position, form, patterns)

    def sync(self, form: Form, patterns: Sequence[bytes]) -> AsyncGenerator[bytes, None]:
        """The lines of a copy, and its status."""
        return self._relay.ask(b"SYNC %b\n" % watch_words(form, patterns), is_watch=True)

    # ---- what INFO tells

    async def memory(self) -> tuple[int, int]:
        """Bytes that the copy takes, and that it may take, 0 for no limit."""
        return self.feed.copy.size, self._most

    async def vitals(self) -> Vitals:
        """How the copy is doing: its process is the daemon's own."""
        return Vitals(0, 0, 0, 0)

    def count_in(self, counts: Counts) -> None:
        """Nothing is counted of a copy."""

    async def engine(self) -> str:
        """What keeps the data, in words."""
        return self.server


def _without_value(record: Record) -> Record:
    return record._replace(value=b"", apart=len(record.value))


def _life_of(line: bytes) -> Record | None:
    """What the reply to a TTL says, as a record."""
    word, _, rest = line.partition(b" ")
    if word == b"NONE":
        return None
    # The store adds a millisecond to every deadline.
    deadline = 0 if rest == b"-" else round(float(rest) * 1000) + 1
    return Record(b"0", b"%d" % deadline, TEXT, b"")
