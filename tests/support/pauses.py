"""How long the machine has kept the tests from their turn: nobody can be in time for longer than that."""

import threading
import time
from types import TracebackType
from typing import Self

LOOK = 0.01
"""Seconds between two looks at the clock."""


class Pauses:
    """Looks at the clock while it is entered.

    longest: float, seconds by which the latest look came too late.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self._over = threading.Event()
        self._looking = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._looking.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._looking.join()

    def _look(self) -> None:
        is_over = False
        while not is_over:
            before = time.monotonic()
            is_over = self._over.wait(LOOK)
            self.longest = max(self.longest, time.monotonic() - before - LOOK)
