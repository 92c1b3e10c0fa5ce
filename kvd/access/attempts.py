"""Failed logins: the next ones of the same user from the same address have to wait.

So one who guesses passwords is slow, and nobody else is: neither others behind the same address, nor the same user
elsewhere.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

FIRST_DELAY, LONGEST_DELAY = 0.25, 8.0
"""Seconds between a failure and the next attempt; doubled with each failure, up to the longest."""
MOST_DOUBLED = 5
"""Failures after which the delay is the longest one."""
FORGET = 600.0
"""Seconds after which a failure is forgotten."""
MOST_WAITING = 4
"""Attempts of one user from one address that wait for their turn; more are refused."""
MOST = 10_000
"""Users and addresses that are remembered; of more, the oldest are forgotten."""

Pair = tuple[str, str]
"""A user's name, which need not be one's, and an address."""


@dataclass(eq=False, slots=True)
class Attempts:
    """Those of one pair, after a failure.  turn: for one at a time.  at: the loop's time of the last failure."""

    failures: int = 0
    at: float = 0.0
    waiting: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def next(self) -> float:
        """The loop's time before which there is no other attempt."""
        return self.at + min(FIRST_DELAY * (1 << min(self.failures - 1, MOST_DOUBLED)), LONGEST_DELAY)


class Failures:
    """All pairs that have failed lately."""

    def __init__(self) -> None:
        self._pairs: OrderedDict[Pair, Attempts] = OrderedDict()

    def __len__(self) -> int:
        return len(self._pairs)

    def of(self, pair: Pair, now: float) -> Attempts | None:
        """The attempts of a pair, if one has failed lately."""
        found = self._pairs.get(pair)
        if found and not found.waiting and now > found.at + FORGET:
            del self._pairs[pair]
            return None
        return found

    def add(self, pair: Pair, now: float) -> None:
        """An attempt has failed."""
        found = self._pairs.setdefault(pair, Attempts())
        found.failures += 1
        found.at = now
        self._pairs.move_to_end(pair)
        while len(self._pairs) > MOST:
            self._pairs.popitem(last=False)

    def forget(self, pair: Pair) -> None:
        """An attempt has succeeded."""
        self._pairs.pop(pair, None)
