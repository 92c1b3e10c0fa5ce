"""The change index: which key each kept change is of, without its value.  Pure and synchronous.

A watcher that resumes needs the changes of its own keys, which are few of those that the store has kept.  Here they
are found without reading the change log: by key for some keys or a prefix with few, else by revision.  The index covers
the changes from one revision to another without a gap; it grows at its end as changes are published, and at its
beginning as older ones are read from the change log because somebody needs them.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence

from sortedcontainers import SortedList

from kvd.model import Change, Patterns

WALK_CHANGES = 8192
"""Changes, or keys, looked at in one `find` at the most: about a millisecond for a prefix."""
DROP_CHANGES = 512
"""Changes too many that are dropped at once, if the index is not small: one by one each would move all the others."""
AFTER_ALL = b"\xff"
"""Sorts after every key, for keys are UTF-8."""


class ChangeIndex:
    """Keys by revision and revisions by key, of the changes after `floor` up to `last`."""

    def __init__(self, most: int) -> None:
        """most: int, changes that are kept; a few hundred more may be for a while.

        keepers: each is called before a revision, to which it is told, and all before are covered no longer.
        generation: int, another one after each `start`.
        """
        self._most = most
        self._too_many = most + min(DROP_CHANGES, most // 8 + 1)
        self.keepers: set[Callable[[int], None]] = set()
        self.generation = 0
        self.start(0)

    def start(self, revision: int) -> None:
        """Cover nothing: what comes next follows on this revision."""
        self.floor = revision
        self.generation += 1
        self._keys: list[bytes] = []
        # Whether the next change belongs to the same transaction, for each of the keys.
        self._more = bytearray()
        # A number alone takes a third of what a list of one takes.
        self._revisions: dict[bytes, int | list[int]] = {}
        # Revisions that were prepended, of keys that nobody has asked for since, the latest first: to put each before
        # the later ones would take long for a key with many.
        self._older: dict[bytes, int | list[int]] = {}
        self._sorted: SortedList[bytes] = SortedList()
        self._unsorted: list[bytes] = []

    @property
    def last(self) -> int:
        """The last revision that is covered."""
        return self.floor + len(self._keys)

    @property
    def is_full(self) -> bool:
        """Whether it covers as many changes as it keeps."""
        return len(self._keys) >= self._most

    def __len__(self) -> int:
        return len(self._keys)

    # ---- what is covered

    def append(self, changes: Iterable[Change]) -> None:
        """Cover the next changes, too, and the oldest no longer if there are too many."""
        keys, revisions = self._keys, self._revisions
        for change in changes:
            key = change.key
            before = revisions.get(key)
            if before is None:
                revisions[key] = change.revision
                if key not in self._older:
                    self._sorted.add(key)
            elif isinstance(before, int):
                revisions[key] = [before, change.revision]
            else:
                before.append(change.revision)
            keys.append(key)
            self._more.append(change.more)
        if len(keys) >= self._too_many:
            self.drop_to(self.last - self._most)

    def prepend(self, keys: Sequence[bytes], more: Iterable[int]) -> None:
        """Cover older changes, too, those just before what is covered, in their order.

        more: for each, whether the next one belongs to the same transaction.
        """
        known, older, unsorted = self._revisions, self._older, self._unsorted
        revision = self.floor
        for key in reversed(keys):
            found = older.get(key)
            if found is None:
                older[key] = revision
                # They are sorted in when somebody asks: page by page it would take five times as long.
                if key not in known:
                    unsorted.append(key)
            elif isinstance(found, int):
                older[key] = [found, revision]
            else:
                found.append(revision)
            revision -= 1
        self._keys[:0] = keys
        self._more[:0] = bytes(more)
        self.floor = revision

    def _revisions_of(self, key: bytes) -> int | list[int]:
        """Those of a key in their order; 0 if there is none."""
        later, older = self._revisions.get(key, 0), self._older.pop(key, None)
        if older is None:
            return later
        revisions = [older] if isinstance(older, int) else older[::-1]
        if later:
            revisions += [later] if isinstance(later, int) else later
        self._revisions[key] = found = revisions if len(revisions) > 1 else revisions[0]
        return found

    def _in_order(self) -> SortedList[bytes]:
        """All keys."""
        if self._unsorted:
            self._sorted.update(self._unsorted)
            self._unsorted = []
        return self._sorted

    def drop_to(self, floor: int) -> None:
        """Cover what is up to a revision no longer."""
        count = min(floor - self.floor, len(self._keys))
        if count <= 0:
            return
        for keep in self.keepers:
            keep(self.floor + count)
        self.floor += count
        for key in set(self._keys[:count]):
            revisions = self._revisions_of(key)
            if isinstance(revisions, int) or revisions[-1] <= self.floor:
                del self._revisions[key]
                self._in_order().discard(key)
            else:
                del revisions[: bisect_right(revisions, self.floor)]
        del self._keys[:count]
        del self._more[:count]

    # ---- what is asked

    def covers(self, after: int) -> bool:
        """Whether every change after a revision is covered, up to the last."""
        return after >= self.floor

    def last_of(self, key: bytes) -> int:
        """The revision of a key's last change, 0 if none is covered."""
        revisions = self._revisions_of(key)
        return revisions if isinstance(revisions, int) else revisions[-1]

    def key_of(self, revision: int) -> bytes:
        """The key that a change is of, which must be covered."""
        return self._keys[revision - self.floor - 1]

    def newest(self, pattern: bytes, after: int, end: int) -> tuple[int, int]:
        """The revision of the last change after one, which must be covered, that matches, 0 if none was found; of those
        up to `end` at the least.  And after which revision all were looked at: after that one, or after a later one, up
        to which to ask again.
        """
        if not pattern.endswith(b"*"):
            last = self.last_of(pattern)
            return (last if last > after else 0), after
        prefix, begin = pattern[:-1], max(after, end - WALK_CHANGES)
        if self._count(Patterns([pattern]), end - begin) < end - begin:
            keys = self._in_order().irange(prefix, prefix + AFTER_ALL)
            last = max(map(self.last_of, keys), default=0)
            return (last if last > after else 0), after
        for back, key in enumerate(reversed(self._keys[begin - self.floor : end - self.floor])):
            if key.startswith(prefix):
                return end - back, begin
        return 0, begin

    def find(self, patterns: Patterns, after: int, most: int) -> tuple[list[int], int]:
        """The revisions after one, which must be covered, of changes that match, in order; about `most` at the most.

        Also up to which revision these are all: the last one, or an earlier one, from which to ask again.
        """
        walk = min(self.last - after, WALK_CHANGES)
        if self._count(patterns, walk) < walk:
            found = self._by_key(patterns, after, 4 * most)
            if found is not None:
                return self._cut(found, most, self.last)
        return self._by_revision(patterns, after, most)

    def is_one_transaction(self, first: int, last: int) -> bool:
        """Whether all from one change to another belong to the same transaction, as far as they are covered."""
        return last > self.floor and self._more.find(0, max(first - self.floor - 1, 0), last - self.floor - 1) < 0

    def keys_of(self, pattern: bytes, after: bytes, last: bytes, revision: int) -> list[bytes]:
        """The keys of a pattern after one (b"": from the first on) up to another (b"": the last one) that were changed
        after a revision, which must be covered."""
        least, most = (pattern[:-1], pattern[:-1] + AFTER_ALL) if pattern.endswith(b"*") else (pattern, pattern)
        keys = self._in_order().irange(after or least, last or most, inclusive=(not after, True))
        return [key for key in keys if self.last_of(key) > revision]

    def keys_after(self, revision: int, last: int) -> set[bytes]:
        """The keys that were changed after a revision, which must be covered, up to another one."""
        return set(self._keys[revision - self.floor : last - self.floor])

    def _count(self, patterns: Patterns, most: int) -> int:
        """How many keys match, or more than `most`."""
        count = 0
        for word in patterns.words:
            if not word.endswith(b"*"):
                count += 1
            else:
                prefix, ordered = word[:-1], self._in_order()
                count += ordered.bisect_left(prefix + AFTER_ALL) - ordered.bisect_left(prefix)
            if count > most:
                break
        return count

    def _by_key(self, patterns: Patterns, after: int, most: int) -> list[int] | None:
        """All that match after a revision, or None if they are more than `most`."""
        found: list[int] = []
        for word in patterns.words:
            prefix = word[:-1]
            keys = self._in_order().irange(prefix, prefix + AFTER_ALL) if word.endswith(b"*") else [word]
            for key in keys:
                revisions = self._revisions_of(key)
                if isinstance(revisions, int):
                    if revisions > after:
                        found.append(revisions)
                elif revisions[-1] > after:
                    place = bisect_right(revisions, after)
                    found += revisions[place : place + most + 1]
                if len(found) > most:
                    return None
        found.sort()
        return found

    def _by_revision(self, patterns: Patterns, after: int, most: int) -> tuple[list[int], int]:
        """The next that match, looked for among so many changes only, and up to where that are all."""
        match, floor = patterns.match, self.floor
        end = min(after + WALK_CHANGES, self.last)
        while end < self.last and self._more[end - floor - 1]:
            end += 1
        keys = self._keys[after - floor : end - floor]
        return self._cut([revision for revision, key in enumerate(keys, after + 1) if match(key)], most, end)

    def _cut(self, found: list[int], most: int, end: int) -> tuple[list[int], int]:
        """About the first `most` of those found up to `end`, and up to where these are all; no transaction is cut."""
        while most < len(found) and self.is_one_transaction(found[most - 1], found[most]):
            most += 1
        return (found[:most], found[most - 1]) if most < len(found) else (found, end)
