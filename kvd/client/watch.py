"""A watch: a connection that changes come on."""

from typing import Self

from kvd.client import arguments, replies
from kvd.client.arguments import Seconds
from kvd.client.connection import CONNECT_TIMEOUT, TIMEOUT, Connection
from kvd.client.errors import ProtocolError
from kvd.client.replies import STATUS, Line, Reply
from kvd.client.silence import Silence
from kvd.client.words import Event

LONGEST_INTERVAL = 10.0
"""Seconds between the signs of life that a watch asks for, so that it is as well a connection that no balancer takes
for an idle one."""
SHORTEST_INTERVAL = 0.05
"""Seconds: a daemon sends them no closer."""
INTERVALS = 3
"""Signs of life that a daemon may miss at the least."""


class Watch:
    """The changes to keys that match, each once, in the order of their revisions.

        async with Watch("127.0.0.1:5830", "lock/*") as changes:
            async for event in changes:
                ...

    It has a connection of its own, which is read no faster than the changes are taken.  On it the daemon is asked for
    a sign of life every few seconds; a watch without changes may last for ever, one without a sign may not.

    position: str, what the daemon answered; every later change comes.

    timeout: seconds without a byte from the daemon after which it is given up, None for no limit; it is at least
    three of the intervals of the signs of life.

    Making it raises TypeError, ValueError and Refusal for its arguments; entering it, what `connect` does, Refusal and
    ConnectionLost; taking a change, WatchEnded and ConnectionLost.
    """

    def __init__(
        self,
        address: str,
        *patterns: str,
        connect_timeout: Seconds = CONNECT_TIMEOUT,
        timeout: Seconds | None = TIMEOUT,
    ) -> None:
        self.position = ""
        self._address, self._connect_timeout = address, arguments.patience(connect_timeout, "connect_timeout")
        self._limit = arguments.patience_or_none(timeout, "timeout")
        self._interval = max(SHORTEST_INTERVAL, min(LONGEST_INTERVAL, (self._limit or 0) / INTERVALS))
        self._request = b" ".join((b"WATCH", *arguments.patterns(patterns)))
        self._is_progress_asked = False

    async def __aenter__(self) -> Self:
        self._connection = await Connection.open(self._address, self._connect_timeout)
        limit = None if self._limit is None else max(self._limit, INTERVALS * self._interval)
        Silence(self._connection, limit, lambda: True).begin()
        self.position = await self._connection.begin(self._request, replies.position)
        if limit is not None:
            self._connection.write(b"PROGRESS %.3f\n" % self._interval)
            self._is_progress_asked = True
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while True:
            line = await self._connection.read()
            try:
                if line.word == b"CHANGE":
                    return replies.event(line)
                if line.word == b"END":
                    raise replies.end(line)
                if line.word in STATUS:
                    self._take_answer(line)
            except BaseException:
                self._connection.abort()  # nothing follows: to wait for it would be for ever
                raise

    def _take_answer(self, line: Line) -> None:
        if not self._is_progress_asked:
            raise ProtocolError("a reply came that nothing had asked for")
        self._is_progress_asked = False
        replies.answer(Reply(line), replies.ok)
