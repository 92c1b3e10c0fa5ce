"""Changes, for the synchronous face."""

from typing import Self

from kvd.client.arguments import Seconds
from kvd.client.faces import run
from kvd.client.following import Followed
from kvd.client.threads import ThreadFace
from kvd.client.watching import Watched
from kvd.client.words import Copy, Event


class Watch(Watched):
    """The changes to keys that match, each once, in the order of their revisions, on one connection.

        with Watch("127.0.0.1:5830", "lock/*") as changes:
            for event in changes:
                ...

    It has a connection of its own, which is read no faster than the changes are taken.  On it the daemon is asked for
    a sign of life every few seconds; a watch without changes may last for ever, one without a sign may not.

    Arguments, `position` and `copy` are those of `Watched`.

    Making it raises TypeError, ValueError, BadAddress and Refusal for its arguments; entering it, what `connect` does,
    Refusal and ConnectionLost; taking a change, WatchEnded and ConnectionLost.
    """

    _face = ThreadFace

    def __enter__(self) -> Self:
        run(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        run(self._watching.close())

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        return self.next()

    def next(self, timeout: Seconds | None = None) -> Event:
        """Return the next change; raise TimeoutError if none comes within so many seconds."""
        return run(self._next(timeout))


class Follow(Followed):
    """The changes to keys that match, each once, through restarts of daemons and lost connections.

        with Follow("127.0.0.1:5830", "config/*", position=last) as changes:
            for event in changes:
                ...

    Where the changes after the position are no longer kept, or there is no position, a Copy comes: all there is.

    Arguments and `position` are those of `Followed`.

    Making it raises TypeError, ValueError, BadAddress and Refusal for its arguments; entering it, Unreachable if no
    daemon answers.  After that it tries again until it is closed, and raises only Refusal.
    """

    _face = ThreadFace

    def __enter__(self) -> Self:
        run(self._following.open())
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._following.save()
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event | Copy:
        return run(self._following.next())

    def next(self, timeout: Seconds | None = None) -> Event | Copy:
        """Return what comes next; raise TimeoutError if nothing does within so many seconds."""
        return run(self._next(timeout))

    def close(self) -> None:
        """End it: who waits for a change raises ConnectionLost."""
        run(self._following.close())
