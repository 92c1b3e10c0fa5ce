"""What was done in a run, in words, and all of it for a closer look."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.faults.history import Change, History


def report(history: History) -> str:
    """What was done to a daemon that broke no promise."""
    operations = history.operations
    refused = Counter(operation.code for operation in operations if operation.refused)
    unknown = Counter(operation.code or "no reply" for operation in operations if operation.unknown)
    verbs = Counter(watch.verb for watch in history.watches)
    seen = sum(isinstance(event, Change) for watch in history.watches for event in watch.events)
    return (
        f"faults: {_counted(Counter(fault.what for fault in history.faults))}\n"
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


def save(history: History, path: Path) -> None:
    """Write a history down, one JSON value a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as out:
        out.writelines(json.dumps(line) + "\n" for line in _lines(history))


def _lines(history: History) -> Iterator[dict[str, Any]]:
    yield from ({"fault": fault} for fault in history.faults)
    yield from ({"full": begin, "until": end} for begin, end in history.full)
    yield from ({"change": change, "seen": history.seen[number]} for number, change in sorted(history.changes.items()))
    for operation in history.operations:
        yield {type(operation.what).__name__.lower(): operation.what} | operation._asdict() | {"what": None}
    for watch in history.watches:
        shown: dict[str, Any] = {name: getattr(watch, name) for name in watch.__slots__}
        # The changes stand above; their revisions will do.
        shown["events"] = [event.revision if isinstance(event, Change) else event for event in watch.events]
        yield {"watch": shown}
    if history.final:
        yield {"final": history.final}
