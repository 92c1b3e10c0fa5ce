"""Keys with a time to live: never ended early, ended once, and for nobody there any more once their time is over."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tests.faults.attribution import Effects
from tests.faults.history import History, Operation, Read, Transaction, Violation, Write
from tests.faults.linearizability import Placed
from tests.faults.timeline import Timeline, Version

CLOCKS = 0.005
"""Seconds by which the store's clock, which is set by the network, may run ahead of ours within a time to live, or
after it.  That is more than the thousandth that is left out while it has been set back."""


class Deadline(NamedTuple):
    """When a key may end, and when at the latest it is to end; infinite if not at all."""

    earliest: float = math.inf
    latest: float = math.inf


def deadlines(history: History, effects: Effects) -> dict[int, Deadline]:
    """By the revision of the write.  A key with a time to live has one connection that writes and touches it.

    Raises Violation for what is touched when it should have ended, which would give it a new deadline.
    """
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
            before = found.get(revision, Deadline())
            touched = _deadline(operation, math.inf)
            if operation.done:
                _check_in_time("touched", operation, before)
            if operation.unknown:
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


def check_ends(history: History, timeline: Timeline, effects: Effects, found: Mapping[int, Deadline]) -> None:
    """No EXPIRE before its time, and nothing else ends a key whose time is over.  Raises Violation."""
    makers = {last: history.operations[index] for index, (first, last) in effects.items() if first == last}
    for key in timeline.keys():  # noqa: SIM118
        for version in timeline.versions(key):
            deadline = found.get(version.begin, Deadline())
            if version.ended == "EXPIRE":
                _check_not_early(version, deadline, history.seen[version.end])
            elif version.end in makers:
                # A write that finds such a key lets it expire first.
                _check_in_time("there for a write", makers[version.end], deadline)


def _check_not_early(version: Version, deadline: Deadline, seen: float) -> None:
    if deadline.earliest == math.inf:
        raise Violation(f"expired without a time to live: {version}")
    if seen < deadline.earliest:
        raise Violation(f"expired {deadline.earliest - seen:.3f} s early: {version}")


def _check_in_time(what: str, operation: Operation, deadline: Deadline) -> None:
    """What was asked after a key's time was over finds no such key."""
    late = operation.start - deadline.latest
    if late > CLOCKS:
        raise Violation(f"{what} {late:.3f} s after its time was over: {operation}")


def overdue(timeline: Timeline, found: Mapping[int, Deadline], now: float) -> list[Version]:
    """What should have ended by now."""
    state = timeline.state(timeline.last)
    return [version for version in state.values() if found.get(version.begin, Deadline()).latest < now]


def check_reads(history: History, timeline: Timeline, placed: Sequence[Placed], found: Mapping[int, Deadline]) -> None:
    """A key whose time is over is not read or listed, nor one that was found gone, though its EXPIRE is yet to come.

    Raises Violation.
    """
    gone = _found_gone(timeline, placed)
    for operation in history.operations:
        for version in _read(timeline, operation):
            _check_in_time("read", operation, found.get(version.begin, Deadline()))
            before = gone.get((version.key, version.begin))
            if before and before.end < operation.start:
                raise Violation(f"read after its end was seen: {operation}; seen by {before}")


def _found_gone(timeline: Timeline, placed: Sequence[Placed]) -> dict[tuple[str, int], Operation]:
    """By key and revision of what stood there yet, who was first to find that it had ended."""
    gone: dict[tuple[str, int], Operation] = {}
    for here in sorted(placed, key=lambda here: here.timed.end):
        operation = here.timed.what
        if isinstance(operation, Operation) and operation.reply and operation.reply.word == "NONE":
            assert not isinstance(operation.what, Transaction)
            version = timeline.at(operation.what.key, here.place)
            if version:
                gone.setdefault((version.key, version.begin), operation)
    return gone


def _read(timeline: Timeline, operation: Operation) -> Iterator[Version]:
    """What a read found."""
    what, reply = operation.what, operation.reply
    if isinstance(what, Read) and reply and reply.word == "OK":
        listed = ((pair.key, pair.value or "") for pair in reply.items)
        for key, value in listed if what.verb == "LIST" else ((what.key, reply.value),):
            version = timeline.by_value(key, value)
            if version:
                yield version
