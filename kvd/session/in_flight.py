"""How many requests may be at the store at once, and how many bytes: more are refused, so that a store that is slow has
no queue without end.

What is at the store cannot be let go of, for to end its connection would free nothing: the budget has it apart from
what connections hold.  What waits for its peer, such as a listing, does not count: who does not read could keep all
others out.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from kvd.errors import LimitReached
from kvd.requests import AnyWrite, Simple
from kvd.session.budget import LEAST, NOTED_BYTES, Budget
from kvd.session.limits import Limit, Limits
from kvd.store.api import ReadDone, WriteDone
from kvd.wire.words import MAX_KEY

COUNTED = ("COUNT", "DEL", "COMMIT")
"""Requests that count of those that are done alone."""
FEW = NOTED_BYTES // MAX_KEY
"""Keys whose bytes are not worth being counted: to count them takes longer than anything else here."""

MANY = 128
"""Requests that take memory worth being counted, however short they are, and
REQUEST_BYTES: that of each of them beyond its own bytes."""
REQUEST_BYTES = 200


class Reading(Protocol):
    """As `Store.read_then`."""

    def __call__(self, keys: Sequence[bytes], done: ReadDone, *, fetch: bool = False) -> None: ...


class Writing(Protocol):
    """As `Store.write_then`."""

    def __call__(self, writes: Sequence[AnyWrite] | Simple, size: int, done: WriteDone) -> None: ...


class InFlight:
    """Those of one process."""

    def __init__(self, limits: Limits, budget: Budget) -> None:
        self._limits = limits
        self._budget = budget
        self._most = limits.sizes.requests
        self._count = 0

    def at_once(self, items: int) -> int:
        """How many of so many may go together."""
        return min(items, self._most) if self._most else items

    def reading(self, read: Reading) -> Reading:
        """The same, within the limits."""

        def limited(keys: Sequence[bytes], done: ReadDone, *, fetch: bool = False) -> None:
            count = len(keys)
            size = sum(map(len, keys)) + _overhead(count) if count > FEW else 0
            if size < LEAST and not self._most:
                read(keys, done, fetch=fetch)
                return
            try:
                self._take(count, size)
            except LimitReached as error:
                done(error.with_traceback(None))
            else:
                read(keys, partial(self._give_back, count, size, done), fetch=fetch)

        return limited

    def writing(self, write: Writing) -> Writing:
        """The same, within the limits."""

        def limited(writes: Sequence[AnyWrite] | Simple, size: int, done: WriteDone) -> None:
            count = len(writes.keys if isinstance(writes, Simple) else writes)
            weight = size + (_size_of_keys(writes) + _overhead(count) if count > FEW else 0)
            if weight < LEAST and not self._most:
                write(writes, size, done)
                return
            try:
                self._take(count, weight)
            except LimitReached as error:
                done(error.with_traceback(None))
            else:
                write(writes, size, partial(self._give_back, count, weight, done))

        return limited

    @contextmanager
    def alone(self, verb: str, size: int = 0) -> Iterator[None]:
        """Around a request that is done alone, and has so many bytes.  Raises LimitReached."""
        count = int(verb in COUNTED)
        self._take(count, size)
        try:
            yield
        finally:
            self._forget(count, size)

    def _take(self, count: int, size: int) -> None:
        """Count them.  Raises LimitReached if they are too many."""
        if self._count + count > self._most > 0:
            raise self._limits.reached(Limit.REQUESTS, count)
        if size >= LEAST and not self._budget.lend(size):
            raise self._limits.reached(Limit.BYTES, count)
        self._count += count

    def _forget(self, count: int, size: int) -> None:
        self._count -= count
        if size >= LEAST:
            self._budget.give_back(size)

    def _give_back(self, count: int, size: int, done: Callable[[Any], None], outcome: Any) -> None:
        self._forget(count, size)
        done(outcome)


def _overhead(count: int) -> int:
    return count * REQUEST_BYTES if count > MANY else 0


def _size_of_keys(writes: Sequence[AnyWrite] | Simple) -> int:
    keys = writes.keys if isinstance(writes, Simple) else [key for write in writes for key in write.touches()]
    return sum(map(len, keys))
