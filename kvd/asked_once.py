"""What many ask at the same time is asked of the store once."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from kvd.errors import KvdError

T = TypeVar("T")
AT_ONCE = 16
"""Callers who get their answer before others have their turn: each goes on at once, and a crowd would take long."""


class AskedOnce(Generic[T]):
    """One question to the store.  Callers who ask while it is in flight get the answer to the next, later one."""

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._callers: list[asyncio.Future[T]] = []
        self._task: asyncio.Task[None] | None = None

    async def ask(self) -> T:
        """The answer to a question that was asked after this call.  Raises what `ask` raises."""
        caller: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._callers.append(caller)
        if self._task is None:
            self._task = asyncio.create_task(self._ask_for_all())
        return await caller

    async def _ask_for_all(self) -> None:
        callers: list[asyncio.Future[T]] = []
        try:
            while self._callers:
                callers, self._callers = self._callers, []
                try:
                    found: T | KvdError = await self._ask()
                except KvdError as error:
                    found = error
                await _answer_all(callers, found)
        except BaseException:
            _cancel_all(callers + self._callers)
            self._callers = []
            raise
        finally:
            self._task = None

    def close(self) -> None:
        """Ask no longer; who waits is cancelled."""
        if self._task:
            self._task.cancel()
            self._task = None
        # A task that is cancelled before its first step does not see who waits.
        _cancel_all(self._callers)
        self._callers = []


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
