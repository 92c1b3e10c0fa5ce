"""Watches, and changes that were made."""

from typing import NamedTuple

from kvd.model import PLAIN, Form, Position
from kvd.requests.keys import Touched


class Watch(NamedTuple):
    """WATCH, SYNC: the patterns, and in which form the lines are wanted."""

    patterns: tuple[bytes, ...]
    form: Form = PLAIN

    def touches(self) -> Touched:
        return self.patterns


class Resume(NamedTuple):
    """RESUME: the position after which to begin, and what `Watch` has."""

    position: Position
    patterns: tuple[bytes, ...]
    form: Form = PLAIN

    def touches(self) -> Touched:
        return self.patterns


class Follow(NamedTuple):
    """FOLLOW: the position after which to go on, None where there is none yet, and what `Watch` has."""

    position: Position | None
    patterns: tuple[bytes, ...]
    form: Form = PLAIN

    def touches(self) -> Touched:
        return self.patterns


class History(NamedTuple):
    """CHANGES: the changes after a position that match, `limit` (int) at the most, and their form."""

    position: Position
    patterns: tuple[bytes, ...]
    limit: int
    form: Form = PLAIN

    def touches(self) -> Touched:
        return self.patterns


class Interval(NamedTuple):
    """PROGRESS: milliseconds (int) between lines; 0 for none."""

    milliseconds: int

    def touches(self) -> Touched:
        return ()
