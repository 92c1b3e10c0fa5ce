"""What is counted of the requests of one connection."""

from http import HTTPStatus
from time import perf_counter

from kvd.counts import Counts, Tally
from kvd.metrics import HTTP_REQUESTS, HTTP_TIMES


class HttpCounts:
    """Of one connection: `came`, then `answered`; who was refused before all of it came is only `answered`."""

    def __init__(self, counts: Counts) -> None:
        self._statuses, self._times = Tally(HTTP_REQUESTS, counts), Tally(HTTP_TIMES, counts)
        self._place, self._began = 0, 0.0

    def came(self, method: str) -> None:
        """A request is there, whole."""
        self._place, self._began = self._times.place(method), perf_counter()

    def answered(self, status: HTTPStatus) -> None:
        """Its answer begins, or that of one that is no request."""
        self._statuses.add(self._statuses.place(f"{status // 100}xx"))
        if self._began:
            self._times.observe(self._place, perf_counter() - self._began)
            self._began = 0.0
