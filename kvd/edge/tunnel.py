"""A watch of what is older than the edge knows: the upstream's lines are passed on until it knows the rest itself.

Pieces end where a transaction does, and where all lines of a change have come; so it is asked for a little more than
the watcher wants, and that is left out.
"""

from collections.abc import AsyncGenerator, Callable, Sequence

from kvd.edge.lines import Lines
from kvd.edge.relaying import Relay, refusal_of, status_of
from kvd.errors import ConnectionLost, Unavailable
from kvd.model import Form, Position
from kvd.wire import words
from kvd.wire.asking import watch_words

LINE_BYTES = 64
"""Memory of a line beyond its own bytes."""
BEAT = b"PROGRESS 0.05\n"
"""Says how far it has come where nothing matches."""


class Tunnel:
    """One watch at the upstream."""

    def __init__(self, lines: Lines, form: Form, came: list[bytes], position: Position) -> None:
        """came: lines that have come already."""
        self._lines = lines
        self._form = form
        self._came = came
        self._revision = position.revision
        self._left = 0
        self._is_amid = False
        # What has come of the next piece, how much that is, and the size of the piece that is being passed on.
        self._piece: list[bytes] = []
        self._piece_size = self._passing = 0
        self._complete = position.revision

    @property
    def held(self) -> int:
        """Bytes that it keeps."""
        return self._lines.held + self._piece_size + self._passing

    def tell(self, grown: Callable[[], None]) -> None:
        """Have somebody called when that has become more."""
        self._lines.tell(grown)

    @classmethod
    async def open(cls, relay: Relay, position: Position, form: Form, patterns: Sequence[bytes]) -> "Tunnel":
        """Begin.  Raises what RESUME is refused with, and Unavailable."""
        lines = await relay.take()
        more = form._replace(batches=True, stays=form.ttl)
        try:
            lines.send(b"%bRESUME %b %b\n" % (BEAT, bytes(position), watch_words(more, patterns)))
            _, came = await status_of(lines)
            status, came = (came[0], came[1:]) if came else await status_of(lines)
            if refusal := refusal_of(status):
                raise refusal
        except BaseException as error:
            await lines.close()
            if isinstance(error, ConnectionLost):
                raise Unavailable(str(error)) from None
            raise
        return cls(lines, form, came, position)

    async def pieces(self) -> AsyncGenerator[tuple[bytes, int], None]:
        """Lines, which may be none, and the revision up to which they are all.  Raises ConnectionLost."""
        came, self._came = self._came, []
        while True:
            whole = self._whole(came)
            if came and (whole or not self._piece):
                self._passing = len(whole)
                # It may take long to pass it on: nothing else is kept meanwhile.
                del came
                yield whole, self._complete
            del whole
            self._passing = 0
            came = await self._lines.read()

    def _whole(self, came: list[bytes]) -> bytes:
        """The lines of whole pieces, with their ends, when others have come."""
        whole: list[bytes] = []
        for line in came:
            self._take(line)
            if not (self._left or self._is_amid):
                whole += self._piece
                self._piece, self._piece_size = [], 0
                self._complete = self._revision
        return b"".join([line + b"\n" for line in whole])

    def _take(self, line: bytes) -> None:
        word, _, rest = line.partition(b" ")
        if word == b"PROGRESS":
            self._revision = words.position(rest).revision
            return
        if word == b"END":
            raise ConnectionLost(line.decode())
        if word == b"BATCH":
            self._left = int(rest)
        elif word == b"CHANGE":
            self._revision = words.position(rest.partition(b" ")[0]).revision
            self._left -= self._left > 0
            self._is_amid = self._form.ttl and rest.split(b" ", 2)[1] in (b"SET", b"SET64", b"SIZE")
        elif word in (b"TTL", b"WITH"):
            self._is_amid = False
        if self._is_wanted(word, rest):
            self._piece.append(line)
            self._piece_size += len(line) + LINE_BYTES
        if word == b"TIME":
            # It is of what comes next.
            self._is_amid = True

    def _is_wanted(self, word: bytes, rest: bytes) -> bool:
        if word == b"BATCH":
            return self._form.batches
        return not (word == b"TTL" and rest.startswith(b"- ") and not self._form.stays)

    def drop(self) -> None:
        """Nothing more of it will be passed on."""
        self._lines.drop()
        self._came, self._piece, self._piece_size = [], [], 0

    async def close(self) -> None:
        """End it."""
        self.drop()
        await self._lines.close()
