"""Changes, for asyncio."""

from typing import Self

from kvd.client.arguments import Seconds
from kvd.client.following import Followed
from kvd.client.tasks import TaskFace
from kvd.client.watching import Watched
from kvd.client.words import Copy, Event


class Watch(Watched):
    """The changes to keys that match, each once, in the order of their revisions, on one connection.

        async with Watch("127.0.0.1:5830", "lock/*") as changes:
            async for event in changes:
                ...

    It has a connection of its own, which is read no faster than the changes are taken.  On it the daemon is asked for
    a sign of life every few seconds; a watch without changes may last for ever, one without a sign may not.

    Arguments, `position` and `copy` are those of `Watched`.

    Making it raises TypeError, ValueError, BadAddress and Refusal for its arguments; entering it, what `connect` does,
    Refusal and ConnectionLost; taking a change, WatchEnded and ConnectionLost.
    """

    _face = TaskFace

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._watching.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        return await self.next()

    async def next(self, timeout: Seconds | None = None) -> Event:  # noqa: ASYNC109
        """Return the next change; raise TimeoutError if none comes within so many seconds."""
        return await self._next(timeout)


class Follow(Followed):
    """The changes to keys that match, each once, through restarts of daemons and lost connections.

        async with Follow("127.0.0.1:5830", "config/*", position=last) as changes:
            async for event in changes:
                ...

    Where the changes after the position are no longer kept, or there is no position, a Copy comes: all there is.

    Arguments and `position` are those of `Followed`.

    Making it raises TypeError, ValueError, BadAddress and Refusal for its arguments; entering it, Unreachable if no
    daemon answers.  After that it tries again until it is closed, and raises only Refusal.
    """

    _face = TaskFace

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
        return await self._next(timeout)

    async def close(self) -> None:
        """End it: who waits for a change raises ConnectionLost."""
        await self._following.close()
