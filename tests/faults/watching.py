"""What watchers are promised: every change that matches, once, in order; copies that are exact; nothing overtaken; and
a watch that goes on until its END.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from itertools import pairwise

from tests.faults import families
from tests.faults.attribution import Effects
from tests.faults.expiry import Deadline
from tests.faults.history import Change, History, Mark, Pair, Violation, Watch
from tests.faults.reading import as_copy
from tests.faults.timeline import Timeline, Version

DEADLY = (
    "kill the daemon", "kill both", "kill the daemon of a stopped store", "restart the daemon", "kill a worker",
    "kill all workers",
)  # fmt: skip
"""Faults that end connections: a daemon that is asked to stop tells all watchers, but waits for no slow one long."""


def check_lines(watch: Watch, timeline: Timeline) -> None:
    """One watch: no change missing, doubled or out of order, none after a line that says it was sent.

    Raises Violation.
    """
    who = f"{watch.watcher} ({watch.verb} {' '.join(watch.patterns)} from {watch.begin})"
    if watch.verb == "RESUME" and watch.begin != watch.asked:
        raise Violation(f"{who} had asked for {watch.asked}")
    wanted = timeline.matching(watch.patterns)
    at = bisect_right(wanted, watch.begin)
    last = watch.begin
    for event in watch.events:
        if isinstance(event, Change):
            if at == len(wanted) or event.revision != wanted[at]:
                what = "doubled or out of order" if event.revision <= last else "behind one that is missing"
                raise Violation(f"{who}: {event} is {what}: it follows on {last}")
            at += 1
            last = event.revision
        elif event.word != "REPLY":
            if at < len(wanted) and wanted[at] <= event.revision:
                missing = timeline.changes[wanted[at] - 1]
                raise Violation(f"{who}: {event.word} {event.revision} stands before {missing}")
            if event.revision < last:
                raise Violation(f"{who}: {event.word} {event.revision} stands after {last}")
            last = event.revision


def check_resumes(watches: Iterable[Watch]) -> None:
    """A watcher that resumes has seen all up to the position that it asks for, and so misses nothing.

    It is the watchers' own doing: this is a check of the test, that no gap goes unnoticed.  Raises Violation.
    """
    last: dict[str, int] = {}
    for watch in watches:
        if watch.verb == "RESUME" and watch.asked > last.get(watch.watcher, -1):
            raise Violation(f"{watch.watcher} resumed from {watch.asked}, but had seen {last.get(watch.watcher)}")
        positions = [event.revision for event in watch.events if isinstance(event, Change) or event.word != "REPLY"]
        last[watch.watcher] = positions[-1] if positions else watch.begin


def check_copy(watch: Watch, timeline: Timeline, deadlines: Mapping[int, Deadline]) -> None:
    """What SYNC gave is the store at its position.  Raises Violation."""
    who = f"the copy of {watch.watcher} ({' '.join(watch.patterns)}) at {watch.begin}"
    check_pairs(who, as_copy(watch.copy).values(), timeline.state(watch.begin, watch.patterns), deadlines, watch.end)


def check_pairs(
    who: str, pairs: Iterable[Pair], state: Mapping[str, Version], deadlines: Mapping[int, Deadline], now: float
) -> None:
    """Keys with their values are a state of the store.  now: when they had been read.  Raises Violation."""
    left = dict(state)
    for pair in pairs:
        version = left.pop(pair.key, None)
        if not version or (version.begin, version.value) != (pair.revision, pair.value):
            raise Violation(f"{who} has {pair}, and there was {version}")
    for version in left.values():
        # A key whose time is over is gone, even if its EXPIRE stands further on.
        if deadlines.get(version.begin, Deadline()).earliest > now:
            raise Violation(f"{who} lacks {version}")


def check_transactions(history: History, timeline: Timeline, effects: Effects) -> None:
    """The changes of a transaction, and of a key with what lives with it, reach every watcher in one piece.

    Raises Violation.
    """
    pieces = {last: first for first, last in effects.values()} | families.along(timeline)
    ends = {revision: last for last, first in pieces.items() for revision in range(first, last)}
    for watch in history.watches:
        # RESUME alone may begin inside, where a connection was lost.
        if watch.verb != "RESUME" and watch.begin in ends:
            raise Violation(f"{watch.watcher}: {watch.verb} begins at {watch.begin}, within a transaction")
        wanted = timeline.matching(watch.patterns)
        for event, following in pairwise(watch.events):
            if isinstance(event, Change) and event.revision in ends and isinstance(following, Mark):
                at = bisect_right(wanted, event.revision)
                if at < len(wanted) and wanted[at] <= ends[event.revision]:
                    raise Violation(f"{watch.watcher}: {following} within a transaction, behind {event}")


def check_losses(history: History) -> None:
    """The daemon ends no watch without END, however slow the watcher is, unless it is killed.  Raises Violation."""
    deaths = [fault for fault in history.faults if fault.what in DEADLY]
    for watch in history.watches:
        died = any(death.begin <= watch.lost and watch.start <= death.end for death in deaths)
        if watch.lost < math.inf and not died:
            last = watch.events[-1] if watch.events else f"its begin at {watch.begin}"
            raise Violation(f"{watch.watcher} ({watch.verb}) lost its connection without an END, behind {last}")
