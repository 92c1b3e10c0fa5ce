"""Chunks of plain requests, answered as they arrive: no task is woken for them, and they are parsed whole."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from kvd.errors import KvdError, Refusal
from kvd.model import Outcome, PlainPuts
from kvd.session.output import Output
from kvd.wire import plain, replies


class Streams(asyncio.StreamReaderProtocol):
    """The streams of one connection, as `asyncio.start_server` makes them; chunks are offered to `take` first."""

    take: Callable[[bytes], bool] | None = None

    def data_received(self, data: bytes) -> None:
        """Called by the transport; what `take` does not take comes out of the reader."""
        if self.take is None or not self.take(data):
            super().data_received(data)

    def eof_received(self) -> bool | None:
        """Called by the transport; the end comes out of the reader, and `take` is given nothing more."""
        self._offer_nothing()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport, as the above; from here on there is nobody to take anything."""
        self._offer_nothing()
        self.take = None
        super().connection_lost(exc)

    def _offer_nothing(self) -> None:
        if self.take:
            self.take(b"")


class Store(Protocol):
    """See `store.Store`.

    The latter two call `done` at once or later, with an error in place of what was asked for.
    """

    batch_items: int

    @property
    def kept_text(self) -> Callable[[bytes], bytes | None]:
        """Gives the value of a key, if it is at hand."""

    def kept(self, keys: Sequence[bytes]) -> list[bytes] | None:
        """The values of keys, if all are at hand."""

    def read_plain(self, keys: Sequence[bytes], done: Callable[[list[bytes | None] | KvdError | None], None]) -> None:
        """The values of keys, or None if not all of them are text, or any of several is large."""

    def write_plain(self, puts: PlainPuts, done: Callable[[Sequence[Outcome] | KvdError], None]) -> None:
        """Set keys to texts of at most 4 KiB, and give the revisions."""


class Express:
    """Answers one chunk at a time.

    open: bool, whether the next chunk begins with a line, stands in no transaction, and may be answered before
    anything else is.
    """

    def __init__(self, store: Store, output: Output, max_value: int, give_back: Callable[[bytes], None]) -> None:
        """give_back: takes a chunk that was taken, but has to be answered line by line after all."""
        self._store = store
        self._kept_text = store.kept_text
        self._output = output
        self._max_value = max_value
        self._give_back = give_back
        self._chunk = b""
        self._left = b""
        self._finished: asyncio.Future[None] | None = None
        self.open = False

    @property
    def busy(self) -> bool:
        """Whether a chunk was taken that is not answered yet."""
        return bool(self._chunk)

    def take(self, chunk: bytes) -> bool:
        """Have a chunk answered; False: it is not plain, or something else has to be answered before it.

        No bytes stand for the end: they are not taken.
        """
        if self.open and not self._chunk and self._output.is_clear():
            ask = self._ask_write if chunk.startswith(b"S") else self._ask_read
            if ask(chunk):
                return True
        # The next chunk must not overtake this one.
        self.open = False
        return False

    def _ask_read(self, chunk: bytes) -> bool:
        """Answer a chunk from what is at hand, or ask the store, if it is plain and not too much for one batch."""
        if not chunk.startswith(b"GET "):
            return False
        # Most chunks are one line; a key that is kept is one, and has no line feed in it.
        if chunk.endswith(b"\n") and (value := self._kept_text(chunk[4:-1])) is not None:
            self._output.send(replies.ok(value))
            return True
        if key := plain.read(chunk):
            self._ask([key], chunk)
            return True
        if chunk.count(b"\n") > self._store.batch_items:
            return False
        keys = plain.reads(chunk)
        if keys is None:
            return False
        values = self._store.kept(keys)
        if values is not None:
            self._output.send(replies.oks(values))
            return True
        if not plain.are_keys(keys):
            return False
        self._ask(keys, chunk)
        return True

    def _ask(self, keys: Sequence[bytes], chunk: bytes) -> None:
        """Ask the store for all that a chunk reads."""
        self._chunk = chunk
        self._store.read_plain(keys, self._read)

    def _ask_write(self, chunk: bytes) -> bool:
        """Ask the store, as above."""
        # A piece of a large value, or all of it, is not worth a look.
        if len(chunk) > plain.LONGEST_LINE and chunk.find(b"\n", 0, plain.LONGEST_LINE) < 0:
            return False
        if chunk.count(b"\n") > self._store.batch_items:
            return False
        puts = plain.writes(chunk, self._max_value)
        if puts is None:
            return False
        self._chunk = chunk
        self._store.write_plain(puts, self._written)
        return True

    async def finish(self) -> bytes:
        """Wait until what was taken is answered; returns what could not be, and comes before all that was not taken."""
        if self._chunk:
            self._finished = asyncio.get_running_loop().create_future()
            await self._finished
            self._finished = None
        left, self._left = self._left, b""
        return left

    def _read(self, values: list[bytes | None] | KvdError | None) -> None:
        if isinstance(values, list):
            self._end(replies.plain_values(values))
        elif values is None:
            self._return()
        else:
            self._refuse(values)

    def _written(self, revisions: Sequence[Outcome] | KvdError) -> None:
        if isinstance(revisions, KvdError):
            self._refuse(revisions)
        else:
            self._end(replies.oks(revisions))

    def _refuse(self, error: KvdError) -> None:
        assert isinstance(error, Refusal)  # noqa: S101
        self._end(replies.refused(error) * self._chunk.count(b"\n"))

    def _return(self) -> None:
        if self.open:
            self.open = False
            self._give_back(self._chunk)
        else:
            # More has come, and whoever takes that asks for this first.
            self._left = self._chunk
        self._end(b"")

    def _end(self, data: bytes) -> None:
        self._chunk = b""
        if data:
            self._output.send(data)
        if self._finished and not self._finished.done():
            self._finished.set_result(None)
