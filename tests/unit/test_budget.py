"""kvd.session.budget: who is refused, by what is held now and not by what was held when it was counted."""

from dataclasses import dataclass

from kvd.counts import Counts
from kvd.session.budget import Budget

LIMIT = 1_000_000


@dataclass(eq=False)
class Peer:
    """A connection."""

    size: int = 0
    looks: int = 0

    def held(self) -> int:
        self.looks += 1
        return self.size

    def end_for_memory(self) -> None:
        raise AssertionError


def test_nobody_is_refused_for_what_others_hold_no_longer() -> None:
    budget, reader, asking = Budget(LIMIT, Counts()), Peer(LIMIT * 6 // 10), Peer()
    budget.note(reader)
    assert not budget.exceeds(asking, LIMIT * 3 // 10)
    assert budget.exceeds(asking, LIMIT * 7 // 10)
    reader.size = 0
    assert not budget.exceeds(asking, LIMIT * 7 // 10)
    assert reader not in budget


def test_who_would_hold_the_most_is_refused() -> None:
    budget, reader, asking = Budget(LIMIT, Counts()), Peer(LIMIT * 6 // 10), Peer(LIMIT // 10)
    budget.note(reader)
    budget.note(asking)
    assert not budget.exceeds(asking, LIMIT * 4 // 10)
    assert budget.exceeds(asking, LIMIT * 5 // 10)


def test_nobody_is_counted_anew_for_who_is_not_refused() -> None:
    """Found: each request of a crowd at its limit had all of its connections counted."""
    budget, reader, asking = Budget(LIMIT, Counts()), Peer(LIMIT), Peer()
    budget.note(reader)
    assert not budget.exceeds(asking, LIMIT // 10)
    assert reader.looks == 1
