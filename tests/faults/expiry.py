"""Keys with a time to live: never ended early, ended once, not read after their end was seen."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tests.faults.attribution import Effects
from tests.faults.history import History, Operation, Read, Violation, Write
from tests.faults.linearizability import Placed
from tests.faults.timeline import Timeline, Version

CLOCKS = 0.005
"""Seconds by which the store's clock, which is set by the network, may run ahead of ours within a time to live."""


class Deadline(NamedTuple):
    """When a key may end, and when at the latest it is to end; infinite if not at all."""

    earliest: float = math.inf
    latest: float = math.inf


def deadlines(history: History, effects: Effects) -> dict[int, Deadline]:
    """By the revision of the write.  A key with a time to live has one connection that writes and touches it."""
    found: dict[int, Deadline] = {}
    current: dict[str, int] = {}
    for index, operation in enumerate(history.operations):
        write = operation.what
        if not isinstance(write, Write):
            continue
        if index in effects:
            current[write.key] = revision = effects[index][0]
            if write.verb != "INCR":
                found[revision] = _deadline(operation, history.seen[revision])
        elif write.verb == "TOUCH" and write.key in current:
            revision = current[write.key]
            touched = _deadline(operation, math.inf)
            if operation.unknown:
                before = found.get(revision, Deadline())
                found[revision] = Deadline(min(before.earliest, touched.earliest), math.inf)
            elif operation.done:
                found[revision] = touched
    return found


def _deadline(operation: Operation, seen: float) -> Deadline:
    """seen: when it was certainly done, if nobody was told."""
    assert isinstance(operation.what, Write)
    ttl = operation.what.ttl
    # `uncertain` may be said before it is done.
    end = seen if operation.unknown else min(operation.end, seen)
    return Deadline(operation.start + ttl - CLOCKS, end + ttl) if ttl else Deadline()


def check_ends(history: History, timeline: Timeline, found: Mapping[int, Deadline]) -> None:
    """No EXPIRE before its time.  Raises Violation."""
    for key in timeline.keys():  # noqa: SIM118
        for version in timeline.versions(key):
            if version.ended != "EXPIRE":
                continue
            earliest = found.get(version.begin, Deadline()).earliest
            if earliest == math.inf:
                raise Violation(f"expired without a time to live: {version}")
            if history.seen[version.end] < earliest:
                early = earliest - history.seen[version.end]
                raise Violation(f"expired {early:.3f} s early: {version}")


def overdue(timeline: Timeline, found: Mapping[int, Deadline], now: float) -> list[Version]:
    """What should have ended by now."""
    state = timeline.state(timeline.last)
    return [version for version in state.values() if found.get(version.begin, Deadline()).latest < now]


def check_reads(timeline: Timeline, placed: Sequence[Placed], found: Mapping[int, Deadline]) -> None:
    """A key whose time is over is not read, nor one that was found gone, though its EXPIRE is yet to come.

    Raises Violation.
    """
    gone: dict[tuple[str, int], Placed] = {}
    for here in sorted(placed, key=lambda here: here.timed.end):
        operation = here.timed.what
        if not isinstance(operation, Operation) or not _found_nothing(operation):
            continue
        assert isinstance(operation.what, Read)
        version = timeline.at(operation.what.key, here.place)
        if version:
            gone.setdefault((version.key, version.begin), here)
    for here in placed:
        operation = here.timed.what
        if isinstance(operation, Operation) and isinstance(operation.what, Read) and not _found_nothing(operation):
            version = timeline.at(operation.what.key, here.place)
            latest = found.get(version.begin, Deadline()).latest if version else math.inf
            if latest + CLOCKS < operation.start:
                raise Violation(f"read {operation.start - latest:.3f} s after its time was over: {operation}")
            before = gone.get((version.key, version.begin)) if version else None
            if before and before.timed.end < operation.start:
                raise Violation(f"read after its end was seen: {operation}; seen by {before.timed.what}")


def _found_nothing(operation: Operation) -> bool:
    return isinstance(operation.what, Read) and operation.reply is not None and operation.reply.word == "NONE"
