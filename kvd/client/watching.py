"""One watch, on a connection of its own, of either face."""

import ssl
import time
from collections.abc import Sequence

from kvd.client import arguments, limits, requests
from kvd.client.arguments import Seconds
from kvd.client.dialing import Addresses
from kvd.client.errors import ProtocolError, WatchEnded
from kvd.client.faces import Face, Stream
from kvd.client.limits import CONNECT_TIMEOUT, TIMEOUT, Limits
from kvd.client.lines import revision_of, store_of
from kvd.client.protocol import Answer, Heard
from kvd.client.requests import Request
from kvd.client.tls import File
from kvd.client.words import LIFETIMES, Copy, CopyBegun, Event, Gone, Item, Lifetime, Progress, WatchOptions
from kvd.errors import ConnectionLost

LONGEST_INTERVAL = 10.0
"""Seconds between the signs of life that a watch asks for, so that it is as well a connection that no balancer takes
for an idle one."""
SHORTEST_INTERVAL = 0.05
"""Seconds: a daemon sends them no closer."""
INTERVALS = 3
"""Signs of life that a daemon may miss at the least."""


class Watching:
    """The changes after `begin`, and a copy before them if it has one.

    position: the daemon's answer, and after that what was taken last; up to it nothing is missing.
    copy: what came before the changes, None: nothing.
    """

    def __init__(self, face: Face, addresses: Addresses, begin: Request[str], waits: Limits, resumed: str = "") -> None:
        """resumed: the position that the daemon must answer, if it sends no copy."""
        interval = min(LONGEST_INTERVAL, LONGEST_INTERVAL if waits.silence is None else waits.silence / INTERVALS)
        self._interval = max(SHORTEST_INTERVAL, interval)
        silence = waits.silence and max(waits.silence, INTERVALS * self._interval)
        self._face, self._addresses, self._begin, self._resumed = face, addresses, begin, resumed
        self._limits = waits._replace(silence=silence)
        self._stream: Stream | None = None
        self._revision = 0
        self._is_told = False
        self.position = ""
        self.copy: Copy | None = None

    async def open(self) -> None:
        """Connect, and begin.  Raises Unreachable, ConnectionLost, Refusal."""
        self._stream = stream = await self._addresses.first(self._connect)
        try:
            stream.send(self._begin)
            self.position = await self._begun(stream)
            self._revision = revision_of(self.position)
            if self._limits.silence is not None:
                self.ask_progress()
        except BaseException:
            await stream.close()
            raise

    async def _connect(self, address: str) -> Stream:
        return await self._face.stream(address, self._limits)

    async def _begun(self, stream: Stream) -> str:
        """Take the copy, if there is one, and the daemon's answer."""
        reason, items = None, dict[str, Item]()
        while True:
            heard = await stream.hear()
            match heard:
                case Answer():
                    break
                case CopyBegun():
                    reason = heard.reason
                case Item():
                    items[heard.key] = heard
                case Gone():
                    items.pop(heard.key, None)
                case Lifetime() if heard.key in items:
                    items[heard.key] = items[heard.key]._replace(ttl=heard.ttl, owner=heard.owner)
        position: str = heard.result()
        if self._begin.copies and (reason or not self._resumed):
            self.copy = Copy(position, revision_of(position), reason or "new", items)
        elif self._resumed and (position != self._resumed or items):
            raise ProtocolError(f"the daemon goes on from {position}, and was asked to from {self._resumed}")
        return position

    async def next(self, until: float | None = None) -> Event | Progress:
        """Wait for a change or a sign of life, until a time of the monotonic clock.

        Raises WatchEnded, ConnectionLost, TimeoutError.
        """
        stream = self._stream
        if not stream:
            raise ConnectionLost("the watch has not begun, or has ended")
        try:
            while not isinstance(heard := await stream.hear(until), Event | Progress) or not self._move(heard):
                self._take(heard)
        except TimeoutError:
            raise
        except Exception:
            await stream.close()  # nothing follows: to wait for it would be for ever
            raise
        return heard

    def _take(self, heard: Heard) -> None:
        match heard:
            case WatchEnded():
                raise heard
            case Answer():
                heard.result()

    def _move(self, heard: Event | Progress) -> bool:
        """Whether it is new: changes come in the order of their revisions, and what is not was told before.

        Raises ProtocolError for one of another history.
        """
        if store_of(heard.position) != store_of(self.position):
            raise ProtocolError(f"the daemon sent {heard.position} after {self.position}, which is of another store")
        if isinstance(heard, Event) and heard.verb in LIFETIMES:
            return self._is_told
        self._is_told = heard.revision >= self._revision + isinstance(heard, Event)
        if not self._is_told:
            return False
        self.position, self._revision = heard.position, heard.revision
        return True

    def ask_progress(self, interval: float | None = None) -> None:
        """Ask for a sign of life every so many seconds, None: as often as it needs to notice silence."""
        if self._stream:
            self._stream.send(requests.progress(interval or self._interval))

    async def close(self) -> None:
        """End it."""
        stream, self._stream = self._stream, None
        if stream:
            await stream.close()


def until(seconds: float | None) -> float | None:
    """The time of the monotonic clock in so many seconds."""
    return None if seconds is None else time.monotonic() + seconds


class Watched:
    """What the watches of both faces have.  Subclasses name their face, and wait.

    position: str, what the daemon answered, then that of what came last; every later change comes.
    copy: Copy, what there was at the first position, if `sync` was given; else None.
    """

    _face: type[Face]

    def __init__(
        self,
        address: str | Sequence[str],
        *patterns: str,
        resume: str | None = None,
        sync: bool = False,
        options: WatchOptions | None = None,
        connect_timeout: Seconds = CONNECT_TIMEOUT,
        timeout: Seconds | None = TIMEOUT,
        tls: bool | ssl.SSLContext = False,
        ca: File | None = None,
        cert: File | None = None,
        key: File | None = None,
        user: str | None = None,
        password: str | None = None,
    ) -> None:
        """options: what comes beside changes, or does not.

        resume: begin with the changes after this position.  sync: begin with a copy of all there is.
        timeout: seconds without a byte from the daemon after which it is given up, None for no limit; it is at least
        three of the intervals of the signs of life.
        tls, ca, cert, key, user, password: as `connect` takes them.

        Raises TypeError, ValueError, BadAddress and Refusal.
        """
        begin = requests.beginning(patterns, resume, sync, options)
        addresses = Addresses(arguments.addresses(address))
        waits = limits.checked(
            connect_timeout, timeout, tls=tls, ca=ca, cert=cert, key=key, user=user, password=password
        )
        self._watching = Watching(self._face(), addresses, begin, waits, resume or "")
        self.position = ""
        self.copy: Copy | None = None

    async def _open(self) -> None:
        await self._watching.open()
        self.position, self.copy = self._watching.position, self._watching.copy

    async def _next(self, timeout: Seconds | None) -> Event:  # noqa: ASYNC109  # as the caller gives it
        """The next change; raises TimeoutError if none comes within so many seconds."""
        end = until(arguments.patience_or_none(timeout, "timeout"))
        while True:
            heard = await self._watching.next(end)
            self.position = heard.position
            if not isinstance(heard, Progress):
                return heard
