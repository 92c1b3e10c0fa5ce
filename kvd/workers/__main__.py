"""A worker: serves until its parent ends it, or ends.  Started by `kvd --workers N` alone."""

import os
import signal
import socket
import sys
import threading

from kvd.credentials import keep_secret
from kvd.errors import StartError, Superseded
from kvd.process import service
from kvd.process.child import die_with
from kvd.server import Server
from kvd.workers.config import EXIT_SUPERSEDED, READY, Task

STDIN, STDOUT = 0, 1
EXIT_FAILED = 1


def _end_with_parent() -> None:
    """Wait for the end of the input: the parent is gone, and its store goes with it."""
    os.read(STDIN, 1)
    os._exit(EXIT_FAILED)


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
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_secret(task.settings.store)
    service.log_to_stderr(task.settings.log_level, of_many=True)
    sockets = [socket.socket(fileno=descriptor) for descriptor in task.sockets]
    try:
        service.run(Server(task.settings, task.location, sockets), lambda: _say(READY))
    except StartError as error:
        _say(f"{error}\n".encode())
        return EXIT_FAILED
    return 0


def _say(line: bytes) -> None:
    os.write(STDOUT, line)


if __name__ == "__main__":
    sys.exit(main())
