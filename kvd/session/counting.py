"""Requests counted by verb and result, with the time that they took: by groups, not one by one, for it is on the way of
each.  What the cache answers in the callback in which it was asked for has taken no time that is worth two clocks.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from typing import NamedTuple

from kvd.counts import Counts, Tally, number
from kvd.metrics import REFUSALS, RESULTS, TIMES, VERBS
from kvd.model import AtHand
from kvd.verbs import READERS, Verb

OK, NONE, CONFLICT, ERROR = RESULTS
_BY_LETTER = {ord("O"): OK, ord("N"): NONE, ord("C"): CONFLICT, ord("E"): ERROR}
"""Of a status's first letter."""


class Reader(NamedTuple):
    """A verb that reads.

    begin: int, bytes of a line up to the key.  reply: as the verb has it.  place: where requests that the cache answers
    are counted.
    """

    verb: Verb
    begin: int
    reply: Callable[[AtHand | None, int], bytes]
    place: int


class RequestCounts:
    """Those of one process.

    readers: the verbs that read, by the beginnings that most clients give a line, of four bytes or five.
    cells: at a reader's place, how many requests of it the cache has answered; to be added to, as are
    received, sent: bytes, at [0].
    """

    def __init__(self, counts: Counts) -> None:
        self.received, self.sent = number(counts, "received"), number(counts, "sent")
        self._times = Tally(TIMES, counts)
        self._refusals = Tally(REFUSALS, counts)
        self.cells = self._times.cells
        self.readers = {word + b" ": self._reader(verb) for word, verb in READERS.items()}
        self._places = {(verb, result): self._times.place(verb, result) for verb in VERBS for result in RESULTS}

    def _reader(self, verb: Verb) -> Reader:
        assert verb.reply  # noqa: S101
        return Reader(verb, len(verb.name) + 1, verb.reply, self._times.place(verb.name, OK) * self._times.width)

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
