"""How long keys live: only the upstream knows, for a TOUCH is no change."""

from collections.abc import Callable, Sequence
from functools import partial

from kvd.edge.forwarding import Forwarding
from kvd.edge.pipe import Pipe
from kvd.edge.relaying import refusal_of
from kvd.errors import Unavailable
from kvd.model import TEXT, Position, Record
from kvd.store.api import ReadDone


class Lives:
    """Asks the upstream."""

    def __init__(
        self, pipe: Pipe, forwarding: Forwarding, found: Callable[[Sequence[bytes]], list[Record | None]]
    ) -> None:
        """pipe: that of writes, after which they are asked.  found: gives records of the copy; raises Unavailable."""
        self._pipe = pipe
        self._forwarding = forwarding
        self._found = found

    def lives_then(self, keys: Sequence[bytes], wanted: Sequence[bool], done: ReadDone) -> None:
        """See `session.elsewhere`."""
        asked = [key for key, is_wanted in zip(keys, wanted, strict=True) if is_wanted]

        def answered(replies: list[bytes], position: Position | None, sent: bool) -> None:  # noqa: ARG001
            if len(replies) < len(asked):
                done(Unavailable("the upstream was lost; try again"))
            elif refusal := next(filter(None, map(refusal_of, replies)), None):
                done(refusal)
            else:
                self._forwarding.settle(position, 0, partial(self._tell_lives, keys, wanted, replies, done))

        self._pipe.ask(b"".join([b"TTL %b\n" % key for key in asked]), len(asked), answered, wants_position=True)

    def _tell_lives(
        self, keys: Sequence[bytes], wanted: Sequence[bool], replies: Sequence[bytes], done: ReadDone
    ) -> None:
        lives = iter(map(_life_of, replies))
        try:
            found = self._found(keys)
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
