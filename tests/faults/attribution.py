"""Which request made which change: each change has one that asked for it, each acknowledged write its changes."""

from collections import defaultdict

from tests.faults import families, numbered
from tests.faults.history import Change, History, Operation, Read, Transaction, Violation, Write
from tests.faults.timeline import Timeline, Version

Effects = dict[int, tuple[int, int]]
"""By the index of an operation: the first and the last revision that it took."""


def attribute(history: History, timeline: Timeline) -> Effects:
    """What every operation did; what has no key yet gets it.  Raises Violation."""
    numbered.name(history)
    return _Attribution(history, timeline).effects()


class _Attribution:
    def __init__(self, history: History, timeline: Timeline) -> None:
        self._operations = history.operations
        self._timeline = timeline
        self._seen = history.seen
        self._along = families.along(timeline)
        self._went = {revision for last, first in self._along.items() for revision in range(first, last)}
        self._makers: dict[int, int] = {}
        self._effects: Effects = {}

    def effects(self) -> Effects:
        for index, operation in enumerate(self._operations):
            if isinstance(operation.what, Read) or _is_touch(operation.what):
                continue
            first = self._first_change(operation)
            if operation.done and not first:
                raise Violation(f"acknowledged, but no change of it is in the history: {operation}")
            if first and not operation.done and not operation.unknown:
                raise Violation(f"refused, and done all the same, at revision {first}: {operation}")
            if first:
                self._claim(index, first)
        self._settle_the_rest()
        for index, (first, _) in self._effects.items():
            self._check_conditions(self._operations[index], first)
            self._check_sums(self._operations[index], first)
        return self._effects

    def _first_change(self, operation: Operation) -> int:
        """The revision of the first change that is certainly this operation's; 0 if there is none."""
        writes = _writes(operation)
        if operation.done:
            assert operation.reply
            if writes[0].verb != "INCR" or isinstance(operation.what, Transaction):
                return operation.reply.number - len(writes) + 1
            version = self._timeline.by_value(writes[0].key, f"text:{operation.reply.number}")
            return version.begin if version else 0
        for offset, write in enumerate(writes):
            version = self._timeline.by_value(write.key, write.value) if write.value else None
            if version:
                return version.begin - offset
        return 0

    def _claim(self, index: int, first: int) -> None:
        operation = self._operations[index]
        writes = _writes(operation)
        for revision, write in enumerate(writes, first):
            change = self._timeline.changes[revision - 1] if 0 < revision <= self._timeline.last else None
            if not change or not _is_of(change, write):
                raise Violation(f"revision {revision} should be {write}, and is {change}: {operation}")
            if revision in self._makers:
                other = self._operations[self._makers[revision]]
                raise Violation(f"revision {revision} was taken by two requests: {operation} and {other}")
            self._makers[revision] = index
        self._effects[index] = self._along.get(first, first), first + len(writes) - 1

    def _settle_the_rest(self) -> None:
        """Changes that nobody was told of: each must be that of a request whose outcome nobody knows.

        Values are told apart already, and sums can be, for no amount is added twice.  Of the deletes of a key it
        is enough that there are as many: which is which makes no difference, so none of them gets a revision.
        """
        unknown: dict[str, list[int]] = defaultdict(list)
        for index, operation in enumerate(self._operations):
            if operation.unknown and isinstance(operation.what, Write) and not operation.what.value:
                unknown[operation.what.key].append(index)
        for change in self._timeline.changes:
            if change.revision in self._makers or change.revision in self._went or change.verb == "EXPIRE":
                continue
            maker = next((index for index in unknown[change.key] if self._may_have_made(change, index)), None)
            if maker is None:
                raise Violation(f"nobody asked for this change, or it was refused: {change}")
            unknown[change.key].remove(maker)
            if change.verb == "SET":
                self._claim(maker, change.revision)

    def _may_have_made(self, change: Change, index: int) -> bool:
        write = self._operations[index].what
        assert isinstance(write, Write)
        before = self._timeline.at(change.key, change.revision - 1)
        if not _is_of(change, write) or write.condition not in (-1, before.begin if before else 0):
            return False
        return write.verb == "DEL" or _sum(before, write) == change.value

    def _check_conditions(self, operation: Operation, first: int) -> None:
        """Conditions hold right before the first change of the request."""
        checks = operation.what.checks if isinstance(operation.what, Transaction) else ()
        for write in (*checks, *_writes(operation)):
            before = self._timeline.at(write.key, first - 1)
            if write.condition not in (-1, before.begin if before else 0):
                raise Violation(f"done, but its condition did not hold: there was {before}: {operation}")

    def _check_sums(self, operation: Operation, first: int) -> None:
        for revision, write in enumerate(_writes(operation), first):
            if write.verb == "INCR":
                before = self._timeline.at(write.key, revision - 1)
                wanted = _sum(before, write)
                found = self._timeline.changes[revision - 1].value
                if found != wanted:
                    raise Violation(f"revision {revision} should be {wanted}, and is {found}: {operation}")


def _writes(operation: Operation) -> tuple[Write, ...]:
    what = operation.what
    assert not isinstance(what, Read)
    return what.writes if isinstance(what, Transaction) else (what,)


def _is_touch(what: Write | Transaction) -> bool:
    return isinstance(what, Write) and what.verb == "TOUCH"


def _is_of(change: Change, write: Write) -> bool:
    """Whether a write makes such a change."""
    if change.key != write.key:
        return False
    if write.verb == "DEL":
        return change.verb == "DEL"
    return change.verb == "SET" and (write.verb == "INCR" or change.value == write.value)


def _sum(before: Version | None, write: Write) -> str:
    """What INCR makes of what there was."""
    value = int(before.value.removeprefix("text:")) if before else 0
    return f"text:{value + write.amount}"
