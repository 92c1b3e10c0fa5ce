"""One budget of memory for what all connections of a process hold: lines that have begun, input that waits, open
transactions, patterns, copies in flight, and what their peers have not read.

It is counted where something is kept, not where it passes through: a request that is answered at once costs nothing
here.  What a connection holds is asked for when it keeps something, and of all of them every few seconds.  Over the
budget, who holds the most is ended: that is nobody who is served as fast as it asks.  What is at the store is lent to
it: nobody can let go of that, so it is refused where there is no room.

Lines that were pushed to many watchers are counted for each who has not read them, though most share one copy.
"""

import asyncio
from typing import Protocol

from kvd.counts import Counts
from kvd.process.freed_memory import SPARE_BYTES, give_back_now

LEAST = 4096
"""Bytes from which on a connection is counted: less is part of what any connection takes."""
NOTED_BYTES = 4 * LEAST
"""Bytes of input, or of replies that wait for others, from which on they are counted as they come, and not only in the
next round."""
MOST_LENT = 0.5
"""The part of the budget that may be lent: what is refused for that reason must have come first."""

MOST_FREED = 0.125
"""The part of the budget that may be let go of in one turn of the loop before what is large waits for the next one."""


class Holder(Protocol):
    """A connection.  Compared by identity."""

    def held(self) -> int:
        """Bytes that it holds now."""

    def end_for_memory(self) -> None:
        """Let go of all of it."""


class Budget:
    """Of one process."""

    def __init__(self, limit: int, counts: Counts) -> None:
        """limit: int, bytes, 0 for none.  counts: where the sum is told."""
        self._limit = limit
        self._counts = counts
        self._held: dict[Holder, int] = {}
        self._lent = 0
        # With what is lent.
        self._total = 0
        # Of those who were ended, since what they held was given back to the system: a crowd that is ended one by one
        # within a turn of the loop leaves it in pieces, which the next ones find no use for.
        self._freed = 0
        # The same of this turn of the loop: what their transports have is freed at its end.
        self._freed_now = 0
        self._called = False

    def __contains__(self, holder: Holder) -> bool:
        """Whether it is counted."""
        return holder in self._held

    def note(self, holder: Holder) -> None:
        """Count what a connection holds now; somebody may be ended for it, though not before this returns."""
        held = holder.held()
        self._count(holder, held if held >= LEAST else 0)

    def relieve(self) -> None:
        """End those now who would be ended after all that the loop has read, which may be something of everybody.

        Nothing may be at work with any connection that it would mind losing.
        """
        if self._called:
            self._end_some()

    @property
    def is_crowded(self) -> bool:
        """Whether so much is let go of in this turn of the loop that what is large should wait for the next one."""
        return self._freed_now > self._limit * MOST_FREED

    def forget(self, holder: Holder) -> None:
        """It is gone."""
        self._count(holder, 0)

    def exceeds(self, holder: Holder, more: int) -> bool:
        """Whether a connection would be ended, if it held so many bytes more."""
        if not self._would_end(holder, more):
            return False
        # Peers may have read meanwhile, which nobody tells of what little was left of a large reply.
        for one in list(self._held):
            self.note(one)
        return self._would_end(holder, more)

    def _would_end(self, holder: Holder, more: int) -> bool:
        """The same, by what was counted last."""
        return not self.has_room(more) and self._held.get(holder, 0) + more >= max(self._held.values(), default=0)

    def has_room(self, more: int) -> bool:
        """Whether there is room for so many bytes more, of any connection."""
        return self._total + more <= self._limit or not self._limit

    def lend(self, size: int) -> bool:
        """Count bytes that nobody can let go of, until `give_back`; False, and they are not, if there is no room.

        If nothing is lent there is, however many they are: they would never find more.
        """
        if self._lent and self._lent + size > self._limit * MOST_LENT and self._limit:
            return False
        self._lent += size
        self._add(size)
        return True

    def give_back(self, size: int) -> None:
        """They are gone."""
        self._lent -= size
        self._add(-size)

    def _count(self, holder: Holder, held: int) -> None:
        before = self._held.get(holder, 0)
        if held:
            self._held[holder] = held
        elif before:
            del self._held[holder]
        self._add(held - before)

    def _add(self, size: int) -> None:
        self._total += size
        self._counts.held = self._total
        if self._total > self._limit > 0 and not self._called:
            self._called = True
            asyncio.get_running_loop().call_soon(self._end_some)

    def _end_some(self) -> None:
        """End those who hold the most, until the rest is within the budget."""
        self._called = False
        while self._total > self._limit and self._held:
            holder = max(self._held, key=self._held.__getitem__)
            counted, held = self._held[holder], holder.held()
            if held < counted:
                # Its peer has read meanwhile.
                self._count(holder, held if held >= LEAST else 0)
            else:
                self.forget(holder)
                holder.end_for_memory()
                self._free(counted)

    def _free(self, size: int) -> None:
        self._freed += size
        if not self._freed_now:
            asyncio.get_running_loop().call_soon(self._begin_turn)
        self._freed_now += size
        if self._freed >= min(self._limit // 8, SPARE_BYTES):
            self._freed = 0
            give_back_now()

    def _begin_turn(self) -> None:
        self._freed_now = 0
