"""SYNCs of keys that others change as fast as they can, or faster than the reader reads: that each comes to its end."""

import time
from dataclasses import dataclass

from bench import servers
from bench.curves import Check, Curve
from bench.growth.crowd_client import OK, SLOW_BUFFER, crowd
from bench.growth.writer import Writer, writing
from bench.measure import Bench
from bench.servers import System
from bench.targets import VALUE

PATIENCE = 60.0
"""Seconds after which a copy is counted as incomplete."""
START = 0.5
"""Seconds that the writer has for itself first."""
MIB = 1 << 20
SECONDS, COMPLETE = "seconds to the last OK", "complete"


@dataclass(frozen=True)
class Load:
    """So many SYNCs at once of all keys, against a writer of random ones of them.

    writes: int, a second; 0: as many as the daemon takes, of 50 connections.  reads: int, bytes a second that each
    copy's connection reads; 0: as many as it can.
    """

    copies: int
    keys: int
    value: int
    writes: int = 0
    reads: int = 0

    @property
    def title(self) -> str:
        """It in words, short."""
        writer = f"{self.writes:,} writes/s" if self.writes else "all the writes that it takes"
        reader = f", each read at {self.reads / 1000:g} kB/s" if self.reads else ""
        return f"{self.copies} of {self.keys:,} keys, values of {self.value:,} bytes, {writer}{reader}"


LOADS = (
    Load(copies=1, keys=20_000, value=1024),
    Load(copies=5, keys=20_000, value=1024),
    Load(copies=20, keys=20_000, value=1024),
    Load(copies=10, keys=3000, value=VALUE, writes=14_000, reads=300_000),
    Load(copies=100, keys=20_000, value=VALUE, writes=3000),
)


@dataclass(frozen=True)
class Seen:
    """complete: int, copies whose OK came.  worst: float, seconds to the last of these.  rate: float, changes a second
    meanwhile.  received: float, MiB that a copy's connection had read by its OK, on average."""

    complete: int
    worst: float
    rate: float
    received: float


def measure(bench: Bench, loads: tuple[Load, ...] = LOADS) -> list[Curve]:
    """Each load once, with a daemon of its own.  Raises LoadFailed."""
    seen = [_measured(bench, load) for load in loads]
    columns = {
        COMPLETE: [float(one.complete) for one in seen],
        SECONDS: [one.worst for one in seen],
        "MiB each": [one.received for one in seen],
        "changes/s meanwhile": [one.rate for one in seen],
    }
    checks = [Check(_title(load), one.complete, "at least", load.copies) for load, one in zip(loads, seen, strict=True)]
    names = [load.title for load in loads]
    return [Curve("copies", "Copies while keys change", HOW, "SYNCs at once", names, columns, checks, is_growth=False)]


def in_words(curve: Curve) -> list[str]:
    """What it shows, for readers."""
    complete, seconds = (dict(zip(curve.x, curve.columns[name], strict=True)) for name in (COMPLETE, SECONDS))
    asked = sum(load.copies for load in LOADS)
    most = max(LOADS, key=lambda load: load.copies).title
    return [
        f"{sum(complete.values()):,.0f} of {asked:,} SYNCs came to their end while others changed the same keys; "
        f"{most}: within {seconds[most]:.1f} s."
    ]


def _title(load: Load) -> str:
    return f"complete: {load.title}"


def _measured(bench: Bench, load: Load) -> Seen:
    bench.say(f"SYNC: {load.title} ...")
    settings = {"connections": 50, "rate": load.writes, "keys": load.keys, "value": load.value}
    with servers.kvd(bench.kvd_arguments) as system:
        bench.generator.fill(system, load.keys, load.value)
        with writing(bench, system, settings) as writer:
            time.sleep(START)
            return _copied(system, load, writer)


def _copied(system: System, load: Load, writer: Writer) -> Seen:
    with crowd(system.server.port, load.copies, SLOW_BUFFER if load.reads else 0) as readers:
        writer.begin()
        readers.ask(b"SYNC\n")
        if load.reads:
            readers.wait_slowly(OK, PATIENCE, load.reads)
        else:
            readers.wait(OK, PATIENCE)
        rate = writer.rate()
        times = readers.times or [PATIENCE]
        return Seen(len(readers.times), times[-1], rate, readers.received / load.copies / MIB)


HOW = (
    "So many connections ask for a SYNC of all keys at once, while 50 others write random ones of the same keys, as "
    "many a second as is said, or each the next when the last is answered. A SYNC is complete when its OK has come. "
    "The writer, the readers and the daemon share the cores; the readers are one program."
)
