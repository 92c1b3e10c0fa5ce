"""kvd.access.attempts: how long failures are remembered, and how long they make wait."""

import pytest

from kvd.access import attempts
from kvd.access.attempts import FIRST_DELAY, FORGET, LONGEST_DELAY, Failures

PAIR = ("alice", "10.0.0.1")


def test_each_failure_doubles_the_wait_up_to_the_longest() -> None:
    failures = Failures()
    assert failures.of(PAIR, 0.0) is None
    waits = []
    for _ in range(9):
        failures.add(PAIR, 100.0)
        found = failures.of(PAIR, 100.0)
        assert found
        waits.append(found.next - 100.0)
    assert waits[:4] == [FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY, 8 * FIRST_DELAY]
    assert waits[-1] == waits[-2] == LONGEST_DELAY
    assert failures.of(("alice", "10.0.0.2"), 100.0) is None
    assert failures.of(("bob", "10.0.0.1"), 100.0) is None


def test_they_are_forgotten_after_a_success_and_after_a_while() -> None:
    failures = Failures()
    failures.add(PAIR, 100.0)
    assert failures.of(PAIR, 100.0 + FORGET) is not None
    assert failures.of(PAIR, 101.0 + FORGET) is None
    failures.add(PAIR, 200.0)
    failures.forget(PAIR)
    assert failures.of(PAIR, 200.0) is None
    failures.forget(PAIR)


def test_whoever_invents_names_takes_no_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "MOST", 10)
    failures = Failures()
    for number in range(100):
        failures.add((f"user{number}", "10.0.0.1"), float(number))
    assert len(failures) == 10
    assert failures.of(("user99", "10.0.0.1"), 99.0) is not None
    assert failures.of(("user0", "10.0.0.1"), 99.0) is None
