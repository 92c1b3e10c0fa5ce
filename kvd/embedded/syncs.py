"""How long syncs of the append-only file take, as far as that can be known.

With `appendfsync always` the engine syncs, and its latency monitor (of Redis 6.2 and 7, and of Valkey 9, alike) keeps
of each second in which a sync took a millisecond or more the longest, for the last 160 such seconds.  With `everysec`
it syncs in the background, and does not tell how long that takes: then it is the daemon's own sync, for the checksum.
"""

import time
from collections.abc import Callable
from pathlib import Path

from kvd.embedded import asking

EVENT = "aof-fsync-always"
"""What the monitor calls a sync."""


class Syncs:
    """Tells of each once.  took: is given the seconds of one; to be set."""

    def __init__(self, fsync: str) -> None:
        """fsync: the engine's appendfsync."""
        self._is_engines = fsync == "always"
        self._told = 0
        self.took: Callable[[float], None] = _nothing

    async def look(self, socket: Path, own: float) -> None:
        """Tell of those since the last look, but for the present second, which is not over.

        own: the seconds of the daemon's own, 0 if there was none.  Raises StoreLost.
        """
        if not self._is_engines:
            if own:
                self.took(own)
            return
        now = int(time.time())
        for second, longest in await asking.latencies(socket, EVENT):
            if self._told < second < now:
                self._told = second
                self.took(longest / 1000)


def _nothing(_: float) -> None:
    """Nobody wants to know."""
