"""Requests, on one connection after another: what is lost is replaced, and what can be asked again is asked again."""

import time
from copy import copy
from functools import partial
from typing import TypeVar

from kvd.backoff import Backoff
from kvd.client.dialing import Addresses
from kvd.client.errors import ProtocolError
from kvd.client.faces import Face, Link
from kvd.client.limits import Limits
from kvd.client.requests import Request
from kvd.errors import ConnectionLost, KvdError, Unavailable, Uncertain

Result = TypeVar("Result")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
"""Seconds before connecting again, of which a part is random: all clients of a daemon lose it in the same moment."""


def backoff() -> Backoff:
    """The pauses before connecting again."""
    return Backoff(FIRST_PAUSE, LONGEST_PAUSE, jitter=True)


class Calling:
    """Asks for any number of callers at the same time."""

    def __init__(self, face: Face, addresses: Addresses, limits: Limits) -> None:
        self._addresses, self._limits = addresses, limits
        self._open = partial(face.link, limits=limits)
        self._link: Link | None = None
        self._closed = face.alarm()
        self._connecting = face.lock()
        self._backoff = backoff()
        self._why: KvdError | None = None
        self._not_before = 0.0

    async def open(self) -> None:
        """Connect for the first time.  Raises BadAddress, Unreachable, Refusal."""
        self._link = await self._addresses.first(self._open)

    async def close(self) -> None:
        """Close the connection; those that wait, and later calls, raise ConnectionLost."""
        self._closed.set()
        if self._link:
            await self._link.close()

    @property
    def link(self) -> Link | None:
        """The present connection, None: it is lost."""
        return self._link if self._link and not self._link.lost else None

    async def ask(self, request: Request[Result], *, retry_uncertain: bool | None = None) -> Result:
        """Ask, and return what the reply says.

        A read whose reply did not come is asked again, and a write that was not sent; another write if that is wished,
        None: in general.
        """
        retries = self._limits.retry_uncertain if retry_uncertain is None else retry_uncertain
        until: float | None = None
        while True:
            try:
                link = self.link
                if link is None:
                    until = until or self._deadline()
                    link = await self._another(until)
                result = await link.ask(request)
            except (ConnectionLost, Uncertain) as error:
                until = until or self._deadline()
                if self._is_final(error, retries) or time.monotonic() >= until:
                    raise
                if link and not link.lost:  # the daemon itself says so: it is not to be asked again at once
                    await self._closed.wait(self._backoff.next())
            else:
                self._backoff.reset()
                return result

    def _deadline(self) -> float:
        return time.monotonic() + self._limits.reconnect

    def _is_final(self, error: KvdError, retries: bool) -> bool:
        """Whether to ask again is no use, or was not wished."""
        if self._closed.is_set() or isinstance(error, ProtocolError):
            return True
        return isinstance(error, Uncertain) and not retries

    async def _another(self, until: float) -> Link:
        """Connect in place of what was lost, by one caller for all.  Raises ConnectionLost, Unavailable."""
        async with self._connecting:
            while self._link is None or self._link.lost:
                if self._why is None and self._link and self._link.lost:
                    self._fail(self._link.lost)
                pause = max(self._not_before - time.monotonic(), 0)
                if self._why and (self._closed.is_set() or time.monotonic() + pause >= until):
                    raise copy(self._why)
                await self._closed.wait(pause)
                await self._connect()
            return self._link

    async def _connect(self) -> None:
        try:
            self._link = await self._addresses.first(self._open)
            self._why = None
        except (ConnectionLost, Unavailable) as error:
            self._fail(error)

    def _fail(self, error: KvdError) -> None:
        self._why = error
        self._not_before = time.monotonic() + (error.retry or self._backoff.next())
