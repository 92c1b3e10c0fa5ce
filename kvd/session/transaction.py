"""The writes between BEGIN and COMMIT."""

from collections.abc import Callable
from typing import Any

from kvd.errors import Aborted, LimitReached, Refusal, TooLong, Usage
from kvd.requests import Delete, DeleteRange, Demand, Increment, Put, Touch, Transaction
from kvd.verbs import Verb
from kvd.wire import replies
from kvd.wire.words import MAX_TRANSACTION, MAX_TRANSACTION_BYTES

WRITE_BYTES = 400
"""Memory of a write beyond its key and value."""


class Pending:
    """The writes of one transaction, until they are done together."""

    def __init__(self, permit: Callable[[int], None]) -> None:
        """permit: raises LimitReached if so many bytes more may not be held."""
        self._permit = permit
        self._writes: list[Put | Delete | Touch | Increment | Demand] = []
        self._refused = False
        self._expired: LimitReached | None = None
        self.size = 0

    @property
    def held(self) -> int:
        """Bytes that it takes."""
        return self.size + len(self._writes) * WRITE_BYTES

    def answer(self, verb: Verb, arguments: Any) -> bytes:
        """Queue a request, or refuse it and the whole transaction with it; the reply."""
        try:
            self._queue(verb, arguments)
        except Refusal as error:
            return self.refuse(error)
        return replies.QUEUED

    @property
    def is_expired(self) -> bool:
        """Whether it has been open for too long."""
        return self._expired is not None

    @property
    def may_be_done(self) -> bool:
        """Whether nothing of it was refused, and it has not been open for too long."""
        return not (self._refused or self._expired)

    def expire(self, error: LimitReached) -> None:
        """It has been open for too long: nothing of it will be done, and the peer is told when it next asks."""
        self._expired = error
        self._writes.clear()
        self.size = 0

    def refuse(self, error: Refusal) -> bytes:
        """A request that is none was sent: the transaction will not be done; the reply."""
        self._refused = True
        return replies.refused(error)

    def transaction(self) -> Transaction:
        """What is to be done.  Raises Aborted, LimitReached."""
        if self._expired:
            raise self._expired
        if self._refused:
            raise Aborted("a request of this transaction was refused; nothing was done")
        return Transaction(tuple(self._writes))

    def _queue(self, verb: Verb, arguments: Any) -> None:
        if self._expired:
            raise self._expired
        if not isinstance(arguments, Put | Delete | Touch | Increment | Demand):
            name = "DEL of a pattern" if isinstance(arguments, DeleteRange) else verb.name
            raise Usage(
                f"{name} is not allowed in a transaction: expected SET, PUT, DEL, TOUCH, INCR or CHECK, "
                "then COMMIT or ABORT"
            )
        if len(self._writes) == MAX_TRANSACTION:
            raise TooLong(f"a transaction has at most {MAX_TRANSACTION} writes and checks")
        size = self.size + len(arguments.key) + (len(arguments.value) if isinstance(arguments, Put) else 0)
        if size > MAX_TRANSACTION_BYTES:
            raise TooLong(f"a transaction has at most {MAX_TRANSACTION_BYTES} bytes of keys and values")
        self._permit(size - self.size + WRITE_BYTES)
        self._writes.append(arguments)
        self.size = size
