"""A crowd of watchers that comes back at once: how soon all of them are up to date, what it costs, and who notices."""

import os
import signal
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench import servers
from bench.curves import Check, Curve
from bench.growth import crowd_costs
from bench.growth.comeback import Known, Request, come_back, few_rounds, known_ratio, medians, rest
from bench.growth.crowd_client import allow, ask, position
from bench.growth.writer import writing
from bench.load import LoadFailed
from bench.measure import Bench, alternate
from bench.targets import VALUE

RESUME, WATCH, SYNC = "RESUME", "WATCH", "SYNC"
QUIET, OWN = b"quiet/", b"own/"
"""Prefixes that are watched: one of hardly any changes, and one of all those that a crowd is behind."""
HALF, ALL, DAEMON = "half know", "all know", "daemon"
FIGURES = {HALF: "p50", ALL: "worst", DAEMON: "daemon"}
"""What is measured, and its name in Known."""
MISSING = "watchers without an answer"
P99 = "p99 of GET while a crowd resumes again and again / alone"
P99_PING = "the same while as many PING again and again"
BYTES = "bytes of the daemon's memory for each kept change, beside the key"
MOST_AFTER_RESTART = 1.5
"""Time until RESUMEs know a key, as a multiple of SYNCs', and
MOST_DAEMON: the daemon's processor time."""
MOST_DAEMON = 2.0
MOST_FAR, MOST_MANY = 2.0, 1.5
"""The same, as a multiple of WATCHes' that have nothing to catch up with: far behind, and many at once."""
MOST_P99 = 2.0
"""p99 of GET meanwhile, as a multiple of that alone."""
MOST_BYTES = 300
"""Memory of the daemon for each kept change, beside the key."""


@dataclass(frozen=True)
class Loads:
    """How many watchers, and how many changes behind."""

    restart: int = 2000
    missed: int = 5000
    writes: int = 850
    far: int = 1000
    far_behind: int = 90_000
    many: int = 4000
    near_behind: int = 100
    kept: int = 100_000
    seconds: float = 5.0
    """For which GETs are measured."""

    @property
    def restarted(self) -> str:
        """The situation's name, as those of the following."""
        return f"{self.restart:,} after a restart, {self.missed:,} changes of other keys behind"

    @property
    def far_away(self) -> str:
        """A long history, with nothing in it for them."""
        return f"{self.far:,}, {self.far_behind:,} changes of other keys behind"

    @property
    def near(self) -> str:
        """Many at once, with nothing for them."""
        return f"{self.many:,}, {self.near_behind:,} changes of other keys behind"

    @property
    def near_own(self) -> str:
        """Many at once, of which each has to be sent all."""
        return f"{self.many:,}, {self.near_behind:,} changes of their keys behind"


LOADS = Loads()
Found = Mapping[tuple[str, str], Sequence[Known]]
"""By the situation and the request."""


def measure(bench: Bench, loads: Loads = LOADS) -> list[Curve]:
    """Each situation with a daemon of its own, the requests in alternating rounds.  Raises LoadFailed."""
    most = max(loads.restart, loads.far, loads.many)
    if allow(most) < most:
        raise LoadFailed(f"crowd: {most:,} connections are more than the limit of open files (ulimit -Hn) allows")
    found = {
        **_restarts(bench, loads),
        **_behind(bench, loads.far, loads.far_behind, loads.far_away, own=False),
        **_behind(bench, loads.many, loads.near_behind, loads.near, own=False),
        **_behind(bench, loads.many, loads.near_behind, loads.near_own, own=True),
    }
    bench.say("GETs while a crowd resumes again and again ...")
    p99 = crowd_costs.p99_meanwhile(bench, loads.restart, loads.missed, loads.seconds)
    each = crowd_costs.bytes_per_change(loads.kept)
    checks = [
        *_checks(loads, found),
        Check(P99, p99[crowd_costs.RESUME], limit=MOST_P99),
        Check(P99_PING, p99[crowd_costs.PING]),
        Check(BYTES, each, limit=MOST_BYTES),
    ]
    columns: dict[str, list[float]] = {
        **{f"{what}, s": [medians(known, name) for known in found.values()] for what, name in FIGURES.items()},
        "without answer": [max(float(one.missing) for one in known) for known in found.values()],
    }
    names = [f"{situation}: {request}" for situation, request in found]
    return [Curve("crowd", "A crowd comes back", HOW, "watchers", names, columns, checks, is_growth=False)]


def in_words(curve: Curve) -> list[str]:
    """What it shows, for readers."""
    return [
        f"When {LOADS.restart:,} watchers come back after a restart and RESUME, it takes "
        f"{curve.found(_title(LOADS.restarted, ALL, SYNC)):.2f} times as long until all of them know a new key as "
        "when they SYNC.",
        f"With {LOADS.far:,} that are {LOADS.far_behind:,} changes behind, of which none is for them, it takes "
        f"{curve.found(_title(LOADS.far_away, ALL, WATCH)):.2f} times as long as with as many that begin to WATCH; "
        f"with {LOADS.many:,} that are {LOADS.near_behind:,} changes behind "
        f"{curve.found(_title(LOADS.near, ALL, WATCH)):.2f} times, and if all those are for each of them "
        f"{curve.found(_title(LOADS.near_own, ALL, WATCH)):.2f} times.",
        f"While {LOADS.restart:,} RESUME again and again, all at once, the p99 of GET is {curve.found(P99):.2f} times "
        f"that alone; while as many PING, {curve.found(P99_PING):.2f} times. "
        f"What the daemon knows of each kept change takes {curve.found(BYTES):.0f} bytes of its memory beside the key.",
    ]


def _restarts(bench: Bench, loads: Loads) -> dict[tuple[str, str], list[Known]]:
    """A daemon is killed while the watchers miss changes, and they come back to the next one on its data."""
    found: dict[tuple[str, str], list[Known]] = {(loads.restarted, name): [] for name in (RESUME, SYNC)}
    writes = {"connections": 10, "rate": loads.writes, "keys": 1000, "value": VALUE}
    for name in alternate([RESUME, SYNC], few_rounds(bench)):
        bench.say(f"{loads.restarted}: {name} ...")
        with tempfile.TemporaryDirectory(prefix="bench-crowd-") as data:
            where = _missed(bench, data, loads.missed)
            request = Request(name, QUIET, where if name == RESUME else b"")
            with servers.kvd(bench.kvd_arguments, data) as system, writing(bench, system, writes):
                found[loads.restarted, name].append(come_back(system, loads.restart, request, settled=False))
    return found


def _missed(bench: Bench, data: str, changes: int) -> bytes:
    """Leave so many changes in a directory, by a daemon that is killed; the position before them."""
    with servers.kvd(bench.kvd_arguments, data) as system:
        ask(system.server.port, b"SET %bold v\n" % QUIET)
        where = position(system.server.port)
        bench.generator.fill(system, changes, VALUE)
        os.kill(system.server.pid, signal.SIGKILL)
    return where


def _behind(bench: Bench, size: int, changes: int, situation: str, *, own: bool) -> dict[tuple[str, str], list[Known]]:
    """So many watchers, so many changes behind.  own: these are of their own keys."""
    found: dict[tuple[str, str], list[Known]] = {(situation, name): [] for name in (RESUME, WATCH)}
    with servers.kvd(bench.kvd_arguments) as system:
        bench.generator.fill(system, 1000, VALUE)
        where = position(system.server.port)
        if own:
            ask(system.server.port, b"".join([b"SET %b%d v\n" % (OWN, number) for number in range(changes)]), changes)
        else:
            bench.generator.fill(system, changes, VALUE)
        for number, name in enumerate(alternate([RESUME, WATCH], few_rounds(bench))):
            bench.say(f"{situation}: {name} ...")
            rest(system)
            # What was set in the rounds before is of other keys, too.
            prefix = OWN if own else b"%d/" % number
            request = Request(name, prefix, where if name == RESUME else b"")
            found[situation, name].append(come_back(system, size, request, settled=True))
    return found


def _checks(loads: Loads, found: Found) -> list[Check]:
    resumed, synced = found[loads.restarted, RESUME], found[loads.restarted, SYNC]
    checks = [
        _check(loads.restarted, HALF, SYNC, resumed, synced, MOST_AFTER_RESTART),
        _check(loads.restarted, ALL, SYNC, resumed, synced, MOST_AFTER_RESTART),
        _check(loads.restarted, DAEMON, SYNC, resumed, synced, MOST_DAEMON),
    ]
    for situation, most in ((loads.far_away, MOST_FAR), (loads.near, MOST_MANY), (loads.near_own, MOST_MANY)):
        checks.append(_check(situation, ALL, WATCH, found[situation, RESUME], found[situation, WATCH], most))
    missing = sum(one.missing for known in found.values() for one in known)
    return [*checks, Check(MISSING, missing, limit=0)]


def _title(situation: str, what: str, base: str) -> str:
    return f"{situation}: {what}, RESUME / {base}"


def _check(
    situation: str, what: str, base: str, figures: Sequence[Known], bases: Sequence[Known], limit: float
) -> Check:
    return Check(_title(situation, what, base), known_ratio(figures, bases, FIGURES[what]), limit=limit)


HOW = (
    "So many connections send the request at once, and a key that all of them watch is set: after a restart at once, "
    "else when all have their OK. The seconds are from sending the requests to when half of them, and all of them, "
    "have read the new value; *daemon* is its processor time until then. The restart: a daemon was killed, and "
    f"another is started on its data, while {LOADS.writes:,} changes a second are made of keys that the crowd does not "
    "watch. The crowd is one program on the same cores."
)
