"""What asyncio's face gives to what both share: connections, waiting, tasks."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from copy import copy
from typing import Any, TypeVar

from kvd.client.connection import Connection
from kvd.client.errors import uncertain
from kvd.client.limits import Limits
from kvd.client.protocol import Answer, Heard
from kvd.client.requests import Request
from kvd.client.silence import Silence
from kvd.errors import ConnectionLost

Result = TypeVar("Result")


class TaskLink:
    """A connection for the requests of any number of tasks.  They are pipelined."""

    def __init__(self, connection: Connection, silence: float | None) -> None:
        self.lost: ConnectionLost | None = None
        self._connection = connection
        self._in_flight = 0
        self._silence = Silence(connection, silence, lambda: bool(self._in_flight))
        self._reading = asyncio.create_task(self._read())

    async def ask(self, request: Request[Result]) -> Result:
        """Ask, and return what the reply says; a caller that is cancelled disturbs no other."""
        self._in_flight += 1
        self._silence.begin()
        try:
            await self._connection.drain()
            if self.lost:
                raise copy(self.lost)
            waiter: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            self._connection.send(request, waiter)
        except BaseException:
            self._in_flight -= 1
            raise
        try:
            answer = await waiter
        except ConnectionLost as lost:
            raise uncertain(lost) if request.is_write else lost from lost
        result: Result = answer.result()
        return result

    async def close(self) -> None:
        """Close the connection."""
        self._lose(ConnectionLost("closed by this program"))
        await self._connection.close()
        await self._reading

    async def _read(self) -> None:
        error = ConnectionLost("its reader was cancelled")
        try:
            while True:
                heard = await self._connection.next()
                if isinstance(heard, Answer):
                    self._in_flight -= 1
                    if not heard.token.done():  # else its caller was cancelled
                        heard.token.set_result(heard)
        except ConnectionLost as lost:
            error = lost
        finally:
            self._lose(error)

    def _lose(self, error: ConnectionLost) -> None:
        if not self.lost:
            self.lost = error
        self._connection.abort()
        for waiter in self._connection.unanswered():
            self._in_flight -= 1
            if not waiter.done():
                waiter.set_exception(copy(self.lost))


class TaskStream:
    """A connection that one task reads."""

    def __init__(self, connection: Connection, silence: float | None) -> None:
        self.address = connection.address
        self.send = connection.send
        self.close = connection.close
        self._connection = connection
        connection.skip_items()
        Silence(connection, silence, lambda: True).begin()

    async def hear(self, until: float | None = None) -> Heard:
        """Wait for what comes next; raise ConnectionLost, TimeoutError."""
        if until is None:
            return await self._connection.next()
        async with asyncio.timeout_at(until):  # the loop has the monotonic clock
            return await self._connection.next()


class TaskAlarm(asyncio.Event):
    """Something to wait for."""

    async def wait(self, seconds: float | None) -> bool:  # type: ignore[override]
        """Wait, None: for ever; return whether it is set."""
        if not self.is_set() and (seconds is None or seconds > 0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await super().wait()
        return self.is_set()


class TaskFace:
    """asyncio's."""

    async def link(self, address: str, limits: Limits) -> TaskLink:
        """Connect for requests."""
        return TaskLink(await Connection.open(address, limits.connect, limits.tls, limits.login), limits.silence)

    async def stream(self, address: str, limits: Limits) -> TaskStream:
        """Connect for a watch."""
        return TaskStream(await Connection.open(address, limits.connect, limits.tls, limits.login), limits.silence)

    def alarm(self) -> TaskAlarm:
        """Make something to wait for."""
        return TaskAlarm()

    def lock(self) -> AbstractAsyncContextManager[Any]:
        """Make a lock."""
        return asyncio.Lock()

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], Awaitable[None]]:
        """Do some work in a task."""
        task = asyncio.create_task(work())

        async def join() -> None:
            await task

        return join
