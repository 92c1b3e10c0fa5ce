"""What a copy has sent so far, and so which changes it still lacks."""

from bisect import bisect_left

from kvd.model import Patterns
from kvd.watch.index import AFTER_ALL

KEY_BYTES = 150
"""Memory of a key that has changed, or was sent again, beyond its own bytes."""


class Told:
    """What one copy has sent: for each pattern up to which key, and as of which revision."""

    def __init__(self, patterns: Patterns) -> None:
        self._patterns = patterns
        # By pattern: the last keys of its pages, in order, and the revisions of these.
        self._pages: dict[bytes, tuple[list[bytes], list[int]]] = {}
        # Keys whose present records were sent, and as of which revision.
        self._records: dict[bytes, int] = {}
        # Bytes that they take.
        self._size = 0
        self._newest = 0

    @property
    def held(self) -> int:
        """Bytes that it takes."""
        return self._size + KEY_BYTES * sum([len(ends) for ends, _ in self._pages.values()])

    def page(self, pattern: bytes, last: bytes, revision: int) -> None:
        """A page was sent."""
        ends, revisions = self._pages.setdefault(pattern, ([], []))
        ends.append(last or AFTER_ALL)
        revisions.append(revision)
        self._newest = max(self._newest, revision)

    def record(self, key: bytes, revision: int) -> None:
        """A key's present record was sent."""
        if key not in self._records:
            self._size += KEY_BYTES + len(key)
        self._records[key] = revision
        self._newest = max(self._newest, revision)

    def is_outdated(self, key: bytes, revision: int) -> bool:
        """Whether a key was sent, and has changed since: at this revision."""
        pattern = self._patterns.find(key)
        if pattern not in self._pages:
            return False
        ends, revisions = self._pages[pattern]
        place = bisect_left(ends, key)
        return place < len(ends) and revision > revisions[place] and revision > self._records.get(key, 0)

    def forget(self, revision: int) -> None:
        """Every change up to a revision has been looked at."""
        if self._newest <= revision:
            self._records.clear()
            self._size = 0
            for pattern, (ends, _) in self._pages.items():
                self._pages[pattern] = (ends[-1:], [0])
