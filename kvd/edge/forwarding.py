"""Writes of an edge go to the upstream as they come; their replies are held until the copy has what they did."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from kvd.edge.freshness import Freshness
from kvd.edge.pipe import Pipe
from kvd.edge.writing import LOST, NOT_SENT, line_of, lines_of, newest, outcome_of, takes_revision
from kvd.errors import KvdError, Unavailable, Uncertain
from kvd.model import Outcome, Position
from kvd.requests import AnyWrite, Limited, Simple, Transaction, Write
from kvd.store.api import WriteDone

NO_QUOTAS = b"eERR denied an edge cannot hold to a quota: write to the root"
"""The outcome of what has one: upstream all clients are one user, and only the root's store counts."""


class Forwarding:
    """The writes of one edge, and the part of its store that takes them."""

    def __init__(self, pipe: Pipe, freshness: Freshness, known: Callable[[], Position]) -> None:
        """pipe: to the upstream.  known: where the copy is."""
        self._pipe = pipe
        self._freshness = freshness
        self._known = known

    def write_then(self, writes: Sequence[AnyWrite] | Simple, size: int, done: WriteDone) -> None:  # noqa: ARG002
        """See `api.Store`."""
        if isinstance(writes, Simple):
            raise TypeError("an edge is given single writes")
        free = [write for write in writes if not isinstance(write, Limited)]
        if len(free) == len(writes):
            self._forward(free, done)
        elif free:
            self._forward(free, partial(_between_refused, writes, done))
        else:
            done([NO_QUOTAS] * len(writes))

    def _forward(self, writes: Sequence[Write], done: WriteDone) -> None:
        tells = all(map(takes_revision, writes))
        self._pipe.ask(
            b"".join(map(line_of, writes)), len(writes), partial(self._written, writes, done), wants_position=not tells
        )

    def _written(
        self, writes: Sequence[Write], done: WriteDone, replies: list[bytes], position: Position | None, sent: bool
    ) -> None:
        rest = [LOST if sent else NOT_SENT] * (len(writes) - len(replies))
        outcomes = [outcome_of(write, line) for write, line in zip(writes, replies, strict=False)] + rest
        if not replies:
            done(outcomes)
            return
        revision = newest(writes, outcomes)
        if position is None and all(map(takes_revision, writes)):
            # It is known where they are; but not where those are that were lost.
            position = Position(revision, self._known().store)
        self._freshness.settle_at(position, partial(done, outcomes), revision=revision)

    async def write(self, writes: Sequence[AnyWrite], size: int) -> list[Outcome]:
        """See `api.Store`."""
        future: asyncio.Future[Sequence[Outcome] | KvdError] = asyncio.get_running_loop().create_future()
        self.write_then(writes, size, lambda outcomes: None if future.done() else future.set_result(outcomes))
        outcomes = await future
        if isinstance(outcomes, KvdError):
            raise outcomes
        return list(outcomes)

    async def transact(self, transaction: Transaction | Limited, size: int) -> Outcome:  # noqa: ARG002
        """See `api.Store`."""
        if isinstance(transaction, Limited):
            return NO_QUOTAS
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        count = len(transaction.writes) + 2

        def done(outcome: Outcome) -> None:
            if not future.done():
                future.set_result(outcome)

        def answered(replies: list[bytes], position: Position | None, sent: bool) -> None:
            if len(replies) < count:
                done(LOST if sent else NOT_SENT)
                return
            outcome = outcome_of(transaction, replies[-1])
            revision = int(outcome) if outcome.isdigit() else 0
            self._freshness.settle_at(position, partial(done, outcome), revision=revision)

        self._pipe.ask(lines_of(transaction), count, answered, wants_position=True)
        outcome = await future
        if outcome == LOST:
            raise Uncertain("the upstream was lost under this transaction, which may have been done")
        if outcome == NOT_SENT:
            raise Unavailable("the upstream cannot be reached; this was not done; try again")
        return outcome


def _between_refused(writes: Sequence[AnyWrite], done: WriteDone, found: Sequence[Outcome] | KvdError) -> None:
    """Give what came of some writes, with what is refused here in its place."""
    if isinstance(found, KvdError):
        done(found)
    else:
        rest = iter(found)
        done([NO_QUOTAS if isinstance(write, Limited) else next(rest) for write in writes])
