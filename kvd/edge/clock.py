"""The store's clock, as far as it is known here: when changes were made is told, and that was never later than now."""

import time


class Clock:
    """Milliseconds."""

    def __init__(self) -> None:
        self._ahead = int((time.time() - time.monotonic()) * 1000)

    def now(self) -> int:
        """What it is at least, if this machine's clock is not ahead."""
        return int(time.monotonic() * 1000) + self._ahead

    def see(self, milliseconds: int) -> None:
        """It was this a moment ago."""
        self._ahead = max(self._ahead, milliseconds - int(time.monotonic() * 1000))
