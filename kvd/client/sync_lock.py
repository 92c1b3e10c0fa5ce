"""Leases, locks and elections, for the synchronous face."""

from collections.abc import Callable, Iterator
from typing import Self

from kvd.client import arguments
from kvd.client.calling import Calling
from kvd.client.errors import LeaseLost
from kvd.client.faces import run
from kvd.client.leasing import Leasing
from kvd.client.locking import Locking, first_in_queue
from kvd.client.transaction import Transaction
from kvd.client.words import Item

Told = Callable[[LeaseLost], object]


class _Telling:
    """Tells a program that what it holds is lost: at once by a call, in a thread, and at the end of the `with`."""

    def __init__(self, lost: Told | None) -> None:
        arguments.told(lost, "lost")
        self._lost = lost
        self._why: LeaseLost | None = None

    async def lose(self, why: LeaseLost) -> None:
        """It is lost."""
        self._why = why
        if self._lost:
            self._lost(why)

    def leave(self, kind: type[BaseException] | None) -> None:
        """The body has ended.  Raises LeaseLost if it was lost meanwhile."""
        if self._why and kind is None:
            raise self._why


class Lease:
    """A key that is there as long as this program is, and goes with all that lives with it; made by `Client.lease`."""

    def __init__(self, leasing: Leasing, lost: Told | None) -> None:
        self._leasing, self._body = leasing, _Telling(lost)
        leasing.told = self._body.lose

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

    def __enter__(self) -> Self:
        run(self._leasing.open())
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._body.leave(kind)
        finally:
            run(self._leasing.close())


class Lock:
    """A lock that one program has at a time, in the order in which they asked; made by `Client.lock`."""

    def __init__(self, locking: Locking, calling: Calling, name: str, timeout: float | None, lost: Told | None) -> None:
        self._locking, self._calling, self._timeout = locking, calling, timeout
        self._body = _Telling(lost)
        locking.told = self._body.lose
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

    def holder(self) -> Item | None:
        """Return the present holder, this one or another: its key, value and revision; None: nobody."""
        found = run(self._calling.ask(first_in_queue(self.name)))
        return found[0] if found else None

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
            self._body.leave(kind)
        finally:
            run(self._locking.release())


class Election(Lock):
    """A lock whose holder leads; its value says who that is; made by `Client.election`."""
