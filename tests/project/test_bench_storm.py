"""The storm: a tiny one, which shows that it measures what it says, and that it ends."""

import pytest

from bench import storm
from bench.load import Generator
from bench.storm_looks import Looks
from bench.storm_run import Load, Seen, Size, measure
from tests.support.processes import needs

NOT_ALWAYS_MET = {
    "p99 beside the crowd / alone", "load beside the crowd / that saturates", "those who came and went / were to",
    "load of the crowd by itself / that saturates",
}  # fmt: skip
"""On a busy machine, for so short a time."""


@pytest.mark.slow
def test_a_crowd_costs_nobody_else_anything(tmp_path_factory: pytest.TempPathFactory) -> None:
    needs("cc")
    size = Size(seconds=3, connections=60, coming=20, work=100)
    seen = measure(Generator(tmp_path_factory.mktemp("load")), size, ("--fsync", "no"), lambda _: None)
    failed = {check.title for check in storm.checks(seen, size.coming) if not check.met}
    assert failed <= NOT_ALWAYS_MET
    assert seen.crowd["replies"] > 60
    assert seen.crowd["changes"] > 0
    assert seen.crowd["came"] > 0
    for load in (seen.saturated, seen.alone, seen.beside):
        assert min(load.rate, load.cores, load.p99) > 0
    assert "NOT MET: errors" not in storm.in_words(seen, size.coming)


def test_what_is_no_limit_is_found() -> None:
    crowd = {
        "replies": 1, "changes": 1, "came": 40, "seconds": 10.0,
        "errors": {"ERR limit": 2, "ERR unavailable": 3}, "lost": {"work": 5},
    }  # fmt: skip
    loads = Load(100, 1.0, 10), Load(50, 0.5, 10), Load(40, 0.25, 30)
    seen = Seen(*loads, 0.5, 10 * storm.SLACK, 20 * storm.SLACK, 4, crowd, limited=2)
    assert [check.value for check in storm.checks(seen, coming=8)] == [3, 3, 4, 2, 0.5, 0.5, 0.25, 3]
    assert storm.in_words(seen, coming=8).count("NOT MET") == 8


def test_memory_is_known_of_a_time_in_which_a_pause_let_nobody_look() -> None:
    looks = Looks([(0.0, 1), (3.0, 2), (4.0, 4), (9.0, 5)])
    assert (looks.between(3, 4), looks.between(5, 6), looks.between(6.8, 7.4)) == (3, 4, 5)


def test_the_load_is_that_of_the_clients_and_the_crowd() -> None:
    tried = Load(rate=1000, cores=0.3, p99=1)
    assert tried.rate_for(0.6, 0) == pytest.approx(2000)
    assert tried.rate_for(0.5, 0.1) == pytest.approx(2000)
