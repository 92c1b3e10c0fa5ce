"""Changes, printed."""

import os
import select
from functools import partial

from kvd.cli.output import Output
from kvd.cli.showing import Columns, Form, Lines
from kvd.client import Copy, Event
from kvd.client.detached import detached


class Printing:
    """Prints changes on standard output, each at once.

    in_thread: a reader that is slow does not keep this program from other things.
    """

    def __init__(self, out: Output, keys_only: bool, *, in_thread: bool) -> None:
        self._out, self._in_thread = out, in_thread
        is_for_people = out.is_for_people and not out.as_json
        self._form: Form = Columns(keys_only) if is_for_people else Lines(out, keys_only)

    async def take(self, change: Event | Copy) -> None:
        """Print a change; raise OSError."""
        if isinstance(change, Event):
            await self._write(self._form.change(change))
            return
        for piece in self._form.copy(change):
            await self._write(piece)

    async def _write(self, data: bytes) -> None:
        if self._in_thread and not _is_taken_at_once(data):
            await detached(partial(_write_all, data))
        else:
            self._out.write(data)
            self._out.flush()


def _is_taken_at_once(data: bytes) -> bool:
    """Whether a write is sure not to wait for the reader."""
    poll = select.poll()
    poll.register(1, select.POLLOUT)
    return len(data) <= select.PIPE_BUF and bool(poll.poll(0))


def _write_all(data: bytes) -> None:
    """Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(1, rest) :]
