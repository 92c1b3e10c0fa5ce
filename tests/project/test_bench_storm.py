"""The storm: a tiny one, which shows that it measures what it says, and that it ends."""

import pytest

from bench import storm
from bench.load import Generator
from tests.support.processes import needs

NEVER_MET = "p99 beside the crowd / alone"
"""On a busy machine, for so short a time."""


@pytest.mark.slow
def test_a_crowd_costs_nobody_else_anything(tmp_path_factory: pytest.TempPathFactory) -> None:
    needs("cc")
    size = storm.Size(seconds=3, connections=60, coming=20, work=100)
    seen = storm.measure(Generator(tmp_path_factory.mktemp("load")), size, ("--fsync", "no"), lambda _: None)
    assert [check for check in seen.checks() if not check.met and check.title != NEVER_MET] == []
    assert seen.crowd["replies"] > 60
    assert seen.crowd["changes"] > 0
    assert seen.crowd["came"] > 0
    assert min(seen.p99, seen.p99_alone, seen.saturated) > 0
    assert "NOT MET: errors" not in storm.in_words(seen)


def test_what_is_no_limit_is_found() -> None:
    crowd = {
        "replies": 1, "changes": 1, "came": 1, "errors": {"ERR limit": 2, "ERR unavailable": 3}, "lost": {"work": 5},
    }  # fmt: skip
    seen = storm.Seen(100, 50, 10, 30, 10 * storm.SLACK, 20 * storm.SLACK, 4, crowd, limited=2)
    assert [check.value for check in seen.checks()] == [3, 3, 4, 2, 3]
    assert storm.in_words(seen).count("NOT MET") == 5
