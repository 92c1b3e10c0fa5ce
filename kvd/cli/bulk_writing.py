"""Many writes on a connection, in order, until one is refused."""

from collections import deque
from collections.abc import Iterator

from kvd.cli.progress import Advance
from kvd.cli.status import ABSENT, Failure, failure_of, most_serious
from kvd.client import Conflict, replies
from kvd.client.lines import Line, Reply
from kvd.client.raw import RawLines
from kvd.errors import ConnectionLost, KvdError

IN_FLIGHT = 1 << 20
"""Bytes that may be sent without an answer."""


class Writing:
    """What has become of writes.

    applied: how many were done.  there: how many were not, for the key was there, if only new ones are created.
    """

    def __init__(self, *, create_only: bool) -> None:
        self.applied = self.there = 0
        self._create_only = create_only
        self._failures: list[Failure] = []
        self._lost: ConnectionLost | None = None
        self._waiting: deque[list[bytes]] = deque()
        """Requests in flight; of the first ones
        _answered: so many are answered."""
        self._answered = 0
        self._size = 0

    def write(self, daemon: RawLines, pieces: Iterator[list[bytes]], advance: Advance) -> None:
        """Send all, unless one is refused: what is in flight then is still done, or not."""
        try:
            while self._send(daemon, pieces):
                came = daemon.receive()
                self._take(came)
                advance(len(came))
        except ConnectionLost as error:
            self._lost = error

    def _send(self, daemon: RawLines, pieces: Iterator[list[bytes]]) -> bool:
        """Send as much as may be in flight; return whether an answer is to come."""
        while not self._failures and self._size < IN_FLIGHT and (piece := next(pieces, None)):
            data = b"".join(piece)
            self._waiting.append(piece)
            self._size += len(data)
            daemon.send(data)
        return bool(self._waiting)

    def _take(self, came: list[bytes]) -> None:
        for number, line in enumerate(came, self._answered):
            if line.startswith(b"OK "):
                self.applied += 1
            else:
                self._refused(line, number)
        self._answered += len(came)
        while self._waiting and self._answered >= len(self._waiting[0]):
            piece = self._waiting.popleft()
            self._answered -= len(piece)
            self._size -= sum(map(len, piece))

    def _refused(self, line: bytes, number: int) -> None:
        try:
            replies.answer(Reply(Line(*line.partition(b" "))), replies.revision)
        except Conflict as conflict:
            if self._create_only and conflict.revision:
                self.there += 1
            else:
                text = f"{self._key(number)} is to live with {conflict.key}, and there is no such key"
                self._failures.append(Failure(ABSENT, text))
        except ConnectionLost:
            raise
        except KvdError as error:
            failure = failure_of(error, writing=True)
            self._failures.append(Failure(failure.status, f"{self._key(number)}: {failure}"))

    def _key(self, number: int) -> str:
        """That of a request in flight, which is its second word."""
        for piece in self._waiting:
            if number < len(piece):
                return piece[number].split(b" ", 2)[1].decode()
            number -= len(piece)
        raise AssertionError

    def failure(self, count: int) -> Failure | None:
        """Why not all is done, None: it is.  count: how many there were to do."""
        if self._lost is None and not self._failures:
            return None
        failures = [*self._failures[:1]]
        statuses = [failure.status for failure in self._failures]
        if self._lost:
            lost = failure_of(self._lost, writing=bool(self._waiting))
            failures.append(lost)
            statuses.append(lost.status)
        messages = [message for failure in failures for message in failure.messages]
        return Failure(most_serious(statuses), *messages, self.done(count))

    def done(self, count: int) -> str:
        """How many are written for certain, of so many."""
        more = f", and perhaps up to {sum(map(len, self._waiting)) - self._answered} more" if self._waiting else ""
        return f"{self.applied} of {count} keys were written{more}; to run import again is safe"
