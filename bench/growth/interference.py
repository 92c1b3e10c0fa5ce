"""What others do: how long the GETs of a light load take meanwhile."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from statistics import median

from bench import servers
from bench.curves import Check, Curve
from bench.growth import due
from bench.measure import Bench, alternate, ratio, spread
from bench.others.servers import HOST
from bench.servers import System
from bench.targets import VALUE

KEYS = 1_000_000
LIGHT = {"connections": 10, "rate": 1000, "reads": 100, "keys": KEYS, "value": VALUE}
"""1,000 GETs a second over 10 connections, sent when they are due."""
WRITES = {"connections": 1, "rate": 2000, "reads": 0, "first": KEYS, "keys": 1000, "value": 1024}
"""2 MiB of changes a second, of keys that are not read: a watcher that does not read is stalled within seconds."""
STALL_SECONDS = 4.0
"""Until the stalled watcher's buffers, the kernel's and the daemon's, are certainly full."""
MOST = 2.0
"""p99 while others work, as a multiple of that alone."""
MOST_BEHIND = 3.0
"""Catching up with keys that fall due at once, as a multiple of deleting as many."""
COLUMN = "p99 of GET, µs"
CATCHING_UP = f"catching up with {due.KEYS:,} due keys / pipelined DEL of as many"
PIECE = 1 << 20
"""Bytes of one read."""
PATIENCE = 60.0
"""Seconds for one answer."""

Disturbance = Callable[[Bench, System], AbstractContextManager[None]]


def measure(bench: Bench) -> list[Curve]:
    """The light load alone and beside each disturbance, in alternating rounds on one daemon."""
    bench.say(f"fill {KEYS:,} keys ...")
    found: dict[str, list[float]] = {name: [] for name in DISTURBANCES}
    with servers.kvd(bench.kvd_arguments) as system:
        bench.generator.fill(system, KEYS, VALUE)
        servers.settle(system)
        for name in alternate(list(DISTURBANCES), bench.pace.rounds):
            bench.say(f"GETs: {name} ...")
            with DISTURBANCES[name](bench, system):
                result = bench.generator.run(
                    system, "requests", LIGHT, seconds=bench.pace.seconds, warmup=bench.pace.warmup
                )
            found[name].append(result.p99_us)
            servers.settle(system)
        bench.say("catching up with keys that are due ...")
        behind = spread([due.catching_up(system) for _ in range(bench.pace.rounds)])
    checks = [
        Check(
            f"{name} / {BASES.get(name, 'alone')}",
            ratio(found[name], found[BASES.get(name, "alone")]).median,
            limit=None if name in INFORMATION else MOST,
        )
        for name in DISTURBANCES
        if name != "alone"
    ]
    checks.append(Check(CATCHING_UP, behind.median, limit=MOST_BEHIND))
    p99 = {COLUMN: [median(found[name]) for name in DISTURBANCES]}
    return [Curve("interference", "What others do", HOW, "meanwhile", list(DISTURBANCES), p99, checks, is_growth=False)]


def in_words(curve: Curve) -> list[str]:
    """What it shows, for readers."""
    p99 = dict(zip(curve.x, curve.columns[COLUMN], strict=True))
    worst = max(p99, key=p99.__getitem__)
    return [
        f"Of 100 GETs 99 are answered within {p99['alone']:,.0f} µs when nothing else happens, and within "
        f"{p99[worst]:,.0f} µs during the worst of what follows ({worst}).",
        f"When {due.KEYS:,} keys expire at once, the last EXPIRE line comes after {curve.found(CATCHING_UP):.2f} times "
        "the time that as many pipelined DELs take.",
    ]


@contextmanager
def _writes(bench: Bench, system: System) -> Iterator[None]:
    """A write load in the background."""
    seconds = STALL_SECONDS + bench.pace.seconds + bench.pace.warmup + PATIENCE
    load = bench.generator.begin(system, "requests", WRITES, seconds=seconds)
    try:
        # Also without a watcher: both must find the daemon in the same state.
        with suppress(Exception):
            load.wait(STALL_SECONDS)
        yield
    finally:
        load.kill()
        load.wait()


@contextmanager
def _stalled_watcher(bench: Bench, system: System) -> Iterator[None]:
    """A watcher that never reads, and the writes that it does not read."""
    with socket.socket() as watcher:
        watcher.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        watcher.connect((HOST, system.server.port))
        watcher.sendall(b"WATCH\n")
        with _writes(bench, system):
            yield


def _again_and_again(request: bytes) -> Disturbance:
    """One connection that asks for everything, and as soon as it has it, again."""

    @contextmanager
    def disturb(_bench: Bench, system: System) -> Iterator[None]:
        over = threading.Event()
        with socket.create_connection((HOST, system.server.port), timeout=PATIENCE) as connection:
            asker = threading.Thread(target=_ask_until, args=[connection, request, over])
            asker.start()
            try:
                yield
            finally:
                over.set()
                connection.shutdown(socket.SHUT_RDWR)
                asker.join()

    return disturb


def _ask_until(connection: socket.socket, request: bytes, over: threading.Event) -> None:
    with suppress(OSError):
        while not over.is_set():
            connection.sendall(request)
            end = b""
            # The reply's last line is its only one that begins with OK.
            while not (end.endswith(b"\n") and end[end.rfind(b"\n", 0, -1) + 1 :].startswith(b"OK ")):
                piece = connection.recv(PIECE)
                if not piece:
                    return
                end = (end + piece)[-256:]


DUE = f"{due.KEYS:,} keys fall due"

DISTURBANCES: dict[str, Disturbance] = {
    "alone": lambda _bench, _system: nullcontext(),
    "writes": _writes,
    "stalled watcher": _stalled_watcher,
    "SYNC": _again_and_again(b"SYNC\n"),
    "KEYS": _again_and_again(b"KEYS\n"),
    DUE: due.falling_due,
}
BASES = {"stalled watcher": "writes"}
"""What a disturbance is compared with, if not with the light load alone: a watcher is stalled by writes only."""
INFORMATION = ("writes",)
"""Those without a limit."""

HOW = (
    f"{LIGHT['rate']:,} GETs a second over {LIGHT['connections']} connections, each sent when it is due, of "
    f"{KEYS:,} keys. Meanwhile: nothing; {WRITES['rate']:,} durable SETs of 1 KiB a second on one connection; the same "
    "with a watcher of everything that has stopped reading; a client that asks for a SYNC, or the KEYS, of all keys "
    "again and again; "
    f"{due.KEYS:,} keys whose time is over when the measuring begins. All of it runs on the same cores."
)
