"""Leases, locks and elections, for the synchronous face."""

import sys
import threading
from collections.abc import Iterator
from typing import Self

from kvd.client import arguments
from kvd.client.calling import Calling
from kvd.client.errors import LeaseLost
from kvd.client.faces import run
from kvd.client.leasing import Leased, Leasing, Told
from kvd.client.locking import Locked, Locking
from kvd.client.words import Item


class _Telling:
    """Tells a program that what it holds is lost: at once by a call, in a thread, and at the end of the `with`."""

    def __init__(self, lost: Told | None) -> None:
        arguments.told(lost, "lost")
        self._lost = lost
        self._guard = threading.Lock()
        self._why: LeaseLost | None = None

    async def lose(self, why: LeaseLost) -> None:
        """It is lost."""
        with self._guard:
            is_told, self._why = self._why is not None, self._why or why
        try:
            if self._lost and not is_told:
                self._lost(why)
        except Exception:  # the others that have to know are told all the same
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))

    def leave(self, kind: type[BaseException] | None, over: LeaseLost | None) -> None:
        """The body has ended.  Raises LeaseLost if it was lost meanwhile.

        over: it is lost by now, also if nobody has seen that yet, as in a program that was stopped.
        """
        if over:
            run(self.lose(over))
        if self._why and kind is None:
            raise self._why


class Lease(Leased):
    """A key that is there as long as this program is, and goes with all that lives with it; made by `Client.lease`."""

    def __init__(self, leasing: Leasing, lost: Told | None) -> None:
        self._body = _Telling(lost)
        super().__init__(leasing, self._body.lose)

    def __enter__(self) -> Self:
        run(self._leasing.open())
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._body.leave(kind, self._leasing.over)
        finally:
            run(self._leasing.close())


class Lock(Locked):
    """A lock that one program has at a time, in the order in which they asked; made by `Client.lock`."""

    def __init__(self, locking: Locking, calling: Calling, name: str, timeout: float | None, lost: Told | None) -> None:
        self._body = _Telling(lost)
        super().__init__(locking, calling, name, timeout, self._body.lose)

    def holder(self) -> Item | None:
        """Return the present holder, this one or another: its key, value and revision; None: nobody."""
        return run(self._holder())

    def holders(self) -> Iterator[Item | None]:
        """Yield who has it, now and whenever that changes."""
        leading = self._locking.leading()
        try:
            while True:
                yield run(leading.next())
        finally:
            run(leading.close())

    def __enter__(self) -> Self:
        run(self._locking.acquire(self._timeout))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._body.leave(kind, self._locking.over)
        finally:
            run(self._locking.release())


class Election(Lock):
    """A lock whose holder leads; its value says who that is; made by `Client.election`."""
