"""python -m bench.transfer: how long kvctl takes to export and to import many keys, beside the same through nc.

Usage:
  bench.transfer [--rounds N] [--keys N]

Options:
  --rounds N  Rounds, in each of which all four are measured in turn [default: 5].
  --keys N    Keys, of some 13 bytes, with values of 32 [default: 100000].

kvctl export is beside a SYNC of all keys through nc, and kvctl import beside a SET of each through nc, all from and to
files.  What counts is the median of the ratios of each round.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from docopt import docopt

from bench.others import servers
from bench.starting import ROOT, kvd

LIMIT = 1.5
"""At most, of the time that nc takes."""


def timed(command: Sequence[str], source: Path, target: Path) -> float:
    """Seconds that a command takes."""
    with source.open("rb") as stdin, target.open("wb") as stdout:
        began = time.perf_counter()
        subprocess.run(command, stdin=stdin, stdout=stdout, stderr=subprocess.DEVNULL, check=True)
        return time.perf_counter() - began


def write_requests(home: Path, keys: int) -> None:
    """The files that nc is given."""
    with (home / "set").open("w") as file:
        file.writelines(f"SET key/{number:08d} value-{number:026d}\n" for number in range(keys))
        file.write("QUIT\n")
    (home / "sync").write_text("SYNC *ttl *\nUNWATCH\nQUIT\n")


def a_round(home: Path, port: int) -> tuple[float, float]:
    """The ratios of export and of import."""
    netcat = [servers.find("nc", "netcat-openbsd"), "-N", "127.0.0.1", f"{port}"]
    kvctl = [sys.executable, str(ROOT / "kvctl.py"), "--addr", f"127.0.0.1:{port}"]
    nothing, copy, replies = Path("/dev/null"), home / "copy", home / "replies"
    times = {
        "SET through nc": timed(netcat, home / "set", replies),
        "SYNC through nc": timed(netcat, home / "sync", replies),
        "export": timed([*kvctl, "export", "*", str(copy)], nothing, replies),
        "import": timed([*kvctl, "import", str(copy)], nothing, replies),
    }
    sys.stdout.write("  ".join(f"{name} {seconds:.2f} s" for name, seconds in times.items()) + "\n")
    return times["export"] / times["SYNC through nc"], times["import"] / times["SET through nc"]


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    options = docopt(__doc__, arguments)
    with tempfile.TemporaryDirectory(prefix="bench-transfer-") as directory:
        home = Path(directory)
        write_requests(home, int(options["--keys"]))
        process, port = kvd(ROOT, home)
        try:
            rounds = [a_round(home, port) for _ in range(int(options["--rounds"]))]
        finally:
            process.terminate()
            process.wait()
    ratios = [statistics.median(ratios) for ratios in zip(*rounds, strict=True)]
    for name, ratio in zip(("export", "import"), ratios, strict=True):
        sys.stdout.write(f"{name}: {ratio:.2f} of the time through nc, at most {LIMIT}\n")
    return 0 if max(ratios) <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
