"""python -m tests.faults: load the daemon, kill it, stop it, cut it off, and check every promise afterwards.

Usage:
  tests.faults [--seconds N] [--seed S] [--herd N] [--tmpfs] [--] [ARGUMENT...]

Options:
  --seconds N  How long there are faults; what is checked afterwards takes its time, too (default 20).
  --seed S     Choose the same again as the run that printed this seed: what is done, not when it happens.
  --herd N     Watchers besides the others, who all come back at once when the daemon does (default 500).
  --tmpfs      Put the data on a small disk in memory, and fill it, too.  Needs root.

Ctrl-C or SIGTERM ends it with all that it has started, status 130; a violation is status 1.
What stands behind -- is given to the daemon.  With --workers N single workers are killed and stopped, too.
"""

import secrets
import signal
import sys
from types import FrameType

from docopt import docopt

from tests.faults.history import Violation
from tests.faults.run import run

HERD = 500
"""Enough that they cost the daemon more than all others when they come back."""


def main() -> int:
    """Returns the exit status."""
    options = docopt(__doc__)
    # Whoever ends this means the daemon and the small disk, too.  The background of a script ignores Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _interrupt)
    seed = options["--seed"] or secrets.token_hex(4)
    sys.stdout.write(f"seed: {seed}\n")
    sys.stdout.flush()
    given = [option for option in options["ARGUMENT"] if option != "--"]
    try:
        herd = int(options["--herd"] or HERD)
        summary = run(float(options["--seconds"] or 20), seed, herd=herd, tmpfs=options["--tmpfs"], options=given)
    except Violation as violation:
        sys.stderr.write(f"VIOLATION: {violation}\n" + "".join(f"{note}\n" for note in violation.__notes__))
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    sys.stdout.write(f"{summary}\n")
    return 0


def _interrupt(number: int, _: FrameType | None) -> None:
    """As Ctrl-C, which asyncio takes in order: all that is in flight is cancelled, and puts away what is its own."""
    # Once is enough: another one would come in the middle of that.
    signal.signal(number, signal.SIG_IGN)
    signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main())
