"""Locks and elections, for either face.

Who wants the lock makes a key of its name (`PUT name/*`), which lives with a lease, and has the lock when no key of the
name is before it: so it comes to those who wait in their order, and each waits for the one before it only.  The key's
revision grows from holder to holder: it is the fence.
"""

import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from kvd.client import arguments, listings, requests
from kvd.client.arguments import Seconds, Value
from kvd.client.calling import Calling, backoff
from kvd.client.dialing import Addresses
from kvd.client.errors import Conflict, LeaseLost, ProtocolError
from kvd.client.faces import Face
from kvd.client.following import Following
from kvd.client.leasing import Leasing, Lost
from kvd.client.limits import Limits
from kvd.client.transaction import Transaction
from kvd.client.watching import until as in_seconds
from kvd.client.words import Copy, Item
from kvd.errors import ConnectionLost, KvdError, Unavailable, Uncertain


class Locking:
    """A place in the queue for a lock.

    item: the key that stands in the queue; None before, and after it was released.
    told: is called when the lock is lost.
    """

    def __init__(
        self, face: Face, addresses: Addresses, limits: Limits, name: str, value: Value,
        make_lease: Callable[[], Leasing], owns_lease: bool,
    ) -> None:  # fmt: skip
        """make_lease: of its own, another one each time; or the one that was given."""
        self._face, self._addresses, self._limits = face, addresses, limits
        self._name, self._value, self._make_lease, self._owns_lease = name, value, make_lease, owns_lease
        self.lease = make_lease()
        self._append = requests.append(f"{name}/", value, owner=self.lease.key)
        self._has_stood = False
        self._waiting: Following | None = None
        self._has_it = False
        self.item: Item | None = None
        self.lost: LeaseLost | None = None
        self.told: Lost | None = None

    @property
    def is_held(self) -> bool:
        """Whether it has the lock, by this program's clock."""
        return self._has_it and self.lost is None and self.lease.is_held

    @property
    def over(self) -> LeaseLost | None:
        """Why it is not held any more, whether that was told already or not."""
        return self.lost or self.lease.over

    @property
    def held(self) -> Item:
        """What it has.  Raises LeaseLost: it has nothing."""
        if not self._has_it or not self.item:
            raise LeaseLost(f"{self._name} is not held")
        self._check()
        return self.item

    def leading(self) -> "Leading":
        """Who has the lock, one after another."""
        return Leading(self._face, self._addresses, self._limits, self._name)

    async def acquire(self, seconds: float | None) -> Item:
        """Wait for the lock.  Raises TimeoutError, LeaseLost of a lease that was given, and what a request does.

        Who lost the place in the queue before it was the first, as in a restart that takes longer than the lease, had
        nothing that could be lost: it stands in the queue again.
        """
        end, until = in_seconds(seconds), time.monotonic() + self._limits.reconnect
        pauses = backoff()
        while True:
            try:
                return await self._acquire(end)
            except (LeaseLost, ConnectionLost, Unavailable, Uncertain) as error:
                pause = error.retry or pauses.next()
                may_go_on = self._has_stood or time.monotonic() + pause < until
                if not self._owns_lease or not may_go_on or isinstance(error, ProtocolError):
                    raise
            left = pause if end is None else end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            await self._face.alarm().wait(min(pause, left))
            self.lease, self.lost = self._make_lease(), None
            self._append = requests.append(f"{self._name}/", self._value, owner=self.lease.key)

    async def _acquire(self, end: float | None) -> Item:
        if self._owns_lease:
            await self.lease.open()
        try:
            self.item = item = await self._queued()
            self._has_stood = True
            self.lease.hold(item.key, item.revision, self._lose)
            while before := await self._before(item.key):
                await self._wait(before, end)
            self._check()
        except BaseException:
            await self.release()
            raise
        self._has_it = True
        return item

    async def _queued(self) -> Item:
        """Stand in the queue, by the first key that was made: an attempt whose reply was lost may have made one too."""
        is_certain = True
        while True:
            try:
                item = await self.lease.calling.ask(self._append, retry_uncertain=False)
                return item if is_certain else (await self._own())[0]
            except Conflict:
                raise LeaseLost(f"{self.lease.key} is gone") from None
            except Uncertain:
                self._check()
                is_certain = False

    async def _own(self) -> list[Item]:
        """What lives with the lease in this queue, but for what other locks of it hold."""
        name, most, owner = f"{self._name}/*", listings.LIST_PAGE, self.lease.key
        pages = listings.listing(b"LIST", name, None, most, None, False, None, owner)
        return [item for item in await self.lease.calling.ask(next(pages)) if not self.lease.holds(item.key)]

    async def _before(self, key: str) -> str:
        """The key before one in the queue, "" for none."""
        pages = listings.listing(b"KEYS", f"{self._name}/*", None, 1, key, True, None, None)
        found = await self.lease.calling.ask(next(pages))
        return found[0].key if found else ""

    async def _wait(self, key: str, end: float | None) -> None:
        """Wait until a key is gone.  Raises TimeoutError, LeaseLost."""
        self._waiting = Following(self._face, self._addresses, self._limits, (key,), None, None, True, None, None)
        try:
            while not self.lost:
                change = await self._waiting.next(end)
                if key not in change.items if isinstance(change, Copy) else change.value is None:
                    return
        except ConnectionLost:  # it was closed
            self._check()
            raise
        finally:
            waiting, self._waiting = self._waiting, None
            await waiting.close()
        self._check()

    def _check(self) -> None:
        if over := self.over:
            raise over

    async def _lose(self, why: LeaseLost) -> None:
        self.lost = why
        if self._waiting:
            await self._waiting.close()
        if self._has_it and self.told:
            await self.told(why)

    async def release(self) -> None:
        """Let the next one have it; if nobody answers, it will when the lease is over."""
        self._has_it = False
        item, self.item = self.item, None
        if item:
            self.lease.release(item.key, item.revision)
        if self._owns_lease:
            await self.lease.close()
        elif item and self.lease.is_held:
            with suppress(KvdError):
                for own in await self._own():
                    await self.lease.calling.ask(requests.delete(own.key))


class Locked:
    """What the locks of both faces have."""

    def __init__(
        self, locking: Locking, calling: Calling, name: str, timeout: float | None, told: Lost
    ) -> None:  # fmt: skip
        """timeout: seconds to wait for it.  told: is called when it is lost."""
        self._locking, self._calling, self._timeout = locking, calling, timeout
        locking.told = told
        self.name = name

    @property
    def key(self) -> str:
        """The key that is the lock's.  Raises LeaseLost: it is not held."""
        return self._locking.held.key

    @property
    def revision(self) -> int:
        """The fence: the key's revision, greater than that of every earlier holder.  Raises LeaseLost: not held."""
        return self._locking.held.revision

    @property
    def is_held(self) -> bool:
        """Whether it is certainly held."""
        return self._locking.is_held

    def fence(self, together: Transaction) -> None:
        """Let a transaction be done only if the lock is still held then.  Raises LeaseLost: it is not held now."""
        together.check(self.key, if_revision=self.revision)

    async def _holder(self) -> Item | None:
        found = await self._calling.ask(first_in_queue(self.name))
        return found[0] if found else None


class Locks:
    """Makes leases and locks."""

    def __init__(self, face: Face, addresses: Sequence[str], limits: Limits) -> None:
        self._face, self._addresses, self._limits = face, addresses, limits

    def leasing(self, key: str, value: Value | None, ttl: Seconds) -> Leasing:
        """A lease.  Raises TypeError, ValueError, Refusal."""
        seconds, shown = arguments.patience(ttl, "ttl"), holder() if value is None else value
        return Leasing(self._face, Addresses(self._addresses), self._limits, key, shown, seconds)

    def locking(self, name: str, ttl: Seconds, value: Value | None, lease: Leasing | None) -> Locking:
        """A place in a queue, with a lease of its own unless one is given.  Raises TypeError, ValueError, Refusal."""

        def living() -> Leasing:
            return lease or self.leasing(f"{name}.lease-{token()}", value, ttl)

        shown = holder() if value is None else value
        return Locking(self._face, Addresses(self._addresses), self._limits, name, shown, living, not lease)


class Leading:
    """Who has a lock, or leads, one after another."""

    def __init__(self, face: Face, addresses: Addresses, limits: Limits, name: str) -> None:
        self._following = Following(face, addresses, limits, (f"{name}/*",), None, None, True, None, None)
        self._items: dict[str, Item] = {}
        self._last: Item | None = None
        self._is_begun = False

    async def next(self) -> Item | None:
        """Wait for the first one, and then until it is another; None: it is nobody."""
        while True:
            change = await self._following.next()
            if isinstance(change, Copy):
                self._items = dict(change.items)
            elif change.value is None:
                self._items.pop(change.key, None)
            else:
                self._items[change.key] = Item(change.key, change.value, change.revision)
            first = self._items[min(self._items)] if self._items else None
            if not self._is_begun or first != self._last:
                self._is_begun, self._last = True, first
                return first

    async def close(self) -> None:
        """End it."""
        await self._following.close()


def first_in_queue(name: str) -> requests.Request[list[Item]]:
    """Ask for the key that is the first of a lock's queue."""
    return next(listings.listing(b"LIST", f"{name}/*", None, 1, None, False, None, None))


def token() -> str:
    """A part of a key that nobody else makes."""
    import secrets  # and hashes, and random numbers: for those alone who lock

    return secrets.token_hex(8)


def holder() -> str:
    """What a lock says of its holder unless it is told: the machine and the process."""
    return f"{socket.gethostname()} {os.getpid()}"
