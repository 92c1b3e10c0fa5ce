"""Log lines that any peer can cause: a few are written, the rest is counted, so that nobody can fill the disk."""

import asyncio
import logging

from kvd.process.log_lines import facts

INTERVAL = 60.0
"""Seconds for which lines are counted, from the first one on."""
FEW = 20
"""Lines of one kind that are written in full in an interval: enough to see who it is, a few megabytes a day."""


class LimitedLog:
    """The lines of one kind.  To be used where an event loop runs."""

    def __init__(self, logger: logging.Logger, level: int, message: str, kind: str, few: int = FEW) -> None:
        """message: for `logger`, with places for what `write` gets.  kind: what they tell of, with its verb."""
        self._logger = logger
        self._level = level
        self._message = message
        self._kind = kind
        self._few = few
        self._count = 0
        self._began = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def write(self, *words: object, **known: object) -> None:
        """Write a line, or count it if there were some of its kind already.  known: what goes with it, as `facts`."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._began = loop.time()
            self._timer = loop.call_later(INTERVAL, self.flush)
        self._count += 1
        if self._count <= self._few:
            self._logger.log(self._level, self._message, *words, extra=facts(**known))

    def flush(self) -> None:
        """End the interval: say how many lines were not written."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._count > self._few:
            loop = asyncio.get_running_loop()
            more = self._count - self._few
            self._logger.log(self._level, "%d more %s in the last %.0f s", more, self._kind, loop.time() - self._began)
        self._count = 0
