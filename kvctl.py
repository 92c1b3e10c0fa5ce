#!/usr/bin/env python3
"""The command line of kvd's clients.

In a checkout, `./kvctl.py` is started by the first Python on the path.  If that one lacks what kvd needs, the Python of
the `.venv` beside this file takes over.
"""

import os
import signal
import sys

if (
    __name__ == "__main__" or os.path.basename(sys.argv[0]) == "kvctl"  # noqa: PTH119  # nothing else is loaded yet
) and signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    # Ctrl-C while the rest is loaded ends it as any other signal does, without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import gc
import shlex
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

CANNOT_START = 4
"""Exit status: the same again would fail again (REFUSED in kvd.cli.status)."""
UNCOLLECTED = 50_000
"""Objects, more than a start makes, nearly all of which stay: to look for garbage among them takes a tenth of it."""
SECOND_START = "_KVCTL_SECOND_START"
"""Set in the environment of the Python that takes over, so that no third one is started."""


def start_in_venv(program: Path, problem: Exception) -> NoReturn:
    """Run the program with the Python of its .venv; if that cannot be, say in one line what to do, and end."""
    python = str(program.parent / ".venv" / "bin" / "python")
    if SECOND_START not in os.environ:
        with suppress(OSError):  # there is none, or it does not run
            os.execve(python, [python, str(program), *sys.argv[1:]], {**os.environ, SECOND_START: "1"})  # noqa: S606
    sys.stderr.write(
        f"kvctl: cannot start ({problem}); with Python 3.11 or newer, run: cd {shlex.quote(str(program.parent))}"
        " && python3 -m venv .venv && .venv/bin/pip install -q .\n"
    )
    sys.exit(CANNOT_START)


gc.set_threshold(UNCOLLECTED)
try:
    from kvd.cli.main import command as main
except (ImportError, SyntaxError, TypeError) as error:  # the last two: an older Python reads kvd
    if __name__ != "__main__":
        raise
    start_in_venv(Path(__file__).resolve(), error)

if __name__ == "__main__":
    main()
