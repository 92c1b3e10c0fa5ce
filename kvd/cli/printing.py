"""Changes, printed."""

import asyncio
import os
import select
import threading
from contextlib import suppress

from kvd.cli.output import Output
from kvd.cli.showing import Columns, Form, Lines
from kvd.client import Copy, Event


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
            await _write_in_thread(data)
        else:
            self._out.write(data)
            self._out.flush()


def _is_taken_at_once(data: bytes) -> bool:
    """Whether a write is sure not to wait for the reader."""
    poll = select.poll()
    poll.register(1, select.POLLOUT)
    return len(data) <= select.PIPE_BUF and bool(poll.poll(0))


async def _write_in_thread(data: bytes) -> None:
    """Write, in a thread that does not keep the program from ending; raise OSError."""
    loop = asyncio.get_running_loop()
    written: asyncio.Future[OSError | None] = loop.create_future()

    def done(error: OSError | None) -> None:
        if not written.done():
            written.set_result(error)

    def write() -> None:
        error, rest = None, memoryview(data)
        try:
            while rest:
                rest = rest[os.write(1, rest) :]
        except OSError as failed:
            error = failed
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(done, error)

    threading.Thread(target=write, daemon=True).start()
    if error := await written:
        raise error
