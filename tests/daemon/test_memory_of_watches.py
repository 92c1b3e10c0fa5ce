"""What watches and copies have kept for others stays small, whatever they ask for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.held_memory import LIMIT, budget_of, fact, growing_less_than, slow_reader
from tests.support.processes import Daemon

COPIES, RESUMES = 20, 40
"""Requests of one connection, each of which left a megabyte, or half of one."""
FEW_CHANGES = 5


@pytest.fixture
def budget(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon whose connections may hold LIMIT, and that has freed nothing that could be used again."""
    with budget_of(LIMIT, tmp_path) as daemon:
        with daemon.connect() as peer:
            for number in range(50):
                peer.ask(f"SET s/{number} " + "x" * 100_000)
        yield daemon


def new_patterns(time: int) -> str:
    return " ".join(f"{time:04}{number:0480}*" for number in range(1000))


def test_pages_without_keys_are_not_kept_without_a_bound_while_anybody_copies(budget: Daemon) -> None:
    """Found: their lines were counted, of which they have none, and each is as large as its pattern and more."""
    with slow_reader(budget) as copier, budget.connect() as peer:
        copier.send("SYNC s/*\n")
        peer.ask(f"SYNC {new_patterns(0)}")
        with growing_less_than(LIMIT, budget):
            for time in range(1, COPIES):
                assert peer.ask(f"SYNC {new_patterns(time)}").startswith("OK ")
                assert peer.ask("UNWATCH").startswith("OK ")
        assert fact(budget, "limited-memory") == 0


def test_steps_of_catching_up_are_not_kept_without_a_bound_until_something_changes(budget: Daemon) -> None:
    """Found: their lines were counted, which are few, and not the patterns that name them."""
    with budget.connect() as peer:
        first = peer.ask("SET few/0 v").split(" ")[1]
        for number in range(1, FEW_CHANGES):
            peer.ask(f"SET few/{number} v")
        position = f"{first}@{peer.ask('UNWATCH').split('@')[1]}"
        with growing_less_than(LIMIT, budget):
            for time in range(RESUMES):
                assert peer.ask(f"RESUME {position} few/* {new_patterns(time)}").startswith("OK ")
                assert [peer.line().split(" ")[0] for _ in range(1, FEW_CHANGES)] == ["CHANGE"] * (FEW_CHANGES - 1)
                assert peer.ask("UNWATCH").startswith("OK ")
