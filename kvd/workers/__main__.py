"""A worker: serves until its parent ends it, or ends.  Started by `kvd --workers N` alone."""

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from kvd.credentials import keep_secret
from kvd.errors import StartError, Superseded
from kvd.process import service
from kvd.process.child import die_with
from kvd.process.sockets import Listener
from kvd.reloadable import Reloadable
from kvd.server import Server
from kvd.workers.config import EXIT_SUPERSEDED, READY, RELOADED, Answered, Asked, Message, Task, take_message
from kvd.workers.others import Asking

STDIN, STDOUT = 0, 1
EXIT_FAILED = 1


def _end_with_parent(take: Callable[[Message], None]) -> None:
    """Pass on what the parent gives, until the end of the input: it is gone, and its store goes with it."""
    while (message := take_message(STDIN)) is not None:
        take(message)
    os._exit(EXIT_FAILED)


class Serving:
    """A server in the event loop of the main thread, and what another thread wants of it."""

    def __init__(self, server: Server, asking: Asking) -> None:
        self.server = server
        self._asking = asking
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    def ready(self) -> None:
        """It listens: the parent may know, and have read anew what it read."""
        self._loop = asyncio.get_running_loop()
        _say(READY)

    def take(self, message: Message) -> None:
        """Called by the other thread, one time after the other."""
        assert self._loop  # noqa: S101
        # The loop may be closed: this process ends.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._begin, message)

    def _begin(self, message: Message) -> None:
        if isinstance(message, Asked):
            self._asking.answer(message, self.server.answer)
        elif isinstance(message, Answered):
            self._asking.answered(message)
        else:
            self._task = asyncio.create_task(self._reload(message))

    async def _reload(self, loaded: Reloadable) -> None:
        await self.server.reload(loaded)
        _say(RELOADED)


def main() -> int:
    """Returns the exit status."""
    service.open_standard_streams()
    try:
        task = Task.take(sys.stdin.buffer)
        return _serve(task)
    except EOFError:
        return EXIT_FAILED
    except Superseded as error:
        _say(f"{error}\n".encode())
        return EXIT_SUPERSEDED


def _serve(task: Task) -> int:
    """Serve until the parent says that it is enough; the exit status.  Raises Superseded."""
    # At once, even if this process is stopped: it keeps the port from the next daemon.
    die_with(task.parent, signal.SIGKILL)
    keep_secret(task.settings.store)
    service.log_to_stderr(task.settings.log_level, task.settings.log_format, of_many=True)
    listeners = [
        Listener(socket.socket(fileno=number), address, is_http=number in task.http)
        for number, address in task.listeners
    ]
    try:
        asking = Asking(_say)
        serving = Serving(
            Server(task.settings, task.location, listeners, task.loaded, task.start, others=asking), asking
        )  # fmt: skip
        threading.Thread(target=_end_with_parent, args=[serving.take], daemon=True).start()
        service.run(serving.server, serving.ready)
    except StartError as error:
        _say(f"{error}\n".encode())
        return EXIT_FAILED
    return 0


def _say(line: bytes) -> None:
    os.write(STDOUT, line)


if __name__ == "__main__":
    service.leave(main())
