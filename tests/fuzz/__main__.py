"""python -m tests.fuzz: input that no client would send, against the pure layers and against a daemon.

Usage:
  tests.fuzz [--inputs N] [--live N] [--seed S]

Options:
  --inputs N  How many for the pure layers (default 100000).
  --live N    How many for a daemon (default a hundredth of that).
  --seed S    Make the same again as the run that printed this seed.
"""

import secrets
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from docopt import docopt

from tests.fuzz import live, pure
from tests.support.processes import Daemon


def main() -> int:
    """Returns the exit status; what is wrong is raised."""
    options = docopt(__doc__)
    inputs = int(options["--inputs"] or 100_000)
    seed = options["--seed"] or secrets.token_hex(4)
    sys.stdout.write(f"seed: {seed}\n")
    sys.stdout.flush()
    lines = pure.fuzz(seed, range(inputs))
    sys.stdout.write(f"pure: {inputs} inputs, {lines} lines\n")
    sys.stdout.flush()
    sys.stdout.write(f"live: {against_daemon(seed, int(options['--live'] or inputs // 100))}\n")
    return 0


def against_daemon(seed: str, inputs: int) -> str:
    """Start a daemon and try inputs; what was done, in words."""
    with TemporaryDirectory() as directory:
        daemon = Daemon(Path(directory) / "data", live.OPTIONS)
        daemon.start()
        try:
            with closing(live.Fuzzer(daemon)) as fuzzer:
                replies = fuzzer.run(seed, range(inputs // 4))
                before = live.memory(daemon)
                replies += fuzzer.run(seed, range(inputs // 4, inputs))
                grown = live.memory(daemon) - before
            assert grown < live.GROWTH, f"the daemon grew by {grown} bytes"
            live.endless_line(daemon)
        finally:
            daemon.stop()
        assert "Traceback" not in daemon.log, daemon.log
    return f"{inputs} inputs, {replies} replies, {grown // 1024} KiB more memory at the end than after a quarter"


if __name__ == "__main__":
    sys.exit(main())
