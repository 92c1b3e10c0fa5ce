"""Jobs, which are requests of one session, and the batches in which they go to Redis."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from time import perf_counter
from typing import Any

from kvd.errors import KvdError, Uncertain

logger = logging.getLogger("kvd.store")

Done = Callable[[Any], None]
"""Takes the results of a job, or the KvdError."""


@dataclass(slots=True, eq=False)
class Job:
    """Requests of one session, and where their results go.

    count: int, how many they are for BATCH_ITEMS, a transaction as many as it has writes.
    results: int, how many results they have.
    done: called once, with the results or the error.
    simple: whether items are a `requests.Simple`.  fetch: whether a single key's large value is wanted, too.
    with_owners: whether one of the keys was seen to live with another.
    begun: the results of those requests that were done before the others, which are what is left in the job.
    deaths: int, in how many deaths of the store it was in flight.
    """

    items: Sequence[Any]
    count: int
    size: int
    results: int
    done: Done
    simple: bool = False
    fetch: bool = False
    with_owners: bool = False
    begun: Sequence[Any] = ()
    finished: bool = False
    deaths: int = 0

    def finish(self, result: Any) -> None:
        """Give the results, or the KvdError, unless something was given already.

        Writes whose outcome is unknown are given up, and found out about later.
        """
        if self.finished:
            return
        self.finished = True
        try:
            self.done(self._after_begun(result) if self.begun else result)
        except Exception:  # of one session; the others go on
            logger.exception("a reply could not be given")

    def _after_begun(self, result: Any) -> list[Any]:
        """All results; in the place of an error, which is not one of those that were done, an outcome for each."""
        if isinstance(result, KvdError):
            result = [b"U" if isinstance(result, Uncertain) else b"u"] * self.results
        return [*self.begun, *result]


@dataclass(slots=True, eq=False)
class Batch:
    """Jobs that went in one command.

    number: int, set by batchers that number theirs.  mark: what the cache gave for it, set when it was sent.
    clock: int, what the store's clock was then, as far as this daemon knew; set by batchers that read.
    count: int, its requests.  began: what `perf_counter` said when it was made.
    """

    jobs: list[Job]
    sent: float
    number: int = 0
    mark: Any = None
    clock: int = 0
    count: int = 0
    began: float = field(default_factory=perf_counter)

    def items(self) -> list[Any]:
        """All items, in order."""
        return list(chain.from_iterable(job.items for job in self.jobs))

    def results(self) -> int:
        """How many results all jobs have."""
        return sum(job.results for job in self.jobs)

    def settle(self, results: Sequence[Any]) -> None:
        """Give each job the results of its requests."""
        start = 0
        for job in self.jobs:
            end = start + job.results
            job.finish(results[start:end])
            start = end

    def fail(self, error: KvdError) -> None:
        """Give each job the error."""
        fail(self.jobs, error)


def fail(jobs: Sequence[Job], error: KvdError) -> None:
    """Give jobs an error."""
    for job in jobs:
        job.finish(error)
