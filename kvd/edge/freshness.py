"""Until when the copy may be shown, and replies that wait for it.

At some time the upstream is asked for the store's position.  Once the copy has that position, it is as the store was at
that time, or newer, and may be shown for `max_stale` seconds from then on.  Upstreams that are edges ask theirs first,
so this holds at any depth.
"""

import asyncio
import time
from collections.abc import Callable

from kvd.errors import Unavailable
from kvd.model import Position
from kvd.watch.hub import Hub

NEVER = float("-inf")
SHORTEST_PATIENCE = 0.5
"""Seconds: a machine may be busy for as long as that."""


class Freshness:
    """What is known of one copy.

    until: float, on the monotonic clock, up to when it may be shown.
    """

    def __init__(self, max_stale: float) -> None:
        self.max_stale = max_stale
        self.until = NEVER
        self.hub = Hub()
        self._doubted = NEVER

    @property
    def patience(self) -> float:
        """Seconds after which an upstream that says nothing is lost: so that another one is asked in time."""
        return max(SHORTEST_PATIENCE, self.max_stale / 2)

    def check(self) -> None:
        """Raises Unavailable if the copy must not be shown."""
        if time.monotonic() >= self.until:
            raise self.refusal()

    def refusal(self) -> Unavailable:
        """Why it must not."""
        return Unavailable(
            f"for {self.max_stale:.10g} s this daemon could not make sure that it is up to date with the one that it "
            "follows; ask that, or try again"
        )

    def confirm(self, asked: float) -> None:
        """The copy has all that the store had at a time of the monotonic clock."""
        if asked > self._doubted:
            self.until = max(self.until, asked + self.max_stale)

    def doubt(self) -> None:
        """The copy may lack what somebody was told; only what is asked from now on counts."""
        self.until = NEVER
        self._doubted = time.monotonic()

    def behind(self) -> float:
        """Seconds since the copy was known to be up to date, at the most."""
        return max(0.0, time.monotonic() - self.until + self.max_stale)

    def settle(self, revision: int, done: Callable[[], None], is_so: Callable[[], bool] = lambda: True) -> None:
        """Have something called once the copy has a revision, and is as `is_so` tells.

        If that takes too long it is called, too, for what it tells was done; but then nobody is shown the copy
        before it is known to be up to date again.
        """
        if revision <= self.hub.position.revision and is_so():
            done()
            return

        def reached() -> None:
            if is_so():
                timer.cancel()
                done()
            else:
                self.hub.when_reached(self.hub.position.revision + 1, reached)

        def late() -> None:
            self.hub.wait_no_longer(reached)
            self.doubt()
            done()

        timer = asyncio.get_running_loop().call_later(self.max_stale, late)
        self.hub.when_reached(max(revision, self.hub.position.revision + 1), reached)

    def settle_at(
        self, position: Position | None, done: Callable[[], None], is_so: Callable[[], bool] = lambda: True, *,
        revision: int = 0,
    ) -> None:  # fmt: skip
        """The same, for a position, None where it is not known what the store has now, and a revision."""
        if position is None:
            # Nobody sees the copy before it has been asked for anew.
            self.doubt()
        self.settle(max(position.revision if position else 0, revision), done, is_so)

    async def reach(self, position: Position) -> None:
        """Return once the copy has a position of the store.  Raises Unavailable, at once if its history has ended."""
        history = self.hub.position.store
        try:
            async with asyncio.timeout(self.max_stale):
                while self.hub.position.store != position.store or self.hub.position.revision < position.revision:
                    if self.hub.position.store not in (history, position.store):
                        raise self.refusal()
                    # Of another history: until this one begins.
                    same = self.hub.position.store == position.store
                    await self._published(position.revision if same else 2**53)
        except TimeoutError:
            raise self.refusal() from None

    async def _published(self, revision: int) -> None:
        reached = asyncio.Event()
        self.hub.when_reached(revision, reached.set)
        try:
            await reached.wait()
        finally:
            self.hub.wait_no_longer(reached.set)
