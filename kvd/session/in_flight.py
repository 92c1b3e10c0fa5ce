"""How many requests may be at the store at once: more are refused, so that a store that is slow has no queue without
end.  Where there is no such limit, it costs nothing.

What waits for its peer, such as a listing, does not count: who does not read could keep all others out.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from kvd.requests import AnyWrite, Simple
from kvd.session.limits import Limit, Limits
from kvd.store.api import ReadDone, WriteDone

COUNTED = ("COUNT", "DEL", "COMMIT")
"""Requests that count of those that are done alone."""


class Reading(Protocol):
    """As `Store.read_then`."""

    def __call__(self, keys: Sequence[bytes], done: ReadDone, *, fetch: bool = False) -> None: ...


class Writing(Protocol):
    """As `Store.write_then`."""

    def __call__(self, writes: Sequence[AnyWrite] | Simple, size: int, done: WriteDone) -> None: ...


class InFlight:
    """Those of one process."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._most = limits.sizes.requests
        self._count = 0

    def at_once(self, items: int) -> int:
        """How many of so many may go together."""
        return min(items, self._most) if self._most else items

    def reading(self, read: Reading) -> Reading:
        """The same, within the limit."""
        if not self._most:
            return read

        def limited(keys: Sequence[bytes], done: ReadDone, *, fetch: bool = False) -> None:
            if self._take(len(keys)):
                read(keys, partial(self._give_back, len(keys), done), fetch=fetch)
            else:
                done(self._limits.reached(Limit.REQUESTS, len(keys)))

        return limited

    def writing(self, write: Writing) -> Writing:
        """The same, within the limit."""
        if not self._most:
            return write

        def limited(writes: Sequence[AnyWrite] | Simple, size: int, done: WriteDone) -> None:
            count = len(writes.keys) if isinstance(writes, Simple) else len(writes)
            if self._take(count):
                write(writes, size, partial(self._give_back, count, done))
            else:
                done(self._limits.reached(Limit.REQUESTS, count))

        return limited

    @contextmanager
    def alone(self, verb: str) -> Iterator[None]:
        """Around a request that is done alone.  Raises LimitReached."""
        if not self._most or verb not in COUNTED:
            yield
            return
        if not self._take(1):
            raise self._limits.reached(Limit.REQUESTS)
        try:
            yield
        finally:
            self._count -= 1

    def _take(self, count: int) -> bool:
        if self._count + count > self._most:
            return False
        self._count += count
        return True

    def _give_back(self, count: int, done: Callable[[Any], None], outcome: Any) -> None:
        self._count -= count
        done(outcome)
