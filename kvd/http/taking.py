"""Whether a client takes what it is sent.  One who does not, or hardly, would keep a connection for ever: its kernel
answers for it, and a watch that is set aside can wait for long.
"""

import asyncio

from kvd.session.linger import unacknowledged

LONGEST = 60.0
"""Seconds in which a client must have taken an answer, or
PIECE: bytes of it: as many are read, and written, at once."""
PIECE = 64 * 1024
LOOKS = 6
"""In that time."""


class Taking:
    """Of one connection.  written: bytes that it was sent so far; to be kept."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.written = 0

    async def ends(self) -> None:
        """Returns when the client has taken too little for too long."""
        loop = asyncio.get_running_loop()
        due, since = 0, loop.time()
        while True:
            await asyncio.sleep(LONGEST / LOOKS)
            waiting = self._waiting()
            taken = self.written - waiting
            if not waiting or taken >= due:
                # What waits now is to be taken in its time.
                due, since = taken + min(waiting, PIECE), loop.time()
            elif loop.time() - since >= LONGEST:
                return

    def _waiting(self) -> int:
        """Bytes that the client's kernel has not got."""
        return self._writer.transport.get_write_buffer_size() + unacknowledged(self._writer.get_extra_info("socket"))


def why() -> str:
    """What there is to say."""
    return f"less than {PIECE // 1024} KiB of what waited for it were taken within {LONGEST:g} s"
