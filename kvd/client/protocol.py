"""The protocol without I/O: requests to bytes; bytes to what they say.  Any way to move bytes can stand around it.

    protocol = Protocol()
    connection.sendall(protocol.send(requests.get("greeting")))
    while (heard := protocol.next()) is None:
        protocol.receive(connection.recv(1 << 16))
    assert isinstance(heard, Answer)
    print(heard.result())

Answers come in the order of the requests.  What a watch sends comes between them: a copy as CopyBegun, Item and Gone;
changes as Event; Progress; and its end as a WatchEnded.

A ProtocolError means that the place in the stream is lost: the connection is to be closed.
"""

from collections import deque
from typing import Any, NamedTuple

from kvd.client import pushed
from kvd.client.beside import BESIDE, Beside
from kvd.client.errors import ProtocolError
from kvd.client.lines import ITEMS, STATUS, Line, Reply
from kvd.client.pushed import PUSHES, Copied, Push
from kvd.client.received import LONGEST_LINE, Received
from kvd.client.requests import Request
from kvd.client.words import Event
from kvd.errors import KvdError


class Answer(NamedTuple):
    """What a request's reply says: a value, or an error.  token: what was given with the request."""

    token: Any
    value: Any
    error: KvdError | None

    def result(self) -> Any:
        """The value; raises the error."""
        if self.error:
            raise self.error
        return self.value


Heard = Answer | Push | Copied


class Protocol(Received):
    """One connection, as the client sees it.

    skips_items: items that were not asked for are no error, as on a connection that only watches; to be changed at any
    time.
    """

    def __init__(self, longest: int = LONGEST_LINE) -> None:
        super().__init__(longest)
        self.skips_items = False
        self._asked: deque[tuple[Request[Any], Any]] = deque()
        self._items: list[Line] = []
        self._replies: list[Reply] = []
        self._beside: Beside | None = None

    @property
    def is_asked(self) -> bool:
        """Whether an answer is due."""
        return bool(self._asked)

    def send(self, request: Request[Any], token: Any = None) -> bytes:
        """The bytes to send, at once and in the order of these calls; `token` comes back with the answer."""
        self._asked.append((request, token))
        if not request.most_items:
            self._beside = request.beside or self._beside
        return request.data

    def next(self) -> Heard | None:
        """What comes next of what was received, None: more must come.  Raises ProtocolError."""
        while self.lines:
            heard = self._hear(Line(*self.lines.popleft().removesuffix(b"\r").partition(b" ")))
            if heard is not None:
                return heard
        return None

    def unanswered(self) -> list[Any]:
        """The tokens of the requests whose answers have not come, in order; none will: the connection has ended."""
        tokens = [token for _, token in self._asked]
        self._asked.clear()
        return tokens

    def _hear(self, line: Line) -> Heard | None:
        if line.word in STATUS:
            return self._end_of_reply(line)
        if line.word in PUSHES:
            return self._push(line)
        if line.word in BESIDE and not self._collects():
            return self._beside.take(line) if self._beside else None
        return self._item(line) if line.word in ITEMS or line.word in BESIDE else None

    def _collects(self) -> bool:
        """Whether lines beside changes are items of the reply that is due."""
        return bool(self._asked and self._asked[0][0].beside and self._asked[0][0].most_items)

    def _push(self, line: Line) -> Push:
        heard = pushed.push(line)
        return self._beside.change(heard) if self._beside and isinstance(heard, Event) else heard

    def _item(self, line: Line) -> Copied | None:
        if not self._asked and self.skips_items:
            return None
        request = self._first()
        if request.copies:
            return pushed.copied(line)
        if self.skips_items:
            return None
        self._items.append(line)
        if len(self._items) > request.most_items:
            raise ProtocolError("a reply came with more items than were asked for")
        return None

    def _end_of_reply(self, status: Line) -> Answer | None:
        request = self._first()
        self._replies.append(Reply(status, self._items))
        self._items = []
        if len(self._replies) < request.replies:
            return None
        replies, self._replies = self._replies, []
        value, error = None, None
        try:
            value = request.result(replies)
        except ProtocolError:  # who has asked learns of it with all the others
            raise
        except KvdError as refusal:
            error = refusal
        return Answer(self._asked.popleft()[1], value, error)

    def _first(self) -> Request[Any]:
        if not self._asked:
            raise ProtocolError("a reply came that nothing had asked for")
        return self._asked[0][0]
