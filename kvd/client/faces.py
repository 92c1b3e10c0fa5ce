"""What the two faces of the library, asyncio's and the synchronous one, give to what they share.

What is shared is written once, as coroutines.  Those of the synchronous face never suspend: where they wait, the whole
thread waits; so `run` gets such a coroutine to its end in one step.
"""

import typing
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from kvd.client.limits import Limits
from kvd.client.protocol import Heard
from kvd.client.requests import Request
from kvd.errors import ConnectionLost

Result = TypeVar("Result")


class Stream(typing.Protocol):
    """A connection that is read by one reader; what comes is read no faster than it is taken."""

    address: str

    def send(self, request: Request[Any], token: Any = None) -> None:
        """Send a request; its answer is heard."""

    async def hear(self, until: float | None = None) -> Heard:
        """Wait for what comes next, until a time of the monotonic clock; raise ConnectionLost, TimeoutError."""

    async def close(self) -> None:
        """Close it; who waits for what comes next raises ConnectionLost."""


class Link(typing.Protocol):
    """A connection for requests, of any number of callers at the same time.

    lost: why it is of no use any more.
    """

    lost: ConnectionLost | None

    async def ask(self, request: Request[Result]) -> Result:
        """Ask, and return what the reply says.

        Raises Uncertain for a write whose reply did not come, else ConnectionLost: it was not done.
        """

    async def close(self) -> None:
        """Close it; who waits for a reply raises ConnectionLost."""


class Alarm(typing.Protocol):
    """Something to wait for."""

    def set(self) -> None:
        """End all waiting, now and later."""

    def is_set(self) -> bool:
        """Whether it is set."""

    async def wait(self, seconds: float | None) -> bool:
        """Wait, None: for ever; return whether it is set."""


class Face(typing.Protocol):
    """One of the two."""

    async def link(self, address: str, limits: Limits) -> Link:
        """Connect for requests.  Raises Unreachable, Refusal."""

    async def stream(self, address: str, limits: Limits) -> Stream:
        """Connect for a watch: something is expected at all times.  Raises Unreachable, Refusal."""

    def alarm(self) -> Alarm:
        """Make something to wait for."""

    def lock(self) -> AbstractAsyncContextManager[Any]:
        """Make a lock."""

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], Awaitable[None]]:
        """Do some work at the same time; what is returned waits for its end."""


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine of the synchronous face to its end."""
    try:
        work.send(None)
    except StopIteration as end:
        result: Result = end.value
        return result
    work.close()
    raise AssertionError("a coroutine of the synchronous face has suspended")
