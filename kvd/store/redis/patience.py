"""Gives up a connection that owes an answer for too long; looks at it only while it owes one, so that a process at rest
is not woken up for nothing.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from kvd.errors import StoreLost

LOOKS = 4
"""Looks in the time that an answer may take: so much later is noticed what never comes."""

Given = TypeVar("Given")


async def within(seconds: float, work: Coroutine[Any, Any, Given]) -> Given:
    """What something gives that may take so long.  Raises TimeoutError, and what it raises.

    A pause of the whole machine takes one look of these at the most: what came meanwhile is seen by the next.
    """
    doing = asyncio.create_task(work)
    try:
        for _ in range(LOOKS):
            if (await asyncio.wait({doing}, timeout=seconds / LOOKS))[0]:
                return doing.result()
        raise TimeoutError
    finally:
        doing.cancel()
        await asyncio.gather(doing, return_exceptions=True)
        # It has the error, which has this frame, which would have it.
        del doing


class Patience:
    """With one connection at a time: `begin`, `keep` whenever something was sent, `end`."""

    def __init__(self, longest: float, since: Callable[[], float | None]) -> None:
        """longest: seconds for an answer.  since: when that was sent which is to be answered next; None: nothing is."""
        self._longest = longest
        self._since = since
        self._give_up: Callable[[Exception], None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, give_up: Callable[[Exception], None]) -> None:
        """give_up: called with a StoreLost when it took too long."""
        self._give_up = give_up

    def keep(self) -> None:
        """An answer is owed."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._longest / LOOKS, self._look)

    def end(self) -> None:
        """The connection is lost."""
        self._give_up = None
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        since = self._since()
        if since is None or not self._give_up:
            return
        if asyncio.get_running_loop().time() - since > self._longest:
            self._give_up(StoreLost(f"no answer within {self._longest:.0f} s"))
        else:
            self.keep()
