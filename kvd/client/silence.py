"""Notices that a daemon is silent: stopped, or its machine gone without a word."""

import asyncio
from collections.abc import Callable

from kvd.client.connection import Connection, Traffic
from kvd.client.errors import TimedOut

LOOKS = 4
"""Looks at the connection within the limit, after which it is given up.

They are counted, and no clock is asked: where this program was itself stopped, or busy, one look at the most is late,
and before the next one all that came meanwhile has been received.
"""


class Silence:
    """Gives a connection up on which, while something is expected, no byte has come for `limit` seconds.

    If the socket was full, bytes that go count as well: a large value may be long on its way.
    """

    def __init__(self, connection: Connection, limit: float | None, expecting: Callable[[], bool]) -> None:
        """limit: None for no limit."""
        self._connection, self._limit, self._expecting = connection, limit, expecting
        self._timer: asyncio.TimerHandle | None = None
        self._seen = Traffic(0, 0, 0)
        self._still = 0

    def begin(self) -> None:
        """Something is expected from now on; it ends by itself."""
        if self._timer is None and self._limit is not None:
            self._seen, self._still = self._connection.traffic(), 0
            self._timer = self._next(self._limit)

    def _next(self, limit: float) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(limit / LOOKS, self._look, limit)

    def _look(self, limit: float) -> None:
        self._timer = None
        if self._connection.is_closed() or not self._expecting():
            return
        now, seen = self._connection.traffic(), self._seen
        has_moved = now.came > seen.came or (seen.unsent and now.sent > seen.sent)
        # Not listening: what came before waits to be taken.
        self._still = 0 if has_moved or not self._connection.is_listening() else self._still + 1
        self._seen = now
        if self._still < LOOKS:
            self._timer = self._next(limit)
        else:
            self._connection.give_up(TimedOut(f"no byte from the daemon for {limit:g} s"))
