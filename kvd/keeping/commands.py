"""The commands that keep a store: `kvd restore`, `kvd check`."""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from docopt import DocoptExit, docopt

from kvd import settings
from kvd.keeping.check import Check
from kvd.keeping.restore import Restore
from kvd.process import service

EXIT_WRONG = 1
EXIT_INTERRUPTED = 130
EXIT_USAGE = 2

_OPTIONS = """\
  --data DIR         The data directory (default: ./kvd-data).
  --engine ENGINE    The engine, as of kvd.
  --config FILE      Read options from this TOML file, as kvd does.
  --log-level LEVEL  debug, info, warning or error (default: info).
  --help             Print this.
"""

_RESTORE = f"""\
kvd restore: make a data directory of a backup that kvctl backup has written.

Usage:
  kvd restore [options] FILE
  kvd restore --help

Options:
{_OPTIONS}
The directory must be new, or empty.  The store gets an id of its own, so that watches begin anew, and its revisions go
on far above those of the backup.  Keys keep their revisions, and what was left of their times to live.
"""

_CHECK = f"""\
kvd check: see whether the data of a directory are whole.

Usage:
  kvd check [options]
  kvd check --help

Options:
  --repair           Mend what can be mended; no daemon may run.
{_OPTIONS}
Records, index, deadlines, owners, change log and large values are compared with each other, of a directory on which no
daemon runs, or of one on which one does.  Nothing is written without --repair.  The exit status is 1 if anything is
wrong.
"""


class Command(NamedTuple):
    """page: what --help prints, and docopt reads.  run: does it; the exit status.  Raises StartError."""

    page: str
    run: Callable[[Mapping[str, Any], settings.Settings], int]


def _restore(words: Mapping[str, Any], chosen: settings.Settings) -> int:
    restore = Restore(Path(words["FILE"]), chosen)
    service.run(restore, lambda: None, {signal.SIGTERM, *service.TERMINAL})
    return 0 if restore.is_done else EXIT_INTERRUPTED


def _check(words: Mapping[str, Any], chosen: settings.Settings) -> int:
    check = Check(chosen, repairs=bool(words["--repair"]))
    is_over = False

    def over() -> None:
        nonlocal is_over
        is_over = True

    service.run(check, over, {signal.SIGTERM, *service.TERMINAL})
    return (0 if check.is_whole else EXIT_WRONG) if is_over else EXIT_INTERRUPTED


COMMANDS = {"restore": Command(_RESTORE, _restore), "check": Command(_CHECK, _check)}


def run(arguments: list[str]) -> int:
    """Run the command that is the first word; its exit status.  Raises StartError, SystemExit for --help."""
    command = COMMANDS[arguments[0]]
    try:
        words = docopt(command.page, arguments)
    except DocoptExit:
        sys.stderr.write(f"kvd: wrong arguments for {arguments[0]}; see kvd {arguments[0]} --help\n")
        return EXIT_USAGE
    chosen = settings.read(words, os.environ)
    service.log_to_stderr(chosen.log_level, of_many=False)
    return command.run(words, chosen)
