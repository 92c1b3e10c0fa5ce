"""Lines that wait to be answered: as requests, and as groups of neighbours that go to the store together."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from kvd.errors import NotAClient, Refusal
from kvd.metrics import REFUSED_VERB
from kvd.requests import Request
from kvd.verbs import Kind, Verb, find, kind_of
from kvd.wire.lines import Line

Parsed = tuple[Verb, Any]
"""A verb and its request."""
LINE_BYTES = 64
"""Memory of a line beyond its own bytes."""


class Waiting:
    """Those of one connection.

    taken: int, lines that `next` and `group` took for the present request or group.  size: int, bytes of a group.
    asked: str, the verb of the last line that was refused.
    """

    def __init__(self, max_value: int, most: int, batch_bytes: int) -> None:
        """max_value: int, bytes of a value.  most, batch_bytes: int, requests and bytes that may go together."""
        self._max_value = max_value
        self._most = most
        self._batch_bytes = batch_bytes
        self._lines: deque[Line] = deque()
        # Bytes that the lines had together.
        self._fed = 0
        # What was parsed to see whether it belongs to a group, and did not.
        self._ahead: Parsed | Refusal | NotAClient | None = None
        self.taken = self.size = 0
        self.asked = REFUSED_VERB

    # The kind of the groups to which a request may belong.  Where there are users, another takes its place.
    _joins: Callable[[Verb, Request], Kind | None] = staticmethod(kind_of)

    @property
    def held(self) -> int:
        """Bytes that they take."""
        return self._fed + len(self._lines) * LINE_BYTES if self._lines or self._ahead else 0

    def feed(self, lines: Iterable[Line], size: int) -> None:
        """Take more.  size: int, bytes that they have together."""
        self._lines.extend(lines)
        self._fed = size

    def has_more(self) -> bool:
        """Whether there is something for `next`."""
        return bool(self._lines) or self._ahead is not None

    def drop(self) -> None:
        """Forget all of them."""
        self._lines.clear()
        self._ahead = None

    def next(self) -> Parsed | Refusal | NotAClient:
        """The next request, or what is wrong with its line."""
        self.taken = 1
        if self._ahead is None:
            return self._parse(self._lines.popleft())
        ahead, self._ahead = self._ahead, None
        return ahead

    def group(self, first: Parsed) -> list[Parsed]:
        """The request that `next` gave last, and those after it that may go to the store with it."""
        group = [first]
        kind, size = first[0].kind, first[1].size
        while self._lines and len(group) < self._most:
            request = self._parse(self._lines.popleft())
            if not isinstance(request, tuple) or self._joins(*request) is not kind:
                self._ahead = request
                break
            size += request[1].size
            if size > self._batch_bytes:
                self._ahead = request
                break
            group.append(request)
        self.taken, self.size = len(group), size
        return group

    def _parse(self, line: Line) -> Parsed | Refusal | NotAClient:
        # Errors are kept without their tracebacks: these would keep the stack, which has the error in a name.
        if not isinstance(line, bytes):
            return line
        try:
            verb, rest = find(line)
        except (Refusal, NotAClient) as error:
            self.asked = REFUSED_VERB
            return error.with_traceback(None)
        try:
            return verb, verb.parse(rest, self._max_value)
        except Refusal as error:
            self.asked = verb.name
            return error.with_traceback(None)
