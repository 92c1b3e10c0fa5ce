"""The store of an edge: reads from the copy, and asks the upstream for what is left."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import NoReturn

from kvd.counts import Counts
from kvd.edge.clock import Clock
from kvd.edge.deleting import RangeDeleting
from kvd.edge.feed import Feed, TooLarge
from kvd.edge.forwarding import Forwarding
from kvd.edge.freshness import Freshness
from kvd.edge.lives import Lives
from kvd.edge.pipe import Pipe
from kvd.edge.proof import LEAST_PROBE, Proof
from kvd.edge.reading import Reading
from kvd.edge.relaying import Relay
from kvd.edge.tunnel import Tunnel
from kvd.edge.upstream import Upstream, shown
from kvd.errors import (
    ANEW,
    Compacted,
    Future,
    OtherStore,
    StartError,
    StoreLost,
)
from kvd.model import Change, Form, Position
from kvd.process.tasks import run_together
from kvd.settings import Settings
from kvd.store.api import Vitals
from kvd.watch.hub import Hub
from kvd.wire.asking import watch_words

SILENCE = 30.0
"""Seconds without a byte after which a write's connection is lost: a daemon answers within some 20."""


class EdgeStore(Reading):
    """One copy.  `start` it, keep `run` running, `close` it."""

    def __init__(self, settings: Settings) -> None:
        """Raises StartError."""
        self._upstream = Upstream(settings)
        self._clock = Clock()
        self._most = settings.memory.store
        freshness = Freshness(settings.max_stale)
        super().__init__(Feed(self._upstream, freshness, self._clock, self._most), freshness)
        self._writes = Pipe(self._upstream, SILENCE)
        # Apart from writes, which may take longer than it takes to see that an upstream is gone.
        self._control = Pipe(self._upstream, freshness.patience)
        self.feed.silent = self._writes.give_up
        forwarding = Forwarding(self._writes, freshness, lambda: self.known)
        self.write_then, self.write, self.transact = forwarding.write_then, forwarding.write, forwarding.transact
        lives = Lives(self._writes, freshness, self)
        self.lives_then, self.lives = lives.lives_then, lives.lives
        self._relay = Relay(self._upstream, SILENCE)
        self._proof = Proof(self._control, freshness, self._leave_upstream)
        self.position = self._proof.position
        self.delete = RangeDeleting(self._relay, self._proof, freshness, self).delete
        self._tasks: list[asyncio.Task[None]] = []
        self.now = self._clock.now

    def _leave_upstream(self) -> None:
        """What feeds the copy is there, and cut off from the store, as others are not."""
        if address := self.feed.leave_behind():
            self._writes.leave(address)

    # ---- its life

    async def start(self, *, wait: float) -> None:
        """Begin to follow; returns when there is a copy that may be shown.  wait: seconds.  Raises StartError."""
        parts = (self.feed, self._writes, self._control, self._proof)
        self._tasks = [asyncio.create_task(run_together(*(part.run() for part in parts)))]
        loop = asyncio.get_running_loop()
        give_up = loop.time() + wait
        while time.monotonic() >= self._freshness.until:
            if isinstance(self.feed.failure, TooLarge) or self._upstream.is_hopeless():
                raise StartError(f"--follow: {self._why()}")
            if loop.time() > give_up:
                raise StartError(f"cannot follow {shown(self._upstream.addresses)}: {self._why()}")
            await asyncio.sleep(LEAST_PROBE)

    def _why(self) -> str:
        """Why there is no copy."""
        if keys := self.feed.keys_so_far:
            return f"the copy was not whole in time ({keys} keys so far); to wait longer: --store-wait"
        failures = (*self._upstream.failures.values(), self.feed.failure)
        return "; ".join(dict.fromkeys(str(failure) for failure in failures if failure)) or "it does not answer"

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
        self._proof.close()
        await self._relay.close()

    async def open_log(self, wants_value: Callable[[bytes], bool]) -> NoReturn:  # noqa: ARG002
        """There is no change log here but what the feed brings.  Raises StoreLost."""
        raise StoreLost("an edge has no change log")

    def attach(self, hub: Hub) -> Feed:
        """Hand changes to a hub, which is that of the sessions."""
        self.feed.attach(hub)
        return self.feed

    def facts(self) -> dict[str, int | str]:
        """What INFO says of an edge."""
        behind = self._freshness.behind()
        return {
            "upstream": self._upstream.address,
            "behind-ms": int(min(behind, 10**9) * 1000),
            "path": " ".join(self._upstream.path),
        }

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
                raise OtherStore(f"the history is that of {here.store.decode()}{ANEW}")
            if position.revision > here.revision:
                raise Future(f"the store is at {here.revision}, and has not come so far")
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

    def relay(self, request: bytes) -> AsyncGenerator[bytes, None]:
        """The lines of a reply."""
        return self._relay.ask(request)

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

    def learn_servers(self) -> None:
        """An edge has none."""

    async def counted(self) -> dict[bytes, tuple[int, int]]:
        """An edge holds to no quotas."""
        return {}

    def count_in(self, counts: Counts) -> None:
        """Nothing is counted of a copy."""

    async def engine(self) -> str:
        """What keeps the data, in words."""
        return self.server
