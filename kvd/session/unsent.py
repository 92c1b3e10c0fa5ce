"""What a transport keeps of what it was given, in bytes.

uvloop's keeps a piece whole until the last byte of it is sent, and tells what is left of it: of a megabyte of which the
peer's kernel has most, a little.
"""

from asyncio import BaseTransport
from typing import Any

PIECE_BYTES = 64 * 1024
"""Of a piece, from which on it is counted whole, whatever is left of it."""


class Unsent:
    """Of one connection."""

    def __init__(self, transport: BaseTransport) -> None:
        self._transport: Any = transport
        # The sizes of the pieces of which something may be left, the latest last; small ones together.
        self._pieces: list[int] = []

    def add(self, size: int) -> None:
        """A piece was written that is large, or was written while much was waiting."""
        waiting = self._transport.get_write_buffer_size()
        self._forget_sent(waiting - size)
        if not waiting:
            return
        if self._pieces and self._pieces[-1] < PIECE_BYTES:
            self._pieces[-1] += size
        else:
            self._pieces.append(size)

    @property
    def held(self) -> int:
        """Bytes that are kept."""
        waiting = int(self._transport.get_write_buffer_size())
        return max(waiting, self._forget_sent(waiting)) if self._pieces else waiting

    def _forget_sent(self, waiting: int) -> int:
        """Forget the pieces of which nothing is left; how large the others were."""
        size, first = 0, len(self._pieces)
        while first and size < waiting:
            first -= 1
            size += self._pieces[first]
        del self._pieces[:first]
        return size
