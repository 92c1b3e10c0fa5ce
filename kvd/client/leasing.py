"""A key that lives as long as this program is there, for either face.

It is renewed long before its end, and by this program's clock it is over before it is by the store's: that began to
count when the renewal was done, and this one when it was sent.  So one who finds the key gone may rely on it that its
holder knows, unless the holder was stopped between looking at the clock and doing something; against that there are
fences.
"""

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from kvd.client import requests
from kvd.client.arguments import Value
from kvd.client.calling import Calling
from kvd.client.dialing import Addresses
from kvd.client.errors import Conflict, LeaseLost
from kvd.client.faces import Face
from kvd.client.limits import Limits
from kvd.client.requests import Request
from kvd.client.transaction import Transaction, request_of
from kvd.errors import KvdError

RENEWALS = 3
"""Renewals in a time to live."""
TRIES = 20
"""Attempts in a time to live, where they fail."""
SAFE = 0.9
"""The part of a time to live after which, without a renewal, the lease counts as lost."""

Lost = Callable[[LeaseLost], Awaitable[None]]
Told = Callable[[LeaseLost], object]
"""What a program gives to be told that a lease, or a lock, is lost."""


def clock() -> float:
    """Seconds of a clock that goes on while the machine is suspended, where there is one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Leasing:
    """One lease.

    key, revision: those of its key; 0 before it is there.
    told: is called when it is lost.
    renewed: is called whenever it is renewed, with the time of `clock` up to which it then is held.
    """

    def __init__(self, face: Face, addresses: Addresses, limits: Limits, key: str, value: Value, ttl: float) -> None:
        part = ttl / RENEWALS
        silence = part if limits.silence is None else min(part, limits.silence)
        # Of all that it asks, twice does no harm.
        own = limits._replace(connect=min(part, limits.connect), silence=silence, reconnect=ttl, retry_uncertain=True)
        self.calling = Calling(face, addresses, own)
        self._set = requests.set(key, value, ttl, if_revision=0)
        self._face, self._ttl = face, ttl
        self._until = 0.0
        self._done = face.alarm()
        self._joins: list[Callable[[], Awaitable[None]]] = []
        self._held: dict[tuple[str, int], Lost] = {}
        self.key, self.revision = key, 0
        self.told: Lost | None = None
        self.renewed: Callable[[float], object] | None = None

    @property
    def until(self) -> float:
        """The time of `clock` up to which it is held."""
        return self._until

    @property
    def is_held(self) -> bool:
        """Whether it is there, by this program's clock."""
        return not self._done.is_set() and clock() < self._until

    @property
    def over(self) -> LeaseLost | None:
        """Why it is not held any more by this program's clock, whether that was told already or not."""
        return None if self.is_held else LeaseLost(f"{self.key} could not be renewed in {SAFE * self._ttl:g} s")

    async def open(self) -> None:
        """Make the key, and keep it.  Raises Unreachable, ConnectionLost, Refusal."""
        await self.calling.open()
        try:
            begun = clock()
            self.revision = await self._made()
            self._until = begun + SAFE * self._ttl
        except BaseException:
            await self.calling.close()
            raise
        self._joins = [self._face.spawn(self._renew), self._face.spawn(self._look)]

    async def _made(self) -> int:
        try:
            return await self.calling.ask(self._set)
        except Conflict as conflict:  # it was made by an attempt whose reply was lost: nobody else makes this key
            if not conflict.revision:
                raise
            return conflict.revision

    def hold(self, key: str, revision: int, lost: Lost) -> None:
        """Watch over a key that lives with it, too: call `lost` if it has not this revision."""
        self._held[key, revision] = lost

    def holds(self, key: str) -> bool:
        """Whether it watches over that key."""
        return any(key == one for one, _ in self._held)

    def release(self, key: str, revision: int) -> None:
        """Watch over that key no longer."""
        self._held.pop((key, revision), None)

    async def _renew(self) -> None:
        pause = self._ttl / RENEWALS
        while not await self._done.wait(pause):
            begun, pause = clock(), self._ttl / TRIES
            held = list(self._held)
            try:
                await self.calling.ask(self._renewal(held))
            except Conflict as conflict:
                if not await self._lose_held(conflict, held):
                    await self._lose(f"{self.key} is gone or another's")
                    return
            except KvdError:  # `_look` tells, in time
                continue
            else:
                self._until, pause = begun + SAFE * self._ttl, self._ttl / RENEWALS
                if self.renewed:
                    self.renewed(self._until)

    def _renewal(self, held: list[tuple[str, int]]) -> Request[Any]:
        if not held:
            return requests.touch(self.key, self._ttl, self.revision)
        together = Transaction()
        for key, revision in held:
            together.check(key, if_revision=revision)
        together.touch(self.key, self._ttl, if_revision=self.revision)
        return request_of(together)

    async def _lose_held(self, conflict: Conflict, held: list[tuple[str, int]]) -> bool:
        """Whether it is not the lease that is lost."""
        keys = [one for one in held if one[0] == conflict.key]
        for one in keys:
            if lost := self._held.pop(one, None):
                await lost(LeaseLost(f"{one[0]} is gone or another's"))
        return bool(keys)

    async def _look(self) -> None:
        """See that it ends by this program's clock if it could not be renewed, whatever a renewal is waiting for."""
        while (left := self._until - clock()) > 0:
            if await self._done.wait(left):
                return
        await self._lose(f"{self.key} could not be renewed in {SAFE * self._ttl:g} s")

    async def _lose(self, why: str) -> None:
        if self._done.is_set():
            return
        self._done.set()
        held, self._held = self._held, {}
        for lost in (*held.values(), *([self.told] if self.told else [])):
            await lost(LeaseLost(why))

    async def close(self) -> None:
        """Delete the key, and what lives with it; if nobody answers, it ends by itself."""
        was_held = self.is_held
        self._held.clear()
        self._done.set()
        if was_held:
            with suppress(KvdError):
                await self.calling.ask(requests.delete(self.key, self.revision))
        await self.calling.close()
        joins, self._joins = self._joins, []
        for join in joins:
            await join()


class Leased:
    """What the leases of both faces have."""

    def __init__(self, leasing: Leasing, told: Lost) -> None:
        """told: is called when it is lost."""
        self._leasing = leasing
        leasing.told = told

    @property
    def key(self) -> str:
        """What others live with."""
        return self._leasing.key

    @property
    def revision(self) -> int:
        """That of its key."""
        return self._leasing.revision

    @property
    def is_held(self) -> bool:
        """Whether it is certainly there."""
        return self._leasing.is_held
