"""Whether what the roots answered is linearizable, and nothing acknowledged is gone.

The order of the writes is that of their revisions, so each request has a place among them (see `linearizability`).
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping

from tests.faults.failover.seen import SWAPPED, UNKNOWN, Asked, Seen
from tests.faults.history import Violation
from tests.faults.linearizability import Timed, place
from tests.faults.timeline import NEVER

Versions = Mapping[str, list[int]]
"""The revisions at which each key was written."""


def check(seen: Seen, final: Mapping[str, int]) -> None:
    """final: the revision of each key that is there in the end.  Raises Violation."""
    versions = _versions(seen, final)
    for asked in seen.writes:
        if not asked.unknown and final.get(asked.key, 0) < asked.revision:
            raise Violation(f"acknowledged, and not there in the end: {asked}")
        if not asked.unknown and asked.expected != UNKNOWN and _before(versions[asked.key], asked) != asked.expected:
            raise Violation(f"its condition did not hold, for the key was written before: {asked}")
    # Those of one connection in their order, which the numbers of revisions do not tell.
    place([*_writes(seen, versions), *_reads(seen, versions), *_watches(seen)])


def _versions(seen: Seen, final: Mapping[str, int]) -> Versions:
    found: dict[str, set[int]] = defaultdict(set)
    for asked in (*seen.writes, *seen.reads):
        if asked.revision > 0:
            found[asked.key].add(asked.revision)
    for key, revision in (*seen.acknowledged.items(), *final.items()):
        found[key].add(revision)
    for watch in seen.watches.values():
        for _, position, key in watch.changes:
            found[key].add(int(position.partition("@")[0]))
        for revision, key in watch.copied:
            found[key].add(revision)
    for key, revisions in found.items():
        if len(revisions) > 1 and not key.startswith(SWAPPED):
            raise Violation(f"{key} was written once, and was seen with the revisions {sorted(revisions)}")
    return defaultdict(list, {key: sorted(revisions) for key, revisions in found.items()})


def _before(revisions: list[int], asked: Asked) -> int:
    """What the key was before a write of it."""
    at = bisect_left(revisions, asked.revision)
    return revisions[at - 1] if at else 0


def _writes(seen: Seen, versions: Versions) -> Iterator[Timed]:
    for asked in seen.writes:
        revision = asked.revision
        if asked.unknown and not asked.key.startswith(SWAPPED):
            # It was done, if anybody saw it.
            revision = max(versions[asked.key], default=UNKNOWN)
        if revision > 0:
            first = asked.first or revision
            # An uncertain one may be done at any time, and so after what was asked later on the same connection.
            connection = -1 if asked.unknown else asked.connection
            yield Timed(asked.start, asked.end, connection, [(revision, revision)], asked, first)


def _reads(seen: Seen, versions: Versions) -> Iterator[Timed]:
    for asked in seen.reads:
        revisions = versions[asked.key]
        at = bisect_left(revisions, asked.revision + 1)
        places = [(asked.revision, revisions[at] - 1 if at < len(revisions) else NEVER)]
        yield Timed(asked.start, asked.end, asked.connection, places, asked)


def _watches(seen: Seen) -> Iterator[Timed]:
    """Who was shown a revision, or a position, makes all that is asked from then on as new."""
    for name, watch in seen.watches.items():
        for when, position, key in watch.changes:
            revision = int(position.partition("@")[0])
            yield Timed(when, when, -1, [(revision, NEVER)], f"{key} at {revision}, seen by {name}")
        for when, revision in watch.begun:
            yield Timed(when, when, -1, [(revision, NEVER)], f"a watch at {revision}, begun by {name}")


def explain(seen: Seen, final: Mapping[str, int]) -> str:
    """What speaks against it; "" if nothing does."""
    try:
        check(seen, final)
    except Violation as violation:
        return str(violation)
    return ""
