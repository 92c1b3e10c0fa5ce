"""DEL of a range, which the upstream does; the copy then has none of the keys."""

import asyncio
from contextlib import aclosing, suppress
from functools import partial

from kvd.edge.freshness import Freshness
from kvd.edge.proof import Proof
from kvd.edge.reading import Reading
from kvd.edge.relaying import Relay
from kvd.errors import Unavailable
from kvd.requests import DeleteRange, KeyRange


class RangeDeleting:
    """Asks the upstream."""

    def __init__(self, relay: Relay, proof: Proof, freshness: Freshness, reading: Reading) -> None:
        self._relay = relay
        self._proof = proof
        self._freshness = freshness
        self._reading = reading

    async def delete(self, wanted: DeleteRange) -> bytes:
        """See `session.elsewhere`."""
        before = self._reading.known.revision
        limit = b" limit=%d" % wanted.limit if wanted.limit else b""
        async with aclosing(self._relay.ask(b"DEL %b%b\n" % (wanted.pattern, limit), is_write=True)) as parts:
            reply = b"".join([part async for part in parts])
        # What was done is told in any case.
        with suppress(Unavailable):
            await self._proof.position()
            if _is_complete(wanted, reply):
                await self._lose(wanted.pattern, before)
        return reply

    async def _lose(self, pattern: bytes, revision: int) -> None:
        """Return when the copy has no key that was there at a revision.

        Those that it still has have expired, and go with their EXPIRE.
        """
        keys: list[bytes] = []
        async for _, items in self._reading.pages(KeyRange(pattern), records=True):
            keys += [key for key, record in items if int(record.revision) <= revision]
        lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._freshness.settle(
            0, lambda: None if lost.done() else lost.set_result(None), partial(self._reading.lacks, keys, revision)
        )
        await lost


def _is_complete(wanted: DeleteRange, reply: bytes) -> bool:
    """Whether all of the range is gone."""
    word, *numbers = reply.split()
    return word == b"NONE" or (word == b"OK" and not 0 < wanted.limit <= int(numbers[1]))
