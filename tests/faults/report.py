"""What was done in a run, in words."""

from collections import Counter
from collections.abc import Mapping

from tests.faults.history import Change, History


def report(history: History) -> str:
    """What was done to a daemon that broke no promise."""
    operations = history.operations
    refused = Counter(operation.code for operation in operations if operation.refused)
    unknown = Counter(operation.code or "no reply" for operation in operations if operation.unknown)
    verbs = Counter(watch.verb for watch in history.watches)
    seen = sum(isinstance(event, Change) for watch in history.watches for event in watch.events)
    return (
        f"faults: {_counted(Counter(what for _, what in history.faults))}\n"
        f"requests: {len(operations)}, of them {history.acknowledged} acknowledged writes\n"
        f"refused: {_counted(refused)}\n"
        f"of unknown outcome: {_counted(unknown)}\n"
        f"changes: {len(history.changes)}, seen {seen} times by {len({watch.watcher for watch in history.watches})} "
        f"watchers (WATCH {verbs['WATCH']}, RESUME {verbs['RESUME']}, SYNC {verbs['SYNC']})\n"
        f"watches ended or refused: {_counted(history.ends)}\n"
        "losses: 0"
    )


def _counted(counts: Mapping[str, int]) -> str:
    each = ", ".join(f"{what} {times}" for what, times in sorted(counts.items()))
    return f"{sum(counts.values())} ({each})" if each else "0"
