"""Keys that live with another one: they go with it, all of them, right before it, and never without it."""

from tests.faults.history import Change, Violation
from tests.faults.timeline import Timeline

FAMILIES = "f/"
"""The beginning of these keys: f/WORKER/CONNECTION/N is an owner, and f/WORKER/CONNECTION/N/M lives with it."""


def along(timeline: Timeline) -> dict[int, int]:
    """By the revision of an owner's end, the first revision of what went with it.  Raises Violation."""
    found: dict[int, int] = {}
    taken: set[int] = set()
    for change in timeline.changes:
        if change.verb == "SET" or not _is_owner(change.key):
            continue
        first = change.revision
        while first > 1 and _went_with(timeline.changes[first - 2], change):
            first -= 1
        left = timeline.state(change.revision, (f"{change.key}/*",))
        if left:
            raise Violation(f"{change} has left behind what lived with it: {sorted(left)}")
        found[change.revision] = first
        taken.update(range(first, change.revision))
    for change in timeline.changes:
        alone = change.verb != "SET" and change.revision not in taken
        if alone and change.key.startswith(FAMILIES) and not _is_owner(change.key):
            raise Violation(f"{change} went without its owner")
    return found


def _is_owner(key: str) -> bool:
    return key.startswith(FAMILIES) and key.count("/") == FAMILIES.count("/") + 2


def _went_with(change: Change, owner: Change) -> bool:
    return change.verb == owner.verb and change.key.startswith(f"{owner.key}/")
