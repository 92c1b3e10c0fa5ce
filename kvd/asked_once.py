"""What many ask at the same time is asked of the store once."""

import asyncio
from bisect import bisect
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from kvd.errors import KvdError

T = TypeVar("T")
AT_ONCE = 16
"""Callers who get their answer before others have their turn: each goes on at once, and a crowd would take long."""
PATIENCE = 5.0
"""Seconds after which those who asked while a question was in flight share its failure: the next may take as long."""


class AskedOnce(Generic[T]):
    """One question to the store.  Callers who ask while it is in flight get the answer to the next, later one."""

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._callers: list[asyncio.Future[T]] = []
        # When each of them asked.
        self._asked: list[float] = []
        self._task: asyncio.Task[None] | None = None

    async def ask(self) -> T:
        """The answer to a question that was asked after this call.  Raises what `ask` raises, after PATIENCE also of a
        question that was asked before."""
        loop = asyncio.get_running_loop()
        caller: asyncio.Future[T] = loop.create_future()
        self._callers.append(caller)
        self._asked.append(loop.time())
        if self._task is None:
            self._task = asyncio.create_task(self._ask_for_all())
        return await caller

    async def _ask_for_all(self) -> None:
        callers: list[asyncio.Future[T]] = []
        try:
            while self._callers:
                callers = self._take(len(self._callers))
                try:
                    found: T | KvdError = await self._ask()
                except KvdError as error:
                    found = error
                    callers += self._take(bisect(self._asked, asyncio.get_running_loop().time() - PATIENCE))
                await _answer_all(callers, found)
        except BaseException:
            _cancel_all(callers + self._take(len(self._callers)))
            raise
        finally:
            self._task = None

    def _take(self, count: int) -> list[asyncio.Future[T]]:
        """The first so many who wait, who then wait no longer."""
        taken = self._callers[:count]
        del self._callers[:count], self._asked[:count]
        return taken

    def close(self) -> None:
        """Ask no longer; who waits is cancelled."""
        if self._task:
            self._task.cancel()
            self._task = None
        # A task that is cancelled before its first step does not see who waits.
        _cancel_all(self._take(len(self._callers)))


def _cancel_all(callers: list[asyncio.Future[T]]) -> None:
    for caller in callers:
        caller.cancel()


async def _answer_all(callers: list[asyncio.Future[T]], found: T | KvdError) -> None:
    for place, caller in enumerate(callers):
        if place and place % AT_ONCE == 0:
            await asyncio.sleep(0)
        if caller.done():
            continue
        if isinstance(found, KvdError):
            # Each raises one of its own, for tracebacks grow.
            caller.set_exception(type(found)(*found.args))
        else:
            caller.set_result(found)
