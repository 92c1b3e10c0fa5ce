"""kvd: a key-value daemon that any program with a socket can read, write and watch.

Usage:
  kvd [options] [--listen ADDR]...
  kvd --help | --version

Options:
  --listen ADDR         Where to listen, HOST:PORT; may be given several times; port 0 takes a free one
                        (default 127.0.0.1:5830; there are no passwords: open it only to a network you trust).
  --data DIR            Directory of the embedded store, made if need be (default ./kvd-data).
  --store URL           Use this Redis or Valkey instead of the embedded one:
                        redis://[user:password@]host:port/db, rediss://..., unix:///path/to/socket.
  --fsync WHEN          When the embedded store syncs to disk: always (before a write is acknowledged),
                        everysec or no (faster; a power failure loses acknowledged writes) (default always).
  --max-value SIZE      The longest value, such as 64KiB (default 1MiB).
  --watch-buffer SIZE   What may wait for one watcher that reads slowly (default 1MiB).
  --history-changes N   How many of the latest changes are kept (default 100000).
  --history-bytes SIZE  How many bytes of them are kept (default 64MiB).
  --log-level LEVEL     debug, info, warning or error (default info).
  --version             Print the version.
  --help                Print this.

Every option may also stand in the environment: KVD_LISTEN (several with spaces between), KVD_DATA, KVD_STORE,
KVD_FSYNC, KVD_MAX_VALUE, KVD_WATCH_BUFFER, KVD_HISTORY_CHANGES, KVD_HISTORY_BYTES, KVD_LOG_LEVEL.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from docopt import DocoptExit, docopt

from kvd import __version__, settings
from kvd.errors import StartError
from kvd.server import Daemon

STDERR = 2
EXIT_FAILED = 1
EXIT_USAGE = 2


async def serve(chosen: settings.Settings) -> None:
    """Run a daemon until SIGTERM or SIGINT.  Raises StartError."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    stopped = asyncio.create_task(stopping.wait())
    daemon = Daemon(chosen)
    try:
        if await _first(daemon.start(), stopped):
            _greet(daemon, chosen)
            await _first(daemon.run(), stopped, before_cancelling=daemon.drain)
    finally:
        await daemon.close()


async def _first(
    work: Coroutine[Any, Any, None],
    stopped: asyncio.Task[Any],
    before_cancelling: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> bool:
    """Do the work until it is done (True) or the daemon is to stop (False); what the work raises is raised."""
    task = asyncio.create_task(work)
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
        return True
    if before_cancelling:
        await before_cancelling()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return False


def _greet(daemon: Daemon, chosen: settings.Settings) -> None:
    """Say on standard output where things are, and what to try."""
    where = ", ".join(map(str, daemon.addresses))
    data = f"{chosen.data}/ (fsync {chosen.fsync})" if daemon.embedded else "in the store given with --store"
    first = daemon.addresses[0]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(first.host, first.host)  # noqa: S104
    if sys.stdout is None:  # the shell's >&-
        return
    # To be served matters more than to be told so, should the text find no place.
    with suppress(OSError):
        sys.stdout.write(
            f"kvd {__version__} listens on {where}\n"
            f"data: {data}\n"
            f"try:  printf 'SET greeting hello\\nGET greeting\\nQUIT\\n' | nc {host} {first.port}\n"
        )
        sys.stdout.flush()


def _open_standard_streams() -> None:
    """Give the standard streams that the shell has closed a place: libuv takes their numbers for its own otherwise."""
    null = os.open(os.devnull, os.O_RDWR)
    while null <= STDERR:
        null = os.dup(null)
    os.close(null)


def _run(main: Coroutine[Any, Any, None]) -> None:
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if sys.platform != "win32":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)


def main(arguments: list[str] | None = None) -> int:
    """The command `kvd`; returns its exit status."""
    _open_standard_streams()
    try:
        options = docopt(__doc__, arguments, version=f"kvd {__version__}")
    except DocoptExit:
        words = " ".join(sys.argv[1:] if arguments is None else arguments)
        sys.stderr.write(f"kvd: cannot make sense of {words!a}; kvd --help lists the options\n")
        return EXIT_USAGE
    try:
        chosen = settings.read(options, os.environ)
        logging.basicConfig(
            level=chosen.log_level.upper(),
            stream=sys.stderr,
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        )
        _run(serve(chosen))
    except StartError as error:
        sys.stderr.write(f"kvd: {error}\n")
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
