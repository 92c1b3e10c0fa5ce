"""python -m bench.starting: how long a daemon for a test takes from its start to its end, beside nats-server.

Usage:
  bench.starting [--rounds N] [--root DIR]...

Options:
  --rounds N  Starts of each [default: 15].
  --root DIR  Another checkout of kvd to start as well; its code runs under this Python.

kvd on a new embedded store, by its own defaults, and nats-server with JetStream on a new store of files, for kvd is
durable, take turns.

answers  until a PING is answered
writes   until a first write is acknowledged: of kvd a SET, on disk by then; of nats-server a bucket that is made and a
         key that is put into it, which it syncs later
ends     from SIGTERM until the process is gone

"kvd, forked" is what kvd's own tests start: a process forked from one that has loaded the code.  "as nats-py waits" is
how that client's own tests start and end theirs: they ask whether it is there every 100 ms, and end it by SIGKILL.
"""

import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from docopt import docopt

from bench.others import servers
from tests.support.forks import Fork, Forks

ROOT = Path(__file__).parents[1]
PAUSE = 0.001
"""Seconds between looks whether nats-server answers: it does not say when it does, and
NATS_PY_PAUSE: as nats-py's tests have it (start_natsd in tests/utils.py)."""
NATS_PY_PAUSE = 0.1
ENVIRONMENT = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}
"""What is installed is compiled."""
FORKS = Forks(ROOT / "kvd" / "__main__.py", ENVIRONMENT)

NATS, NATS_PY = "nats-server", "  as nats-py waits"

Ask = tuple[bytes, bytes]
"""What is sent on a new connection, and what an answer holds."""
PING, WRITE = (b"PING\n", b"OK\n"), (b"SET k v\n", b"OK 1\n")
_CONNECT = b'CONNECT {"verbose":false}\r\n'


def _requested(subject: bytes, text: bytes) -> bytes:
    """A request of NATS, and a subscription to its reply."""
    return b"%bSUB inbox 1\r\nPUB %b inbox %d\r\n%b\r\n" % (_CONNECT, subject, len(text), text)


NATS_PING = _CONNECT + b"PING\r\n", b"PONG\r\n"
BUCKET = (
    _requested(b"$JS.API.STREAM.CREATE.KV_b", b'{"name":"KV_b","subjects":["$KV.b.>"],"max_msgs_per_subject":1}'),
    b'"config":',
)
PUT = _requested(b"$KV.b.k", b"v"), b'"seq":1'

Started = tuple[subprocess.Popen[bytes] | Fork, int]
"""A process, and its port."""


class System(NamedTuple):
    """start: in a directory.  asks: the first is a ping, those after it are for a write.  pause: seconds between looks.

    number: the signal that ends it.
    """

    start: Callable[[Path], Started]
    asks: tuple[Ask, ...]
    pause: float = PAUSE
    number: int = signal.SIGTERM


class Times(NamedTuple):
    """Milliseconds: from the start until it answers, and until a write is acknowledged; and how long the end takes."""

    answers: float
    writes: float
    ends: float


def kvd(root: Path, home: Path, *options: str) -> tuple[subprocess.Popen[bytes], int]:
    """A daemon that says that it listens: its process, and its port."""
    with _said() as (out, port):
        command = [sys.executable, "-m", "kvd", *_options(home), *options]
        process = subprocess.Popen(command, cwd=root, env=ENVIRONMENT, stdout=out, stderr=subprocess.DEVNULL)
        return process, port()


def forked(home: Path) -> Started:
    """The same, forked."""
    with _said() as (out, port), Path(os.devnull).open("r+b") as null:
        process = FORKS.start(_options(home), ENVIRONMENT, [null.fileno(), out, null.fileno()], ROOT)
        return process, port()


def _options(home: Path) -> list[str]:
    return ["--listen", "127.0.0.1:0", "--data", str(home / "data")]


@contextmanager
def _said() -> Iterator[tuple[int, Callable[[], int]]]:
    """A descriptor for a daemon's standard output, and what waits for the port that it says there."""
    said, out = os.pipe()

    def port() -> int:
        os.close(out)
        first = reading.readline().decode()
        found = re.search(r":(\d+)$", first)
        if found is None:
            raise servers.DidNotStart(f"kvd said {first!r}")
        return int(found[1])

    with os.fdopen(said, "rb") as reading:
        yield out, port


def nats(home: Path) -> Started:
    """A server that has just been begun."""
    port = servers.free_port()
    command = [servers.find("nats-server", "nats-server"), "--addr", "127.0.0.1", "--port", str(port), "--jetstream"]
    command += ["--store_dir", str(home / "data")]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), port


def once(system: System) -> Times:
    """Start it, have it write, and end it."""
    with tempfile.TemporaryDirectory(prefix="bench-starting-") as home:
        began = time.perf_counter()
        process, port = system.start(Path(home))
        took = []
        for ask in system.asks:
            while not servers.answers(port, *ask):
                time.sleep(system.pause)
            took.append((time.perf_counter() - began) * 1000)
        ending = time.perf_counter()
        process.send_signal(system.number)
        process.wait()
        return Times(took[0], took[-1], (time.perf_counter() - ending) * 1000)


def _systems(roots: list[str]) -> dict[str, System]:
    nats_asks = (NATS_PING, BUCKET, PUT)
    found = {
        NATS: System(nats, nats_asks),
        NATS_PY: System(nats, nats_asks, NATS_PY_PAUSE, signal.SIGKILL),
        "kvd": System(partial(kvd, ROOT), (PING, WRITE)),
        "kvd, forked": System(forked, (PING, WRITE)),
    }
    return found | {f"kvd {root}": System(partial(kvd, Path(root)), (PING, WRITE)) for root in roots}


def main() -> int:
    """The command; returns its exit status."""
    options = docopt(__doc__)
    systems = _systems(options["--root"])
    # The first of each reads its program from the disk.
    for system in systems.values():
        once(system)
    found: dict[str, list[Times]] = {name: [] for name in systems}
    for _ in range(int(options["--rounds"])):
        for name, system in systems.items():
            found[name].append(once(system))
    medians = {name: Times(*map(statistics.median, zip(*times, strict=True))) for name, times in found.items()}
    sys.stdout.write(f"{'ms':20}{'answers':>9}{'writes':>9}{'ends':>9}{'writes + ends':>15}  of both of nats-server\n")
    for name, times in medians.items():
        both = times.writes + times.ends
        bare, waited = (both / (medians[of].writes + medians[of].ends) for of in (NATS, NATS_PY))
        sys.stdout.write(
            f"{name:20}{times.answers:9.1f}{times.writes:9.1f}{times.ends:9.1f}{both:15.1f}  x {bare:.2f}, "
            f"x {waited:.2f} as nats-py waits\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
