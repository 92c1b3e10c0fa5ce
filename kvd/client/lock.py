"""Leases, locks and elections, for asyncio."""

import asyncio
from collections.abc import AsyncIterator
from typing import Self

from kvd.client import arguments
from kvd.client.calling import Calling
from kvd.client.errors import LeaseLost
from kvd.client.leasing import Leased, Leasing, Told
from kvd.client.locking import Locked, Locking
from kvd.client.words import Item


class _Cancelling:
    """Ends the body of an `async with` when what it holds is lost, as asyncio.timeout does in time."""

    def __init__(self, lost: Told | None) -> None:
        arguments.told(lost, "lost")
        self._lost = lost
        self._task: asyncio.Task[object] | None = None
        self._requests = 0
        self._why: LeaseLost | None = None

    def enter(self) -> None:
        """The body begins."""
        self._task = asyncio.current_task()
        self._requests = self._task.cancelling() if self._task else 0

    async def lose(self, why: LeaseLost) -> None:
        """It is lost."""
        task, self._task = self._task, None
        if task:
            self._why = why
            task.cancel()
            self._tell(why)

    def _tell(self, why: LeaseLost) -> None:
        try:
            if self._lost:
                self._lost(why)
        except Exception as error:  # the others that have to know are told all the same
            asyncio.get_running_loop().call_exception_handler({"message": "lost() has failed", "exception": error})

    def leave(self, kind: type[BaseException] | None, over: LeaseLost | None) -> None:
        """The body has ended.  Raises LeaseLost if it was for that.

        over: it is lost by now, also if nobody has seen that yet, as in a program that was stopped.
        """
        task, self._task = asyncio.current_task(), None
        if self._why:
            if task and task.uncancel() <= self._requests and kind in (None, asyncio.CancelledError):
                raise self._why
        elif over:
            self._tell(over)
            if kind is None:
                raise over


class Lease(Leased):
    """A key that is there as long as this program is, and goes with all that lives with it; made by `Client.lease`."""

    def __init__(self, leasing: Leasing, lost: Told | None) -> None:
        self._body = _Cancelling(lost)
        super().__init__(leasing, self._body.lose)

    async def __aenter__(self) -> Self:
        await self._leasing.open()
        self._body.enter()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._body.leave(kind, self._leasing.over)
        finally:
            await self._leasing.close()


class Lock(Locked):
    """A lock that one program has at a time, in the order in which they asked; made by `Client.lock`."""

    def __init__(self, locking: Locking, calling: Calling, name: str, timeout: float | None, lost: Told | None) -> None:
        self._body = _Cancelling(lost)
        super().__init__(locking, calling, name, timeout, self._body.lose)

    async def holder(self) -> Item | None:
        """Return the present holder, this one or another: its key, value and revision; None: nobody."""
        return await self._holder()

    async def holders(self) -> AsyncIterator[Item | None]:
        """Yield who has it, now and whenever that changes."""
        leading = self._locking.leading()
        try:
            while True:
                yield await leading.next()
        finally:
            await leading.close()

    async def __aenter__(self) -> Self:
        await self._locking.acquire(self._timeout)
        self._body.enter()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._body.leave(kind, self._locking.over)
        finally:
            await self._locking.release()


class Election(Lock):
    """A lock whose holder leads; its value says who that is; made by `Client.election`."""
