"""Everything that must hold of a recorded history."""

from tests.faults import expiry, linearizability, refusals, watching
from tests.faults.attribution import Effects, attribute
from tests.faults.history import History, Violation
from tests.faults.reading import Reading
from tests.faults.timeline import Timeline


def check(history: History) -> None:
    """All checks.  Raises Violation at the first that fails."""
    refusals.check_codes(history.operations)
    refusals.check_full(history)
    timeline = Timeline(history.changes)
    effects = attribute(history, timeline)
    deadlines = expiry.deadlines(history, effects)
    expiry.check_ends(history, timeline, effects, deadlines)
    requests = Reading(history, timeline, effects, deadlines).requests()
    expiry.check_reads(history, timeline, linearizability.place(list(requests)), deadlines)
    check_watches(history, timeline, effects, deadlines)
    if history.final:
        check_final(history, timeline, deadlines)


def check_watches(
    history: History, timeline: Timeline, effects: Effects, deadlines: dict[int, expiry.Deadline]
) -> None:
    """All that concerns watchers.  Raises Violation."""
    for watch in history.watches:
        watching.check_lines(watch, timeline)
        if watch.verb == "SYNC":
            watching.check_copy(watch, timeline, deadlines)
    watching.check_resumes(history.watches)
    watching.check_losses(history)
    watching.check_transactions(history, timeline, effects)


def check_final(history: History, timeline: Timeline, deadlines: dict[int, expiry.Deadline]) -> None:
    """What is in the store at the end is what its changes amount to.  Raises Violation."""
    final = history.final
    assert final
    if final.position > timeline.last:
        raise Violation(f"the store is at revision {final.position}, but nobody saw more than {timeline.last}")
    state = timeline.state(final.position)
    watching.check_pairs("the store at the end", final.pairs, state, deadlines, final.end)
