"""The limits of connections: how large each is, what is said when it is reached, and where that is counted."""

from enum import Enum
from typing import NamedTuple

from kvd.errors import LimitReached
from kvd.metrics import Counts
from kvd.session.complaints import Complaints


class Limit(Enum):
    """One limit; its value is the name of its count in `metrics.Counts`."""

    MEMORY = "limited_memory"


_TEXTS = {
    Limit.MEMORY: "connections hold more than they may together (--connection-memory), and this one the most",
}


class Sizes(NamedTuple):
    """How large the limits are, for one process; 0: there is none.

    memory: bytes that its connections may hold together.
    """

    memory: int = 0


class Limits:
    """The limits, for all sessions of one process."""

    def __init__(self, sizes: Sizes, counts: Counts, complaints: Complaints) -> None:
        self.sizes = sizes
        self._counts = counts
        self._complaints = complaints

    def reached(self, limit: Limit) -> LimitReached:
        """Count it; what a peer is to be told."""
        setattr(self._counts, limit.value, getattr(self._counts, limit.value) + 1)
        return LimitReached(_TEXTS[limit])

    def ended(self, peer: str, limit: LimitReached) -> None:
        """Have the log say why a connection was ended."""
        self._complaints.limited.write(peer, limit)
