"""python -m bench.starting: how long a daemon for a test takes from its start to its end, beside nats-server.

Usage:
  bench.starting [--rounds N] [--root DIR]...

Options:
  --rounds N  Starts of each [default: 15].
  --root DIR  Another checkout of kvd to start as well; its code runs under this Python.

kvd on a new embedded store, by its own defaults, and nats-server with JetStream on a new store of files, for kvd is
durable, take turns.  Start: until a PING is answered.  End: from SIGTERM until the process is gone.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from docopt import docopt

from bench.others import servers

ROOT = Path(__file__).parents[1]
PAUSE = 0.001
"""Seconds between looks whether nats-server answers: it does not say when it does."""
PING = b"PING\n", b"OK\n"
NATS_PING = b'CONNECT {"verbose":false}\r\nPING\r\n', b"PONG\r\n"

Started = tuple[subprocess.Popen[bytes], int]
"""A process, and its port."""


def kvd(root: Path, home: Path, *options: str) -> Started:
    """A daemon that says that it listens."""
    command = [sys.executable, "-m", "kvd", "--listen", "127.0.0.1:0", "--data", str(home / "data"), *options]
    # What is installed is compiled.
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}
    process = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout  # noqa: S101
    said = process.stdout.readline().decode()
    found = re.search(r":(\d+)$", said)
    if found is None:
        raise servers.DidNotStart(f"kvd in {root} said {said!r}")
    return process, int(found[1])


def nats(home: Path) -> Started:
    """A server that has just been begun."""
    port = servers.free_port()
    command = [servers.find("nats-server", "nats-server"), "--addr", "127.0.0.1", "--port", str(port), "--jetstream"]
    command += ["--store_dir", str(home / "data")]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), port


@contextmanager
def timed(times: list[float]) -> Iterator[None]:
    """Note how many milliseconds the block takes."""
    began = time.perf_counter()
    yield
    times.append((time.perf_counter() - began) * 1000)


def once(start: Callable[[Path], Started], ping: tuple[bytes, bytes], starts: list[float], ends: list[float]) -> None:
    """Start it, and end it."""
    with tempfile.TemporaryDirectory(prefix="bench-starting-") as home:
        with timed(starts):
            process, port = start(Path(home))
            while not servers.answers(port, *ping):
                time.sleep(PAUSE)
        with timed(ends):
            process.terminate()
            process.wait()
        if process.stdout:
            process.stdout.close()


def main() -> int:
    """The command; returns its exit status."""
    options = docopt(__doc__)
    systems: dict[str, tuple[Callable[[Path], Started], tuple[bytes, bytes]]] = {"nats-server": (nats, NATS_PING)}
    for root in [ROOT, *map(Path, options["--root"])]:
        systems[f"kvd {'' if root == ROOT else root}".strip()] = (lambda home, root=root: kvd(root, home), PING)  # type: ignore[misc]
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in systems}
    # The first of each reads its program from the disk.
    for number in range(int(options["--rounds"]) + 1):
        for name, (start, ping) in systems.items():
            once(start, ping, *times[name])
            if not number:
                times[name] = ([], [])
    first = sum(map(statistics.median, times["nats-server"]))
    for name, (begun, ended) in times.items():
        to_start, to_end = statistics.median(begun), statistics.median(ended)
        sys.stdout.write(
            f"{name:30} start {to_start:6.1f} ms  end {to_end:6.1f} ms  both x {(to_start + to_end) / first:.2f}\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
