"""The pauses of whatever tries again: connects anew, starts a process again, looks again."""

from random import random


class Backoff:
    """Pauses that double from one attempt to the next, up to a longest, and begin anew after a success."""

    def __init__(self, first: float = 0.02, longest: float = 1.0, *, jitter: bool = False) -> None:
        """first, longest: seconds.  jitter: each pause is a random part of itself, at least half.

        Jitter is for what many do at once, such as all that have lost the same server: it spreads their attempts.
        """
        self._first = first
        self._longest = longest
        self._jitter = jitter
        self._pause = 0.0

    @property
    def is_fresh(self) -> bool:
        """Whether there was no attempt since the last success."""
        return not self._pause

    def next(self) -> float:
        """An attempt has failed: seconds until the next one."""
        self._pause = min(2 * self._pause, self._longest) if self._pause else self._first
        return self._pause * (0.5 + random() / 2) if self._jitter else self._pause  # noqa: S311  # no secret

    def reset(self) -> None:
        """An attempt has succeeded."""
        self._pause = 0.0
