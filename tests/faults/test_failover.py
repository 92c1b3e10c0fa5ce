"""The failover program counts what is not as it was promised, and runs."""

import dataclasses

import pytest

from tests.faults.failover import NETWORKED, run
from tests.faults.failover_load import Result, Seen, judge
from tests.support.machines import why_none

FINE = Result(1, 0, 0, 0, 0, 0, 0, "0 (0)", "0 (0)", 0.0, replaced=False)


def test_what_is_not_as_it_was_promised_is_counted() -> None:
    seen = Seen(
        acknowledged={"w0/1": 1, "w0/2": 2, "w0/3": 3}, uncertain=["w1/1", "w1/2"], unavailable=["w2/1"],
        changes=[("1@s", "w0/1"), ("2@s", "w0/2"), ("9@s", "w9/9")], copied=[(7, "t1/a")], read={"w0/2": 2},
        ends=["END 2@s store its history was replaced"], times=[1.0, 1.5, 4.0],
    )  # fmt: skip
    result = judge(seen, {"w0/1": 1, "w0/3": 4, "w1/2": 5, "w2/1": 6, "t1/a": 7})
    assert result == Result(
        acknowledged=3, lost=2, ghosts=2, dirty=1, twice=0, halves=1, unseen=3, uncertain="2 (1)", unavailable="1 (1)",
        seconds=2.5, replaced=True,
    )  # fmt: skip
    assert judge(Seen(acknowledged={"a": 1, "b": 1}), {}).twice == 1


@pytest.mark.parametrize(
    ("found", "durability", "violated"),
    [
        (FINE, "replica=all", 0),
        (dataclasses.replace(FINE, lost=1), "replica=all", 2),
        (dataclasses.replace(FINE, ghosts=1, dirty=1), "replica=all", 2),
        (dataclasses.replace(FINE, ghosts=1, lost=1, replaced=True), "async", 0),
        (dataclasses.replace(FINE, lost=1), "replica=1", 1),
        (dataclasses.replace(FINE, twice=1, halves=1), "async", 2),
        (dataclasses.replace(FINE, unavailable="3 (1)"), "async", 1),
    ],
)
def test_some_of_it_must_never_be(found: Result, durability: str, violated: int) -> None:
    assert len(found.violations(durability)) == violated


@pytest.mark.minutes
@pytest.mark.parametrize("fault", ["kill", "off"])
@pytest.mark.parametrize("durability", ["replica=1", "replica=all"])
def test_nothing_is_lost(fault: str, durability: str) -> None:
    if fault in NETWORKED and (missing := why_none()):
        pytest.skip(missing)
    result = run(fault, durability, "sentinel")
    assert (result.lost, result.ghosts, result.dirty) == (0, 0, 0)
    assert not result.violations(durability)
