"""What each recorded request says about its place in the order of revisions."""

import math
from collections.abc import Iterator, Mapping

from tests.faults.attribution import Effects
from tests.faults.expiry import Deadline
from tests.faults.history import History, Operation, Pair, Read, Reply, Transaction, Violation, Write
from tests.faults.linearizability import Timed
from tests.faults.timeline import NEVER, Timeline, Version

Places = list[tuple[int, int]]


class Reading:
    """Turns a history into requests that can be placed.  Raises Violation for what was never there to be read."""

    def __init__(
        self, history: History, timeline: Timeline, effects: Effects, deadlines: Mapping[int, Deadline]
    ) -> None:
        self._history = history
        self._timeline = timeline
        self._effects = effects
        self._deadlines = deadlines

    def requests(self) -> Iterator[Timed]:
        """All that has a place, those of one connection in their order."""
        for index, operation in enumerate(self._history.operations):
            if index in self._effects:
                first, last = self._effects[index]
                end = math.inf if operation.unknown else operation.end
                yield Timed(operation.start, end, operation.connection, [(last, last)], operation, first)
            elif operation.reply and not operation.unknown:
                # A listing looks at many keys, some earlier, some later.
                listing = isinstance(operation.what, Read) and operation.what.verb == "LIST"
                connection = -1 if listing else operation.connection
                for places in self._places(operation, operation.reply):
                    yield Timed(operation.start, operation.end, connection, places, operation)
        for watch in self._history.watches:
            if watch.verb != "RESUME":
                # Its position was the store's, or an earlier one: no later request stands before it.
                yield Timed(watch.start, watch.end, -1, [(watch.begin, NEVER)], f"{watch.verb} by {watch.watcher}")
        for revision, seen in self._history.seen.items():
            yield Timed(seen, seen, -1, [(revision, NEVER)], f"revision {revision}, seen by a watcher")
        for key in self._timeline.keys():  # noqa: SIM118
            for version in self._timeline.versions(key):
                if version.ended == "EXPIRE":
                    due = self._deadlines[version.begin].earliest
                    yield Timed(due, math.inf, -1, [(version.end, version.end)], f"the end of {key}", version.end)

    def _places(self, operation: Operation, reply: Reply) -> Iterator[Places]:
        """Where a request that changed nothing may stand."""
        what = operation.what
        if isinstance(what, Transaction):
            if reply.word == "CONFLICT":
                yield self._conflict(operation, reply, reply.key)
        elif isinstance(what, Write):
            if reply.word == "CONFLICT" and what.owner and reply.key == what.owner:
                yield self._absent(operation, what.owner)
            elif reply.word == "CONFLICT":
                yield self._conflict(operation, reply, what.key)
            elif reply.word == "NONE":
                yield self._absent(operation, what.key)
            elif what.verb == "TOUCH" and reply.word == "OK":
                yield [_place(version) for version in self._timeline.versions(what.key)]
        elif what.verb == "LIST":
            if reply.word == "OK":
                yield [(reply.number, NEVER)]
                for places in self._listed(operation, reply, what.key):
                    # Everything listed is at least as new as the position.
                    yield [(max(low, reply.number), high) for low, high in places if reply.number <= high]
        elif reply.word == "NONE":
            yield self._absent(operation, what.key)
        elif reply.word == "OK":
            yield [self._read(operation, what.key, reply)]

    def _conflict(self, operation: Operation, reply: Reply, key: str) -> Places:
        """A condition that did not hold tells what the key was."""
        what = operation.what
        writes = (*what.checks, *what.writes) if isinstance(what, Transaction) else (what,)
        conditions = [write.condition for write in writes if isinstance(write, Write) and write.key == key]
        if all(condition in (-1, reply.number) for condition in conditions):
            raise Violation(f"a conflict where the condition holds: {operation}")
        if not reply.number:
            return self._absent(operation, key)
        version = self._timeline.at(key, reply.number)
        if not version or version.begin != reply.number:
            raise Violation(f"{key} never had that revision: {operation}")
        return [_place(version)]

    def _read(self, operation: Operation, key: str, reply: Reply) -> tuple[int, int]:
        version = self._timeline.by_value(key, reply.value)
        if not version:
            raise Violation(f"read what was never written: {operation}")
        if isinstance(operation.what, Read) and operation.what.verb == "GETS" and version.begin != reply.number:
            raise Violation(f"read revision {reply.number} of what was written at {version.begin}: {operation}")
        return _place(version)

    def _absent(self, operation: Operation, key: str) -> Places:
        """Where a key is absent: between its versions, and from the moment when a version's time was over."""
        places = self._timeline.absences(key)
        for version in self._timeline.versions(key):
            due = self._deadlines.get(version.begin, Deadline()).earliest <= operation.end
            if due and version.ended in ("EXPIRE", ""):
                places.append(_place(version))
        return sorted(places)

    def _listed(self, operation: Operation, reply: Reply, prefix: str) -> Iterator[Places]:
        """A listing looks at every key at some moment."""
        listed = [pair.key for pair in reply.items]
        if listed != sorted(set(listed), key=str.encode):
            raise Violation(f"a listing out of order: {operation}")
        for pair in reply.items:
            version = self._timeline.by_value(pair.key, pair.value or "")
            if not pair.key.startswith(prefix) or not version or version.begin != pair.revision:
                raise Violation(f"listed what was never there: {pair}: {operation}")
            yield [_place(version)]
        for key in set(self._timeline.keys()).difference(listed):
            if key.startswith(prefix):
                yield self._absent(operation, key)


def _place(version: Version) -> tuple[int, int]:
    return version.begin, version.end - 1


def as_copy(pairs: tuple[Pair, ...]) -> dict[str, Pair]:
    """What lines of a copy, applied in their order, amount to.  Raises Violation if a key does not get newer."""
    copy: dict[str, Pair] = {}
    latest: dict[str, int] = {}
    for pair in pairs:
        if pair.revision <= latest.get(pair.key, 0):
            raise Violation(f"a copy in which {pair.key} has revision {latest[pair.key]} and then {pair}")
        latest[pair.key] = pair.revision
        if pair.value is None:
            copy.pop(pair.key, None)
        else:
            copy[pair.key] = pair
    return copy
