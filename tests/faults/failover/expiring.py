"""Keys with a time to live: there until their time is over, for nobody there from then on, and ended once."""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from itertools import pairwise

from tests.faults.expiry import CLOCKS
from tests.faults.failover.peer import PAUSE, Peer
from tests.faults.failover.seen import UNKNOWN, Mortal, Seen, found
from tests.faults.failover.watching import MORTAL

LIVES = (0.3, 1.0, 3.0, 6.0)
"""Times to live, in seconds."""
LOOKED_AT = 40
"""Keys of which a reader looks at each, the latest."""
LATE = 5.0
"""Seconds in which a watcher is told of an end, while nothing is lost, and
PAUSE_OF_A_LOSS: without an acknowledged write, from which on something is: nobody can end a key without a primary."""
PAUSE_OF_A_LOSS = 1.0


class Expirer:
    """Sets them at one daemon, and reads them at another one."""

    def __init__(self, seen: Seen, ends: Callable[[], bool]) -> None:
        self._seen, self._ends = seen, ends
        self._count = 0
        self._latest: deque[str] = deque(maxlen=LOOKED_AT)

    async def write(self, peer: Peer) -> None:
        """On one connection."""
        while not self._ends():
            self._count += 1
            key, life = f"{MORTAL}{self._count}", random.choice(LIVES)
            start, (words,), end = await peer.ask(f"PUT {key} ttl={life} = 1")
            if words[0] == "OK":
                self._seen.mortal[key] = Mortal(start + life - CLOCKS, end + life + CLOCKS)
                self._latest.append(key)
            await asyncio.sleep(2 * PAUSE)

    async def read(self, peer: Peer) -> None:
        """On another one."""
        while not self._ends():
            if keys := list(self._latest):
                start, replies, end = await peer.ask(*(f"GETS {key}" for key in keys))
                for key, words in zip(keys, replies, strict=True):
                    self.check(key, found(words), start, end)
            await asyncio.sleep(PAUSE)

    def check(self, key: str, revision: int, start: float, end: float) -> None:
        """What a read found that was asked and answered then."""
        earliest, latest = self._seen.mortal[key]
        if revision == 0 and end < earliest:
            self._seen.mistimed.append(f"{key} was gone {earliest - end:.3f} s early")
        if revision not in (0, UNKNOWN) and start > latest:
            self._seen.mistimed.append(f"{key} was read {start - latest:.3f} s late")


def _whole_since(seen: Seen, until: float) -> float:
    """When the last loss was over; `until` if it was not."""
    times = [*seen.times_at_roots, until] if seen.times else []
    return max((after for before, after in pairwise(times) if after - before > PAUSE_OF_A_LOSS), default=0.0)


def ended_wrongly(seen: Seen, until: float) -> list[str]:
    """Those of them that a watcher saw end never, early, or more than once.  until: when the watches ended."""
    since = _whole_since(seen, until)
    return [
        f"{name} saw {key} end {[round(when - earliest, 3) for when in ends]} s late, of {until - latest:.1f} s"
        for name, watch in seen.watches.items()
        for key, (earliest, latest) in seen.mortal.items()
        for ends in [watch.ends_of.get(key)]
        if ends is not None
        and (len(ends) > 1 or any(when < earliest for when in ends) or (not ends and max(latest, since) + LATE < until))
    ]
