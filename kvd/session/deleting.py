"""DEL of a range, piece by piece: others' requests come between.

A key that is written meanwhile is another one, and stays.
"""

from collections.abc import Callable, Sequence

from kvd.errors import Refusal, Uncertain
from kvd.model import Outcome
from kvd.requests import Delete, DeleteRange, KeyRange
from kvd.store.api import Store
from kvd.wire import replies


class Deletion:
    """Of one range, which is `run` once."""

    def __init__(
        self, store: Store, wanted: DeleteRange, check: Callable[[], None], is_unwanted: Callable[[], bool]
    ) -> None:
        """check: raises a refusal if there is to be no other piece.  is_unwanted: whether nobody waits for the rest."""
        self._store = store
        self._wanted = wanted
        self._check = check
        self._is_unwanted = is_unwanted
        self._last = b""
        self._count = 0

    async def run(self) -> bytes:
        """Delete the keys; the reply.  Raises a refusal if none has gone, and Uncertain if some have."""
        begin = (await self._store.history())[0].revision
        try:
            async for _, items in self._store.pages(KeyRange(self._wanted.pattern), records=False):
                await self._delete([key for key, _ in items], begin)
                if self._is_complete() or self._is_unwanted():
                    break
        except Refusal as error:
            if not self._count:
                raise
            more = ", and perhaps more" if isinstance(error, Uncertain) else ""
            raise Uncertain(f"{self._count} keys are gone{more}; send it again to go on: {error}") from None
        return replies.ok(b"%b %d" % (self._last, self._count)) if self._count else replies.NONE

    def _is_complete(self) -> bool:
        """Whether there is a limit, and so many have gone."""
        return self._count >= self._wanted.limit > 0

    async def _delete(self, keys: list[bytes], begin: int) -> None:
        left, owners = await self._deletes_of(keys, begin)
        while left and not self._is_complete():
            self._check()
            piece = self._next_piece(left, owners)
            left = left[len(piece) :]
            outcomes = await self._store.write(piece, 0)
            gone, newest = deleted(outcomes)
            self._last, self._count = newest or self._last, self._count + gone
            refuse_any(outcomes)

    async def _deletes_of(self, keys: list[bytes], begin: int) -> tuple[list[Delete], set[bytes]]:
        """Deletes of those keys that were not written after a revision; and the keys with which others may live."""
        records, _ = await self._store.read(keys) if keys else ([], 0)
        pairs = [(key, record) for key, record in zip(keys, records, strict=True) if record]
        deletes = [Delete(key, record.revision) for key, record in pairs if int(record.revision) <= begin]
        return deletes, {key for key, record in pairs if record.has_others}

    def _next_piece(self, left: list[Delete], owners: set[bytes]) -> list[Delete]:
        """All that is left, or, where there is a limit, what may go without a look at how many went with it."""
        if not self._wanted.limit:
            return left
        piece = left[: self._wanted.limit - self._count]
        # What goes with one counts.
        place = next((at for at, delete in enumerate(piece) if delete.key in owners), len(piece))
        return piece[: place + 1]


def deleted(outcomes: Sequence[Outcome]) -> tuple[int, bytes]:
    """How many keys have gone by some deletes, with their owners, too; and the last revision, b"" if none has."""
    count, last = 0, b""
    for outcome in outcomes:
        if outcome.isdigit():
            count, last = count + 1, outcome
        elif outcome.startswith(b"g"):
            others, _, last = outcome[1:].partition(b":")
            count += 1 + int(others)
    return count, last


def refuse_any(outcomes: Sequence[Outcome]) -> None:
    """Raise the first refusal among the outcomes."""
    for outcome in outcomes:
        error = replies.REFUSED.get(outcome)
        if error:
            raise error
