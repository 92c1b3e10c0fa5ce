"""The changes as the story of each key: what it held between which revisions."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import NamedTuple

from tests.faults.history import Change, Violation

AFTER_ALL = "\U0010ffff"
"""Sorts after every key of the test."""
NEVER = 2**53
"""The revision that ends what still stands; beyond all that there can be."""


class Version(NamedTuple):
    """What a key held from revision `begin` up to before revision `end`.  ended: by SET, DEL, EXPIRE, "" if not."""

    key: str
    value: str
    begin: int
    end: int = NEVER
    ended: str = ""


class Timeline:
    """The history of the store, whole.  Raises Violation if the changes are no history."""

    def __init__(self, changes: Mapping[int, Change]) -> None:
        """changes: by revision; all from 1 to the last."""
        self.last = max(changes, default=0)
        self.changes = [self._change(changes, revision) for revision in range(1, self.last + 1)]
        self._versions: dict[str, list[Version]] = {}
        self._by_value: dict[tuple[str, str], Version] = {}
        self._revisions: dict[str, list[int]] = {}
        self._matching: dict[tuple[str, ...], list[int]] = {}
        for change in self.changes:
            self._apply(change)
        self._sorted = sorted(self._versions)
        for versions in self._versions.values():
            for version in versions:
                if self._by_value.setdefault((version.key, version.value), version) is not version:
                    first = self._by_value[version.key, version.value].begin
                    raise Violation(f"{version.value} was written to {version.key} at {first} and at {version.begin}")

    @staticmethod
    def _change(changes: Mapping[int, Change], revision: int) -> Change:
        if revision not in changes:
            raise Violation(f"nobody saw the change of revision {revision}; the last that was seen is {max(changes)}")
        return changes[revision]

    def _apply(self, change: Change) -> None:
        self._revisions.setdefault(change.key, []).append(change.revision)
        versions = self._versions.setdefault(change.key, [])
        if versions and versions[-1].end == NEVER:
            versions[-1] = versions[-1]._replace(end=change.revision, ended=change.verb)
        elif change.verb != "SET":
            raise Violation(f"{change}, but there was no such key")
        if change.verb == "SET":
            versions.append(Version(change.key, change.value, change.revision))

    def keys(self) -> list[str]:
        """Every key that ever was."""
        return list(self._versions)

    def versions(self, key: str) -> list[Version]:
        """What a key held, in order."""
        return self._versions.get(key, [])

    def at(self, key: str, revision: int) -> Version | None:
        """What a key holds right after a revision."""
        versions = self.versions(key)
        index = bisect_right(versions, revision, key=lambda version: version.begin) - 1
        return versions[index] if index >= 0 and revision < versions[index].end else None

    def state(self, revision: int, patterns: tuple[str, ...] = ("*",)) -> dict[str, Version]:
        """All keys that match, right after a revision."""
        found = ((key, self.at(key, revision)) for key in self._keys_of(patterns))
        return {key: version for key, version in found if version}

    def by_value(self, key: str, value: str) -> Version | None:
        """When a key held a value."""
        return self._by_value.get((key, value))

    def absences(self, key: str) -> list[tuple[int, int]]:
        """The revisions, from and to inclusive, right after which there is no such key."""
        found = []
        begin = 0
        for version in self.versions(key):
            if begin < version.begin:
                found.append((begin, version.begin - 1))
            begin = version.end
        if begin < NEVER:
            found.append((begin, NEVER))
        return found

    def matching(self, patterns: tuple[str, ...]) -> list[int]:
        """The revisions of all changes that match."""
        if patterns not in self._matching:
            found = [revision for key in self._keys_of(patterns) for revision in self._revisions[key]]
            self._matching[patterns] = sorted(found)
        return self._matching[patterns]

    def _keys_of(self, patterns: tuple[str, ...]) -> set[str]:
        """Every key that ever was and matches: without a look at the others, for a herd has many patterns."""
        found: set[str] = set()
        for pattern in patterns:
            if pattern.endswith("*"):
                first, last = (bisect_left(self._sorted, pattern[:-1] + end) for end in ("", AFTER_ALL))
                found.update(self._sorted[first:last])
            elif pattern in self._versions:
                found.add(pattern)
        return found
