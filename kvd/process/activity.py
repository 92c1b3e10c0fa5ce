"""Whether anybody is connected to this process.  While nobody is, what is done every so often is done rarely, and all
of it together, so that the machine can sleep.
"""

import asyncio
from collections.abc import Callable

REST_AFTER = 1.0
"""Seconds without a connection after which a process is at rest: not between two commands of a script."""
TICK = 5.0
"""Seconds between the moments at which a process at rest does what there is to do, and
LONGEST_TICK: at the most where several serve: each then does it as much more rarely, for what one does is done for
all, and what has to be sooner has a time of its own."""
LONGEST_TICK = 60.0


class Activity:
    """Of one process; never at rest before `count` is called.

    resting: whether nobody is connected.  all_rest: whether that is so of all processes of the daemon; to be set where
    there are several.
    """

    def __init__(self, processes: int = 1) -> None:
        """processes: that serve the same store."""
        self._interval = min(TICK * processes, LONGEST_TICK)
        self.resting = False
        self.all_rest: Callable[[], bool] = lambda: True
        self._timer: asyncio.TimerHandle | None = None
        self._tick: asyncio.Future[None] | None = None

    def count(self, connections: int) -> None:
        """Be told of each change of their number, and of the first, 0."""
        if connections:
            self._set_timer(None)
            self.resting = False
            self._end_pauses()
        elif not self._timer:
            self._set_timer(REST_AFTER)

    async def pause(self, seconds: float, at_rest: float | None = None) -> None:
        """Pause for that time, or at rest up to the next moment for all; never beyond the end of the rest.

        at_rest: seconds that such a pause takes at the most.
        """
        if not self.resting:
            await asyncio.sleep(seconds)
            return
        if self._tick is None:
            self._tick = asyncio.get_running_loop().create_future()
        await asyncio.wait({self._tick}, timeout=at_rest)

    def _set_timer(self, seconds: float | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = None if seconds is None else asyncio.get_running_loop().call_later(seconds, self._rest)

    def _rest(self) -> None:
        self.resting = True
        self._set_timer(self._interval)
        self._end_pauses()

    def _end_pauses(self) -> None:
        if self._tick and not self._tick.done():
            self._tick.set_result(None)
        self._tick = None
