"""The columns of a run, and which of them must be 0."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.faults.failover.expiring import ended_wrongly
from tests.faults.failover.order import explain
from tests.faults.failover.seen import SWAPPED, Copied, Seen

MAX_STALE = 5.0
"""Seconds by which what an edge gives may be old, where nobody says otherwise (--max-stale), and
ROUNDING: what a client's own times may add."""
ROUNDING = 0.1
MOST_TOLD = 5
"""Faults of one kind that are told one by one."""


@dataclass
class Result:
    """The columns of one run, in the words of docs/guarantees.md.

    twice: revisions that two keys were given.  halves: of transactions, in the end, seen or read.  missed, doubled: by
    watchers.  unseen: keys that a watcher did not see by the end.  inexact: copies.
    mistimed: keys with a time to live that ended or were read when they should not.  stale, not_own: see `Seen`.
    seconds: without writes.  order: what speaks against linearizable, "" if nothing does.
    """

    acknowledged: int = 0
    lost: int = 0
    ghosts: int = 0
    dirty: int = 0
    twice: int = 0
    halves: int = 0
    missed: int = 0
    doubled: int = 0
    unseen: int = 0
    inexact: int = 0
    mistimed: list[str] = field(default_factory=list)
    stale: float = 0.0
    not_own: int = 0
    uncertain: str = "0 (0)"
    unavailable: str = "0 (0)"
    refused: int = 0
    unanswered: int = 0
    seconds: float = 0.0
    order: str = ""
    replaced: bool = False
    moved: bool = True
    errors: int = 0

    def violations(self, durability: str) -> list[str]:
        """What must not be, whatever happened."""
        applied = int(self.unavailable.partition("(")[2].rstrip(")"))
        found: dict[str, float] = {
            "a revision was given twice": self.twice, "an unavailable write was applied": applied,
            "a transaction was halved": self.halves, "refused for another reason": self.refused,
            "not answered": self.unanswered,
            "an edge was older than it may be": self.stale if self.stale > MAX_STALE + ROUNDING else 0,
        }  # fmt: skip
        if not self.replaced:
            found |= {
                "missed": self.missed, "doubled": self.doubled, "never seen": self.unseen, "inexact": self.inexact,
                "ended or read at a wrong time": len(self.mistimed),
                "an edge did not have what it had to": self.not_own, "lost, and nobody was told": self.lost,
            }  # fmt: skip
        if durability == "replica=all":
            found |= {"lost": self.lost, "ghosts": self.ghosts, "dirty": self.dirty}
            found["the history was replaced"] = self.replaced
        told = [f"{what}: {count}" for what, count in found.items() if count]
        return [*told, *([self.order] if self.order and durability == "replica=all" else [])]


def judge(seen: Seen, final: Mapping[str, int]) -> Result:
    """final: the revision of each key that is there in the end, but for those with a time to live."""
    acknowledged = seen.acknowledged
    replaced = any(words[:1] == ["END"] and words[2] == "store" for words in map(str.split, seen.ends))
    changes = {(_revision(position), key) for one in seen.watches.values() for _, position, key in one.changes}
    watched = [{key for _, _, key in one.changes} | {key for _, key in one.copied} for one in seen.watches.values()]
    read = {(one.key, one.revision) for one in seen.reads if one.revision > 0} | set(seen.edge_read.items())
    return Result(
        acknowledged=len(acknowledged),
        lost=sum(not _is_there(key, revision, final) for key, revision in acknowledged.items()),
        ghosts=sum(not _is_there(key, revision, final) for revision, key in changes),
        dirty=sum(not _is_there(key, revision, final) for key, revision in read),
        twice=_twice([*((revision, key) for key, revision in acknowledged.items()), *changes]),
        halves=_halves(seen, final),
        missed=sum(one.missed for one in seen.watches.values()),
        doubled=sum(one.doubled for one in seen.watches.values()),
        unseen=max((len(final.keys() - one) for one in watched), default=0),
        inexact=sum(copy.keys != _exact(copy, final) for copy in seen.copies),
        mistimed=[*seen.mistimed, *ended_wrongly(seen, seen.ended)][:MOST_TOLD],
        stale=round(
            max((late for key, late in seen.stale.items() if final.get(key) == acknowledged[key]), default=0), 2
        ),
        not_own=len(seen.not_own),
        uncertain=_applied(seen.uncertain, final),
        unavailable=_applied(seen.unavailable, final),
        refused=len(seen.refused),
        unanswered=seen.unanswered,
        seconds=round(_longest_pause(seen.times_at_roots), 1),
        order="" if replaced else explain(seen, final),
        replaced=replaced,
        errors=seen.errors,
    )


def _exact(copy: Copied, final: Mapping[str, int]) -> Mapping[str, int]:
    """What a copy must have, where nothing is lost."""
    return {
        key: revision for key, revision in final.items() if revision <= copy.revision and key.startswith(copy.prefix)
    }


def _longest_pause(times: Sequence[float]) -> float:
    """Seconds."""
    return max((after - before for before, after in pairwise(times)), default=0.0)


def _revision(position: str) -> int:
    return int(position.partition("@")[0])


def _is_there(key: str, revision: int, final: Mapping[str, int]) -> bool:
    """Whether what was written is there in the end, or what was written after it."""
    return final.get(key, 0) >= revision if key.startswith(SWAPPED) else final.get(key) == revision


def _twice(given: Iterable[tuple[int, str]]) -> int:
    keys: dict[int, set[str]] = {}
    for revision, key in given:
        keys.setdefault(revision, set()).add(key)
    return sum(len(found) > 1 for found in keys.values())


def _halves(seen: Seen, final: Mapping[str, int]) -> int:
    names = {key.partition("/")[0] for key in final if key.startswith("t")}
    in_the_end = sum(len({f"{name}/{part}" in final for part in "abc"}) > 1 for name in names)
    return in_the_end + len(seen.halved) + sum(len(one.halved) for one in seen.watches.values())


def _applied(keys: Iterable[str], final: Mapping[str, int]) -> str:
    """How many, and how many of them were done; of those that are written again and again nobody knows."""
    keys = [key for key in keys if not key.startswith(SWAPPED)]
    return f"{len(keys)} ({sum(key in final for key in keys)})"
