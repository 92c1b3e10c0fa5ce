"""What the clients of a failover run saw, with its times, which are of the monotonic clock."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.faults.failover.watching import Watched

SWAPPED = "c/"
"""How the keys begin that are written again and again, each time on condition; all others are written once."""
AT_EDGES = "e"
"""How those begin that are written at an edge."""
UNKNOWN = -1


class Asked(NamedTuple):
    """A request for one key, or a transaction, that was answered, or may have been done.

    connection: a number.  end: infinite if nobody knows what became of it.
    revision: that it took or found, 0 if there was no such key, UNKNOWN if nobody was told.
    first: of a transaction, that of its first change; else 0.
    expected: the revision that the key was to have, UNKNOWN if any would do.
    """

    connection: int
    start: float
    end: float
    key: str
    revision: int
    first: int = 0
    expected: int = UNKNOWN

    @property
    def unknown(self) -> bool:
        """Whether nobody was told what became of it."""
        return self.end == math.inf


class Mortal(NamedTuple):
    """Between which times a key may end."""

    earliest: float
    latest: float


class Copied(NamedTuple):
    """A copy of keys that are written once.

    prefix: how they begin.  revision: that of the position at which it is exact.  keys: with their revisions.
    """

    prefix: str
    revision: int
    keys: dict[str, int]


@dataclass
class Seen:
    """All of it.

    acknowledged: the revision of each key whose write was, the newest.
    uncertain, unavailable, refused: keys whose write was answered so; also without an answer it is uncertain.
    writes, reads: those of the roots.  watches: by the watcher's name.
    times: when the write of each key was acknowledged.
    edge_read: the newest revision of each key that an edge gave.
    stale: of each key that an edge did not have, for how many seconds its write had been acknowledged by then.
    halved: transactions of which half was read.
    not_own: writes that an edge did not know which had sent them on, or was asked for them with their position.
    mortal: keys with a time to live.  mistimed: what was read of them when it should not have been.
    ended: when the watches did.
    copies: of the keys that were written last.
    unanswered: requests that were not answered when all should be.
    """

    acknowledged: dict[str, int] = field(default_factory=dict)
    uncertain: list[str] = field(default_factory=list)
    unavailable: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    writes: list[Asked] = field(default_factory=list)
    reads: list[Asked] = field(default_factory=list)
    watches: dict[str, Watched] = field(default_factory=dict)
    times: dict[str, float] = field(default_factory=dict)
    edge_read: dict[str, int] = field(default_factory=dict)
    stale: dict[str, float] = field(default_factory=dict)
    halved: list[str] = field(default_factory=list)
    not_own: list[str] = field(default_factory=list)
    mortal: dict[str, Mortal] = field(default_factory=dict)
    mistimed: list[str] = field(default_factory=list)
    ended: float = 0.0
    copies: list[Copied] = field(default_factory=list)
    unanswered: int = 0
    errors: int = 0

    @property
    def store(self) -> str:
        """The store's id, as a watcher was told last; "" before that."""
        return next((one.position.partition("@")[2] for one in self.watches.values() if one.position), "")

    @property
    def times_at_roots(self) -> list[float]:
        """When writes were acknowledged, in order.  An edge may hold a reply for longer, until it has what is in it."""
        return sorted(when for key, when in self.times.items() if not key.startswith(AT_EDGES))

    @property
    def ends(self) -> list[str]:
        """Why watches ended, of all watchers."""
        return [end for watch in self.watches.values() for end in watch.ends]

    def note(self, asked: Asked, words: list[str], *others: str) -> bool:
        """The answer to a write: whether one goes on from it.  others: more keys of a transaction, the last first."""
        if words[0] == "OK":
            revision = int(words[1].partition("@")[0])
            for back, key in enumerate((asked.key, *others)):
                self.acknowledged[key] = revision - back
                self.times[key] = asked.end
            first = revision - len(others) if others else 0
            self.writes.append(asked._replace(revision=revision, first=first))
            return True
        if words[0] == "CONFLICT":
            self.reads.append(asked._replace(revision=int(words[1])))
            return True
        self.errors += 1
        kinds = {"uncertain": self.uncertain, "unavailable": self.unavailable}
        kinds.get(words[1], self.refused).extend((asked.key, *others))
        if words[1] == "uncertain":
            self.writes.append(asked._replace(end=math.inf))
        return False

    def note_unknown(self, asked: Asked, *others: str) -> None:
        """A write without an answer."""
        self.uncertain.extend((asked.key, *others))
        self.writes.append(asked._replace(end=math.inf))


def found(words: list[str]) -> int:
    """The revision that GETS gave, 0 if there was nothing, UNKNOWN if it was refused."""
    if words[0] == "OK":
        return int(words[1])
    return 0 if words[0] == "NONE" else UNKNOWN
