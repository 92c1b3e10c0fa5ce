"""Whether somebody still reads what is written: a pipe, a socket or a terminal that loses its reader."""

import asyncio
import errno
import os
import select
import signal
import socket
import stat
import threading
from collections.abc import Callable
from contextlib import suppress

_GONE = select.POLLHUP | select.POLLERR
_HALF_CLOSED = getattr(select, "POLLRDHUP", 0)  # Linux's


def call_at_hangup(descriptor: int, call: Callable[[], object]) -> None:
    """Call from another thread, once, when nobody is left to read what is written there; a file never tells.

    The event loop cannot wait for it: to that a peer that writes, or closes its own output alone, looks the same.
    """
    poll = select.poll()
    poll.register(descriptor, _HALF_CLOSED if _is_remote(descriptor) else 0)

    def wait() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they must wake the main thread
        if any(events & (_GONE | _HALF_CLOSED) for _, events in poll.poll()):
            call()

    threading.Thread(target=wait, daemon=True).start()


def cancelling() -> Callable[[], None]:
    """Make what cancels this task, from any thread."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def cancel() -> None:
        if task:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(task.cancel)

    return cancel


def nobody_reads(error: OSError) -> bool:
    """Whether a write to standard output has failed for want of a reader."""
    if error.errno == errno.EIO:  # a terminal that was closed
        return stat.S_ISCHR(os.fstat(1).st_mode)
    return isinstance(error, BrokenPipeError | ConnectionResetError)


def _is_remote(descriptor: int) -> bool:
    """Whether it is a socket of a network, where the peer's close shows no more than that nothing comes from it."""
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return False
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        return connection.family != socket.AF_UNIX
