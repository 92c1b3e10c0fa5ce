"""Requests counted by verb and result, with the time that they took: by groups, not one by one, for it is on the way of
each.  What the cache answers in the callback in which it was asked for has taken no time that is worth two clocks.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from time import perf_counter

from kvd.counts import Counts, Tally, number
from kvd.metrics import REFUSALS, RESULTS, TIMES, VERBS

OK, NONE, CONFLICT, ERROR = RESULTS
_BY_LETTER = {ord("O"): OK, ord("N"): NONE, ord("C"): CONFLICT, ord("E"): ERROR}
"""Of a status's first letter."""


class RequestCounts:
    """Those of one process.

    cells: where `at_once` says, how many requests of a verb the cache has answered; to be added to, as are
    received, sent: bytes, at [0].
    """

    def __init__(self, counts: Counts) -> None:
        self.received, self.sent = number(counts, "received"), number(counts, "sent")
        self._times = Tally(TIMES, counts)
        self._refusals = Tally(REFUSALS, counts)
        self.cells = self._times.cells
        self.at_once = {verb: self._times.place(verb, OK) * self._times.width for verb in VERBS}
        self._places = {(verb, result): self._times.place(verb, result) for verb in VERBS for result in RESULTS}

    def found(self, verb: str, began: float, count: int, none: int) -> None:
        """So many requests of one verb were answered, and of so many of them the key was not there.

        began: what `perf_counter` said when they came.
        """
        seconds = perf_counter() - began
        if count > none:
            self._times.observe(self._places[verb, OK], seconds, count - none)
        if none:
            self._times.observe(self._places[verb, NONE], seconds, none)

    def answered(self, verbs: Iterable[str], replies: Sequence[bytes], began: float) -> None:
        """Requests were answered, each with a reply."""
        seconds = perf_counter() - began
        for (verb, letter), times in Counter(zip(verbs, [reply[0] for reply in replies], strict=True)).items():
            self._times.observe(self._places[verb, _BY_LETTER[letter]], seconds, times)
        self._count_refusals(replies)

    def answered_one(self, verb: str, reply: bytes, began: float) -> None:
        """A request was answered.  reply: its last line, or the beginning of that."""
        result = _BY_LETTER[reply[0]]
        self._times.observe(self._places[verb, result], perf_counter() - began)
        if result is ERROR:
            self._count_refusals([reply])

    def refused(self, verb: str, code: str, began: float, times: int = 1) -> None:
        """Requests of one verb were refused."""
        self._times.observe(self._places[verb, ERROR], perf_counter() - began, times)
        self.count_refusal(code, times)

    def count_refusal(self, code: str, times: int = 1) -> None:
        """A request was refused, whose time is not told by its verb."""
        self._refusals.add(self._refusals.place(code), times)

    def _count_refusals(self, replies: Iterable[bytes]) -> None:
        for reply in replies:
            if reply.startswith(b"ERR "):
                self._refusals.add(self._refusals.place(reply.split(b" ", 2)[1].decode()))
