"""Changes, for asyncio."""

import ssl
from collections.abc import Sequence
from typing import Self

from kvd.client import arguments, limits, requests
from kvd.client.arguments import Seconds
from kvd.client.dialing import Addresses
from kvd.client.following import Following, Retrying
from kvd.client.limits import CONNECT_TIMEOUT, TIMEOUT
from kvd.client.login import login_of
from kvd.client.places import Place
from kvd.client.tasks import TaskFace
from kvd.client.tls import File, tls_context
from kvd.client.watching import Watching, until
from kvd.client.words import Copy, Event, Progress, WatchOptions


class Watch:
    """The changes to keys that match, each once, in the order of their revisions, on one connection.

        async with Watch("127.0.0.1:5830", "lock/*") as changes:
            async for event in changes:
                ...

    It has a connection of its own, which is read no faster than the changes are taken.  On it the daemon is asked for
    a sign of life every few seconds; a watch without changes may last for ever, one without a sign may not.

    position: str, what the daemon answered, then that of what came last; every later change comes.
    copy: Copy, what there was at the first position, if `sync` was given; else None.

    options: what comes beside changes, or does not.
    resume: begin with the changes after this position.  sync: begin with a copy of all there is.
    timeout: seconds without a byte from the daemon after which it is given up, None for no limit; it is at least
    three of the intervals of the signs of life.
    tls, ca, cert, key, user, password: as `connect` takes them.

    Making it raises TypeError, ValueError, BadAddress and Refusal for its arguments; entering it, what `connect` does,
    Refusal and ConnectionLost; taking a change, WatchEnded and ConnectionLost.
    """

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
        begin = requests.beginning(patterns, resume, sync, options)
        addresses = Addresses(arguments.addresses(address))
        login = login_of(user, password)
        waits = limits.checked(connect_timeout, timeout, tls=tls_context(tls, ca, cert, key), login=login)
        self._watching = Watching(TaskFace(), addresses, begin, waits, resume or "")
        self.position = ""
        self.copy: Copy | None = None

    async def __aenter__(self) -> Self:
        await self._watching.open()
        self.position, self.copy = self._watching.position, self._watching.copy
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._watching.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        return await self.next()

    async def next(self, timeout: Seconds | None = None) -> Event:  # noqa: ASYNC109
        """Return the next change; raise TimeoutError if none comes within so many seconds."""
        end = until(arguments.patience_or_none(timeout, "timeout"))
        while True:
            heard = await self._watching.next(end)
            self.position = heard.position
            if not isinstance(heard, Progress):
                return heard


class Follow:
    """The changes to keys that match, each once, through restarts of daemons and lost connections.

        async with Follow("127.0.0.1:5830", "config/*", position=last) as changes:
            async for event in changes:
                ...

    Where the changes after the position are no longer kept, or there is no position, a Copy comes: all there is.

    position: str or None, that of what came last; what this program has done with it is not known.
    place: where the position is loaded from at first, and saved when the next change is asked for, or `async with`
    ends without an error: what came before is done with then.
    copies: if False, no copy is made: without a position it begins with the present, and where the changes are no
    longer kept Compacted, OtherStore or Future is raised.
    retrying: is called with the error and the seconds until the next attempt, whenever a connection was lost.
    tls, ca, cert, key, user, password: as `connect` takes them.

    Making it raises TypeError, ValueError, BadAddress and Refusal for its arguments; entering it, Unreachable if no
    daemon answers.  After that it tries again until it is closed, and raises only Refusal.
    """

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
        addresses = Addresses(arguments.addresses(address))
        login = login_of(user, password)
        waits = limits.checked(connect_timeout, timeout, tls=tls_context(tls, ca, cert, key), login=login)
        self._following = Following(TaskFace(), addresses, waits, patterns, position, place, copies, retrying, options)

    @property
    def position(self) -> str | None:
        """That of what came last."""
        return self._following.position

    async def __aenter__(self) -> Self:
        await self._following.open()
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._following.save()
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event | Copy:
        return await self._following.next()

    async def next(self, timeout: Seconds | None = None) -> Event | Copy:  # noqa: ASYNC109
        """Return what comes next; raise TimeoutError if nothing does within so many seconds."""
        return await self._following.next(until(arguments.patience_or_none(timeout, "timeout")))

    async def close(self) -> None:
        """End it: who waits for a change raises ConnectionLost."""
        await self._following.close()
