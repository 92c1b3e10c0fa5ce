"""Replies that are large, or many, to those who hardly read them: what they take is within the connections' memory."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.held_memory import LIMIT, budget_of, fact, growing_less_than, slow_reader
from tests.support.processes import Daemon, wait_for

MANY = 100
"""That would have ten times as much as they may."""
LARGE = 1_000_000


@pytest.fixture
def budget(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon whose connections may hold LIMIT."""
    with budget_of(LIMIT, tmp_path) as daemon:
        with daemon.connect() as peer:
            assert peer.ask("SET large " + "x" * LARGE) == "OK 1"
        yield daemon


def test_a_value_of_which_the_kernel_has_most_counts_whole(budget: Daemon) -> None:
    """Found: what was left to send counted, a fifth of what was kept for it."""
    with growing_less_than(3 * LIMIT, budget), ExitStack() as stack:
        for _ in range(MANY):
            stack.enter_context(slow_reader(budget)).send("GET large\n" * 6)
        wait_for("some to be ended", lambda: fact(budget, "limited-memory") > MANY / 2)
        wait_for("the budget", lambda: fact(budget, "held-memory") <= LIMIT)
    wait_for("the connections' end", lambda: fact(budget, "held-memory") == 0)
