"""What a worker is told by its parent, on its standard input; the input ends when the parent does."""

import pickle
from typing import IO, NamedTuple

from kvd.settings import Settings
from kvd.store.location import StoreLocation

READY = b"ready\n"
"""What a worker says on its standard output when it listens; anything else says why it does not."""


class Task(NamedTuple):
    """All that a worker needs.

    parent: int, its process id.  sockets: descriptors that the worker inherits, bound.
    """

    parent: int
    settings: Settings
    location: StoreLocation
    sockets: tuple[int, ...]

    def give(self, to: IO[bytes]) -> None:
        """Write it for a worker.  Not an argument: others can see those, and there may be a password in the URL."""
        pickle.dump(self, to)
        to.flush()

    @classmethod
    def take(cls, given: IO[bytes]) -> "Task":
        """Read what `give` wrote.  Raises EOFError if the parent is gone."""
        task = pickle.load(given)  # noqa: S301  # from our own parent
        assert isinstance(task, cls)  # noqa: S101
        return task
