"""How long keys live: only the upstream knows, for a TOUCH is no change.

A key that has expired is in the copy until its EXPIRE comes.  Who is told that it is not there waits for that.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

from kvd.edge.freshness import Freshness
from kvd.edge.pipe import Pipe
from kvd.edge.reading import Reading
from kvd.edge.relaying import refusal_of
from kvd.errors import KvdError, Unavailable
from kvd.model import TEXT, Position, Record
from kvd.store.api import Found, ReadDone


class Lives:
    """Asks the upstream."""

    def __init__(self, pipe: Pipe, freshness: Freshness, reading: Reading) -> None:
        """pipe: that of writes, after which they are asked."""
        self._pipe = pipe
        self._freshness = freshness
        self._reading = reading

    def lives_then(
        self, wanted: Sequence[bool], keys: Sequence[bytes], done: ReadDone, *, fetch: bool = False  # noqa: ARG002
    ) -> None:  # fmt: skip
        """See `session.elsewhere`."""
        asked = [key for key, is_wanted in zip(keys, wanted, strict=True) if is_wanted]
        before = self._reading.known.revision

        def answered(replies: list[bytes], position: Position | None, sent: bool) -> None:  # noqa: ARG001
            if len(replies) < len(asked):
                done(Unavailable("the upstream was lost; try again"))
            elif refusal := next(filter(None, map(refusal_of, replies)), None):
                done(refusal)
            else:
                gone = [key for key, reply in zip(asked, replies, strict=True) if reply == b"NONE"]
                tell = partial(self._tell_lives, keys, wanted, replies, done)
                self._freshness.settle_at(position, tell, partial(self._reading.lacks, gone, before))

        self._pipe.ask(b"".join([b"TTL %b\n" % key for key in asked]), len(asked), answered, wants_position=True)

    async def lives(self, keys: Sequence[bytes], wanted: Sequence[bool]) -> Found:
        """The same, for one who waits."""
        future: asyncio.Future[Found | KvdError] = asyncio.get_running_loop().create_future()
        self.lives_then(wanted, keys, lambda found: None if future.done() else future.set_result(found))
        found = await future
        if isinstance(found, KvdError):
            raise found
        return found

    def _tell_lives(
        self, keys: Sequence[bytes], wanted: Sequence[bool], replies: Sequence[bytes], done: ReadDone
    ) -> None:
        lives = iter(map(_life_of, replies))
        try:
            found = self._reading.found(keys, fetch=False)
        except Unavailable as error:
            done(error)
        else:
            pairs = zip(found, wanted, strict=True)
            done(([next(lives) if is_wanted else record for record, is_wanted in pairs], 0))


def _life_of(line: bytes) -> Record | None:
    """What the reply to a TTL says, as a record."""
    word, _, rest = line.partition(b" ")
    if word == b"NONE":
        return None
    # The store adds a millisecond to every deadline.
    deadline = 0 if rest == b"-" else round(float(rest) * 1000) + 1
    return Record(b"0", b"%d" % deadline, TEXT, b"")
