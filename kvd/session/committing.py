"""COMMIT: transactions go to the store, with what is known here of changes that they demand there be none of.

The change index knows most changes; those that it has not seen yet the store looks at, if they are not too many.  Then,
and where expired keys are in the way, the store is asked again, when the index knows more.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from kvd.errors import Unavailable
from kvd.model import AGAIN, Outcome
from kvd.requests import CheckSince, Limited, Transaction
from kvd.store.api import Store
from kvd.watch.catching_up import CatchingUp
from kvd.watch.hub import Hub

PAUSE = 0.02
"""Seconds between two attempts: several steps of the sweep, which clears what is in the way."""
PATIENCE = 10.0
"""Seconds for which to go on."""


class Log(Protocol):
    """See `follower.Follower`."""

    async def join(self) -> None:
        """Returns when all that the store does from now on will be published."""


class Committing:
    """Does transactions; keep `run` running."""

    def __init__(self, store: Store, log: Log, hub: Hub, catching_up: CatchingUp) -> None:
        self._store = store
        self._log = log
        self._hub = hub
        self._catching_up = catching_up
        self._wanted = asyncio.Event()
        self._following = asyncio.Event()

    async def run(self) -> None:
        """Follow the change log, for the index, from the first transaction on that needs it."""
        await self._wanted.wait()
        await self._log.join()
        self._following.set()

    async def commit(
        self, transaction: Transaction, size: int, permit: Callable[[Transaction], Transaction | Limited],
        waiting: Callable[[], None],
    ) -> Outcome:  # fmt: skip
        """Do all of a transaction, or nothing; the outcome.  Raises Unavailable, Uncertain, and what `check` raises.

        size: int, bytes of values.  permit: gives it within its limits, or raises a refusal if it is not allowed; asked
        before each attempt.
        waiting: called before it waits for what may take seconds.
        """
        checks = [write for write in transaction.writes if isinstance(write, CheckSince)]
        if checks:
            self._wanted.set()
        give_up = asyncio.get_running_loop().time() + PATIENCE
        while (outcome := await self._attempt(transaction, checks, size, permit)) == AGAIN:
            waiting()
            try:
                async with asyncio.timeout_at(give_up):
                    await self._learn(checks)
                    await asyncio.sleep(PAUSE)
            except TimeoutError:
                raise Unavailable("too much is in the way of a CHECK; nothing was done; try again") from None
        return outcome

    async def _attempt(
        self, transaction: Transaction, checks: Sequence[CheckSince], size: int,
        permit: Callable[[Transaction], Transaction | Limited],
    ) -> Outcome:  # fmt: skip
        informed = await self._informed(transaction, checks)
        return await self._store.transact(permit(informed), size)

    async def _informed(self, transaction: Transaction, checks: Sequence[CheckSince]) -> Transaction:
        """The same, with what the index knows."""
        if not checks:
            return transaction
        writes = [await self._look(write) if isinstance(write, CheckSince) else write for write in transaction.writes]
        return Transaction(tuple(writes))

    async def _look(self, check: CheckSince) -> CheckSince:
        """Find the newest change that matches, among those that are indexed; in slices, for others have their turn."""
        index, after = self._hub.index, check.since.revision
        generation, reached = index.generation, self._hub.position.revision
        end = reached
        while end > after:
            if index.generation != generation or self._hub.position.store != check.since.store:
                return check
            if not index.covers(after):
                return check
            newest, end = index.newest(check.pattern, after, end)
            if newest:
                return check._replace(reached=reached, newest=b"%d %b" % (newest, index.key_of(newest)))
            if check.pattern.endswith(b"*"):
                await asyncio.sleep(0)
        return check._replace(reached=max(reached, after))

    async def _learn(self, checks: Sequence[CheckSince]) -> None:
        """Have the index know more; or find out why the store cannot answer, and raise that as RESUME does."""
        if not checks:
            return
        for check in checks:
            await self._store.check(check.since)
        await self._following.wait()
        here, _ = await self._store.history()
        await self._reach(here.revision)
        await self._catching_up.cover(min(check.since.revision for check in checks))

    async def _reach(self, revision: int) -> None:
        """Returns once a revision is published, or the history begins anew."""
        if self._hub.position.revision < revision:
            reached = asyncio.Event()
            self._hub.when_reached(revision, reached.set)
            try:
                await reached.wait()
            finally:
                self._hub.wait_no_longer(reached.set)
