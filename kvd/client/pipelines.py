"""Many requests in flight at the same time, their outcomes in order."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from kvd.client.calling import Calling
from kvd.client.faces import run
from kvd.client.requests import Request
from kvd.errors import ConnectionLost, KvdError

if TYPE_CHECKING:
    from kvd.client.threads import Pending, ThreadLink

Result = TypeVar("Result")

IN_FLIGHT = 128
"""Requests that wait for their replies: as many share one sync of the store's, and more are hardly faster."""


async def in_tasks(calling: Calling, asked: Iterable[Request[Result]]) -> AsyncIterator[Result | KvdError]:
    """For asyncio."""
    waiting: deque[asyncio.Task[Result | KvdError]] = deque()
    try:
        for request in asked:
            waiting.append(asyncio.create_task(_outcome(calling, request)))
            if len(waiting) == IN_FLIGHT:
                yield await waiting.popleft()
        while waiting:
            yield await waiting.popleft()
    finally:
        for task in waiting:
            task.cancel()


async def _outcome(calling: Calling, request: Request[Any]) -> Any:
    try:
        return await calling.ask(request)
    except KvdError as error:
        return error


def in_turn(calling: Calling, asked: Iterable[Request[Result]]) -> Iterator[Result | KvdError]:
    """For the synchronous face: in one thread."""
    waiting: deque[tuple[Request[Result], ThreadLink | None, Pending]] = deque()
    for request in asked:
        waiting.append(_begun(calling, request))
        if len(waiting) == IN_FLIGHT:
            yield _ended(calling, *waiting.popleft())
    while waiting:
        yield _ended(calling, *waiting.popleft())


def _begun(calling: Calling, request: Request[Result]) -> "tuple[Request[Result], ThreadLink | None, Pending]":
    from kvd.client.threads import Pending, ThreadLink  # not for asyncio

    link = calling.link
    if isinstance(link, ThreadLink):
        try:
            return request, link, link.send(request)
        except ConnectionLost:
            pass
    return request, None, Pending(request)


def _ended(calling: Calling, request: Request[Result], link: "ThreadLink | None", pending: "Pending") -> Any:
    """What a request in flight comes to; it is asked as any other, if it was not sent, or is a read that was lost."""
    if link and (link.wait(pending).answer or request.is_write):
        try:
            return pending.result()
        except KvdError as error:
            return error
    return run(_outcome(calling, request))
