"""Changes through restarts and lost connections, for either face."""

import ssl
import time
from collections.abc import Callable, Sequence

from kvd.client import arguments, limits, requests
from kvd.client.arguments import Seconds
from kvd.client.calling import backoff
from kvd.client.dialing import Addresses
from kvd.client.errors import Unreachable, WatchEnded
from kvd.client.faces import Face
from kvd.client.limits import CONNECT_TIMEOUT, TIMEOUT, Limits
from kvd.client.lines import is_after
from kvd.client.places import Place
from kvd.client.tls import File
from kvd.client.watching import SHORTEST_INTERVAL, Watching, until
from kvd.client.words import Copy, Event, Progress, WatchOptions
from kvd.errors import Compacted, ConnectionLost, Future, KvdError, OtherStore, Unavailable

Retrying = Callable[[KvdError, float], object]
"""Is told what was lost, and in how many seconds it is tried again."""


class Following:
    """All changes after a position, each once; a copy where that cannot be.

    position: what was taken last, None: nothing yet.
    moved: is called with the position when it moves without a change.
    """

    def __init__(
        self, face: Face, addresses: Addresses, waits: Limits, patterns: tuple[str, ...], position: str | None,
        place: Place | None, copies: bool, retrying: Retrying | None, options: WatchOptions | None,
    ) -> None:  # fmt: skip
        # What is wrong is to be told at once.
        requests.follow(position, patterns, options)
        arguments.told(retrying, "retrying")
        if place is not None and not (hasattr(place, "load") and hasattr(place, "save")):
            raise TypeError(
                f"place must be one with load() and save(), such as FilePosition, not {type(place).__name__}"
            )
        self._face, self._addresses, self._limits, self._patterns = face, addresses, waits, patterns
        self._place, self._copies, self._retrying, self._options = place, copies, retrying, options
        self._watching: Watching | None = None
        self._backoff = backoff()
        self._closed = face.alarm()
        self._saved: str | None = None
        self._is_loaded = False
        self._gone = ""
        self._not_before = 0.0
        self._is_hurried = False
        self.moved: Callable[[str], object] = lambda _: None
        self.position = position

    async def open(self) -> None:
        """Begin.  Raises Unreachable, Refusal, and what loading a position raises."""
        self._load()
        try:
            self._watching = self._watching or await self._begin()
        except Unreachable:
            raise
        except (ConnectionLost, Unavailable) as error:
            await self._lose(error)

    def _load(self) -> None:
        if self._place and not self._is_loaded:
            self._saved = self._place.load()
            self.position = self._saved or self.position  # a position that was given is not kept there yet
        self._is_loaded = True

    async def _begin(self) -> Watching:
        place = None if self._gone else self.position
        if self._copies:
            begin = requests.follow(place, self._patterns, self._options)
        elif place is None:
            begin = requests.watch(self._patterns, self._options)
        else:
            begin = requests.resume(place, self._patterns, self._options)
        watching = Watching(self._face, self._addresses, begin, self._limits, place or "")
        try:
            await watching.open()
        except (Compacted, OtherStore, Future) as error:
            if not self._copies or place is None:
                raise
            self._gone = error.word
            return await self._begin()
        if self._closed.is_set():
            await watching.close()
            raise ConnectionLost("closed by this program")
        if not watching.copy:
            self.position = watching.position
        if self._is_hurried:
            watching.ask_progress(SHORTEST_INTERVAL)
        return watching

    async def next(self, until: float | None = None) -> Event | Copy:
        """Wait for what comes next, until a time of the monotonic clock.

        It tells that what was taken before is done with.  Raises TimeoutError, Refusal; and once it is closed
        ConnectionLost.
        """
        self._load()
        self.save()
        while True:
            try:
                if not self._watching:
                    await self._rest(until)
                    self._watching = await self._begin()
                if taken := await self._take(self._watching, until):
                    return taken
            except (ConnectionLost, WatchEnded, Unavailable) as error:
                await self._lose(error)

    async def _take(self, watching: Watching, until: float | None) -> Event | Copy | None:
        copy, watching.copy = watching.copy, None
        if copy and self._gone:
            copy, self._gone = copy._replace(reason=self._gone), ""
        heard: Event | Copy | Progress = copy or await watching.next(until)
        self._backoff.reset()
        self.position = heard.position
        if not isinstance(heard, Progress):
            return heard
        self.save()  # all before it is done with
        self.moved(heard.position)
        return None

    def hurry(self) -> None:
        """From now on, learn at once how far the store is."""
        self._is_hurried = True
        if self._watching:
            self._watching.ask_progress(SHORTEST_INTERVAL)

    def relax(self) -> None:
        """Let it take its time again."""
        self._is_hurried = False
        if self._watching:
            self._watching.ask_progress()

    async def _lose(self, error: KvdError) -> None:
        """Let a time pass before it is tried again."""
        watching, self._watching = self._watching, None
        if watching:
            await watching.close()
        if self._closed.is_set():
            raise error
        if isinstance(error, WatchEnded) and self.position and is_after(error.position, self.position):
            self.position = error.position  # it was complete up to there
        pause = error.retry or self._backoff.next()
        self._not_before = time.monotonic() + pause
        if self._retrying:
            self._retrying(error, pause)

    async def _rest(self, until: float | None) -> None:
        now = time.monotonic()
        end = self._not_before if until is None else min(until, self._not_before)
        if await self._closed.wait(max(end - now, 0)):
            raise ConnectionLost("closed by this program")
        if end < self._not_before:
            raise TimeoutError

    def save(self) -> None:
        """Save the position: all that was taken is done with."""
        if self._place and self.position != self._saved and self.position is not None:
            self._place.save(self.position)
            self._saved = self.position

    async def close(self) -> None:
        """End it."""
        self._closed.set()
        watching, self._watching = self._watching, None
        if watching:
            await watching.close()


class Followed:
    """What the follows of both faces have.  Subclasses name their face, and wait."""

    _face: type[Face]

    def __init__(
        self,
        address: str | Sequence[str],
        *patterns: str,
        position: str | None = None,
        place: Place | None = None,
        copies: bool = True,
        retrying: Retrying | None = None,
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
        """position: of what came last; what this program has done with it is not known.

        place: where the position is loaded from at first, and saved when the next change is asked for, or the `with`
        ends without an error: what came before is done with then.
        copies: if False, no copy is made: without a position it begins with the present, and where the changes are no
        longer kept Compacted, OtherStore or Future is raised.
        retrying: is called with the error and the seconds until the next attempt, whenever a connection was lost.
        tls, ca, cert, key, user, password: as `connect` takes them.

        Raises TypeError, ValueError, BadAddress and Refusal.
        """
        addresses = Addresses(arguments.addresses(address))
        waits = limits.checked(
            connect_timeout, timeout, tls=tls, ca=ca, cert=cert, key=key, user=user, password=password
        )
        self._following = Following(
            self._face(), addresses, waits, patterns, position, place, copies, retrying, options
        )

    @property
    def position(self) -> str | None:
        """That of what came last."""
        return self._following.position

    async def _next(self, timeout: Seconds | None) -> Event | Copy:  # noqa: ASYNC109  # as the caller gives it
        """What comes next; raises TimeoutError if nothing does within so many seconds."""
        return await self._following.next(until(arguments.patience_or_none(timeout, "timeout")))
