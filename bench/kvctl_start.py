"""python -m bench.kvctl_start: how long kvctl takes to start, beside Python that imports asyncio.

Usage:
  bench.kvctl_start [--rounds N]

Options:
  --rounds N  Starts of each [default: 21].

The limit is 1.3 times the time of `python -c "import asyncio"`, and 60 ms.  All take turns, so that what slows the
machine down slows all of them.  `kvctl get` asks a daemon that is not there: it starts, connects, and says so.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from docopt import docopt

ROOT = Path(__file__).parents[1]
KVCTL = str(ROOT / "kvctl.py")
NOBODY = ["--addr", "127.0.0.1:1"]
FACTOR, ALLOWANCE = 1.3, 60.0
"""Of what Python with asyncio takes, and milliseconds."""
COMMANDS = {
    "import asyncio": ["-c", "import asyncio"],
    "kvctl --version": [KVCTL, "--version"],
    "kvctl get --help": [KVCTL, "get", "--help"],
    "kvctl get": [KVCTL, *NOBODY, "get", "k"],
    "kvctl watch": [KVCTL, *NOBODY, "watch"],
}


def start(words: list[str]) -> float:
    """Run a command to its end; return how many milliseconds it took."""
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "", "XDG_CONFIG_HOME": "/nowhere"}
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *words], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )
    return (time.perf_counter() - began) * 1000


def main() -> int:
    """The command; returns its exit status: 1 if something takes longer than it may."""
    options = docopt(__doc__)
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(int(options["--rounds"]) + 1):
        for name, words in COMMANDS.items():
            took = start(words)
            if number:  # the first of each reads its program from the disk
                times[name].append(took)
    medians = {name: statistics.median(of) for name, of in times.items()}
    limit = FACTOR * medians["import asyncio"] + ALLOWANCE
    for name, median in medians.items():
        sys.stdout.write(f"{name:18} {median:6.1f} ms  {median / limit:.2f} of the limit\n")
    return int(max(medians.values()) > limit)


if __name__ == "__main__":
    sys.exit(main())
