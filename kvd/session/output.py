"""What goes to the peer: replies in order, and pushed lines between them, never inside one."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from kvd.errors import Refusal
from kvd.process.over_transport import OverTransport
from kvd.session.budget import NOTED_BYTES, Budget
from kvd.session.unsent import PIECE_BYTES, Unsent
from kvd.wire import replies

FLUSH_BYTES = 64 * 1024
"""Bytes of replies that are collected before they are written, the last reply excepted."""
STATUS_BYTES = 64
"""Of a status that tell what it is."""
GONE = "the peer is gone"
PUSH_ALLOWANCE = 64 * 1024
"""Bytes that may wait in the socket whatever the limit says.  It is asyncio's own mark for a full one, so a
watcher whose lines are refused can wait for the socket to drain."""


class Output:
    """The sending side of one connection.

    status: of the last request that was done alone, as far as `finish` was told it.
    """

    def __init__(
        self, writer: asyncio.StreamWriter, push_limit: int, grown: Callable[[], None], sent: memoryview,
        budget: Budget,
    ) -> None:  # fmt: skip
        """push_limit: int, bytes that may wait in the socket for pushed lines to be added.

        grown: called when more waits than PUSH_ALLOWANCE, or anything of a large piece.  sent: where bytes are counted.
        budget: of all connections, many of which may have large replies in the same turn of the loop.
        """
        self._sent = sent
        self.status = b""
        self._writer = writer
        self._transport = writer.transport
        self._unsent = Unsent(writer.transport)
        self._push_limit = push_limit
        self._grown = grown
        self._budget = budget
        # Whether what is sent is made anew for this peer: else many share one copy of a pushed line.
        self.copies = isinstance(self._transport, OverTransport)
        self._replies: list[bytes] = []
        self._size = 0
        self._held = False
        self._free = asyncio.Event()
        self._free.set()
        self._late: list[bytes] = []

    # ---- replies

    def reply(self, data: bytes) -> None:
        """Add a reply, or a part of one."""
        self._replies.append(data)
        self._size += len(data)

    def finish(self, status: bytes) -> None:
        """Add the status of a request that is done alone."""
        self.status = status[:STATUS_BYTES]
        self.reply(status)

    def reply_all(self, parts: Iterable[bytes]) -> None:
        """Add replies."""
        before = len(self._replies)
        self._replies.extend(parts)
        self._size += sum(map(len, self._replies[before:]))

    def write(self) -> None:
        """Hand all replies to the socket.  Raises ConnectionError."""
        if self._replies:
            # uvloop raises RuntimeError for a transport that is closed.
            if self._transport.is_closing():
                raise ConnectionResetError(GONE)
            self._sent[0] += self._size
            self._transport.write(b"".join(self._replies))
            self._replies.clear()
            size, self._size = self._size, 0
            if size > PIECE_BYTES:
                self._keep(size)

    @property
    def held(self) -> int:
        """Bytes that wait: they were collected, or the socket has not taken them.

        Of a reply of many parts that from which they were made is kept, too.
        """
        waiting = self._size + self._unsent.held
        return 2 * waiting if self._held else waiting

    def grown(self) -> None:
        """More is kept for what is being sent."""
        self._grown()

    @property
    def is_closed(self) -> bool:
        """Whether the peer is gone, or will be sent no more."""
        return bool(self._transport.is_closing())

    def is_full(self) -> bool:
        """Whether much has been collected, or waits in the socket: `flush` then waits until it is less."""
        return self._size > FLUSH_BYTES or self._transport.get_write_buffer_size() > FLUSH_BYTES

    def send(self, data: bytes) -> None:
        """Hand complete replies to the socket, unless the connection is closed."""
        if not self._transport.is_closing():
            self._sent[0] += len(data)
            self._transport.write(data)
            if len(data) > PIECE_BYTES:
                self._keep(len(data))

    def _keep(self, size: int) -> None:
        """A piece was written which the transport may keep for long, however little of it is left."""
        self._unsent.add(size)
        self._grown()

    def note(self) -> None:
        """Something is kept for the peer; others may have as much in the same turn of the loop."""
        self._grown()
        self._budget.relieve()

    async def flush(self) -> None:
        """Write, and wait until the peer has read enough.  Raises ConnectionError."""
        while self._budget.is_crowded:
            # What the transport has is not let go of at once.
            self.note()
            await asyncio.sleep(0)
        self.write()
        if self._transport.get_write_buffer_size() > PUSH_ALLOWANCE:
            # It may wait for long, and with it what it was made from.
            self.note()
        await self._writer.drain()

    async def flush_if_full(self) -> None:
        """Flush if it is full; else what was collected waits for what comes next, and counts meanwhile.

        Raises ConnectionError, also if nothing will be sent any more.
        """
        if self._transport.is_closing():
            raise ConnectionResetError(GONE)
        if self.is_full():
            await self.flush()
        elif self._size >= NOTED_BYTES:
            self._grown()

    def forget(self) -> None:
        """Drop what was not handed to the socket: the connection has ended."""
        self._replies.clear()
        self._late.clear()
        self._size = 0
        self._grown = _nothing

    def close(self) -> None:
        """Close the connection when all is sent."""
        self._writer.close()

    # ---- pushed lines

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Around a reply of many parts: nothing is pushed between them, and a refusal is the last of them."""
        self._held = True
        self._free.clear()
        try:
            yield
        except Refusal as error:
            self.finish(replies.refused(error))
        finally:
            self._release()

    def _release(self) -> None:
        self.write()
        self._held = False
        self._free.set()
        late, self._late = self._late, []
        for line in late:
            self.push_last(line)

    def push(self, data: bytes) -> bool:
        """Send lines at once if the socket may take them, else nothing (a `model.Sink`)."""
        transport = self._transport
        if transport.is_closing():
            return True
        if self._held:
            return False
        waiting = transport.get_write_buffer_size()
        if waiting > PUSH_ALLOWANCE and waiting + len(data) > self._push_limit:
            return False
        self._sent[0] += len(data)
        transport.write(data)
        if waiting > PUSH_ALLOWANCE or len(data) > PIECE_BYTES:
            self._keep(len(data))
        return True

    def push_copy(self, data: bytes, *, may_wait: bool) -> bool:
        """The same for lines of which no other peer has this copy.

        may_wait: whether they can come later.  Large ones do where there is no room for them: many watchers would have
        them before any of those who do not read could be ended.
        """
        is_large = self._transport.get_write_buffer_size() + len(data) > PUSH_ALLOWANCE
        return not (may_wait and is_large and not self._budget.has_room(len(data))) and self.push(data)

    def push_last(self, line: bytes) -> None:
        """Send a watch's last line, however much waits already."""
        if self._held:
            self._late.append(line)
        elif not self._transport.is_closing():
            self._sent[0] += len(line)
            self._transport.write(line)

    def forget_pushed(self) -> None:
        """Drop the last line of a watch that was not sent yet: another watch takes its place."""
        self._late.clear()

    async def writable(self) -> None:
        """Wait until `push` may succeed.  Raises ConnectionError."""
        await self._free.wait()
        await self._writer.drain()


def _nothing() -> None:
    """Takes the place of the connection, which would otherwise be kept until the garbage collector comes."""
