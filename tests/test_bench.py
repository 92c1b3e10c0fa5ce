"""bench: ratios and the guard, and the load generator against real servers."""

import json
import shutil
from pathlib import Path

import pytest

from bench import guard, report, servers
from bench.curves import Check, Curve
from bench.load import Generator, LoadFailed, Result
from bench.measure import Measured, alternate, ratio
from bench.targets import ETCD, KVD, REDIS, ROWS, Row, at_least, at_most

NEEDS_COMPILER = pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")


def result(rate: float, p50: float = 1.0) -> Result:
    return Result(int(rate), 0, 1.0, p50, p50, 0.5, 0.25, 0.125)


def measured(figure: str = "rate", kvd: float = 1000, redis: float = 2000) -> Measured:
    target = at_least(0.65, 0.8) if figure == "rate" else at_most(1.5, 1.35)
    row = Row("get", "GET", "requests", (KVD, REDIS), (target,), {}, "rate" if figure == "rate" else "p50_us")
    make = result if figure == "rate" else lambda value: result(1, value)
    return Measured(row, {KVD: [make(kvd)] * 3, REDIS: [make(redis)] * 3})


def test_a_ratio_is_that_of_the_same_round() -> None:
    """Rounds that differ as a whole do not blur it."""
    spread = ratio([10, 100, 1000], [20, 200, 2000])
    assert (spread.median, spread.low, spread.high) == (0.5, 0.5, 0.5)
    assert str(ratio([1, 2, 3], [1, 1, 1])) == "2.00 (1.00 to 3.00)"


def test_every_second_round_goes_backwards() -> None:
    assert "".join(alternate("AB", 4)) == "ABBAABBA"


def test_a_missing_system_has_no_ratio() -> None:
    assert measured().ratio(ETCD) is None
    assert measured().ratio(KVD, ETCD) is None


def test_every_row_compares_kvd_with_bare_redis() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert {KVD, REDIS} <= set(row.systems)


@pytest.mark.parametrize(
    ("figure", "kvd", "met"),
    [("rate", 1299, "no"), ("rate", 1300, "yes"), ("rate", 1600, "stretch"),
     ("p50", 3001, "no"), ("p50", 3000, "yes"), ("p50", 2700, "stretch")],
)  # fmt: skip
def test_the_table_says_what_is_met(figure: str, kvd: float, met: str) -> None:
    ours, redis = report.lines([measured(figure, kvd)])
    assert (ours.system, ours.met) == ("kvd", met)
    assert (redis.system, redis.ratio, redis.met) == ("bare Redis", report.NONE, "")
    assert f"| {met} |" in report.markdown_table([measured(figure, kvd)])


def test_a_curve_says_what_is_met() -> None:
    curve = Curve("keys", "Keys", "how", "keys", ["1", "2"], {"us": [1.0, 2345.6]}, [Check("time", 1.3, limit=1.25)],
                  ["us"], "us")  # fmt: skip
    assert "| 2 | 2,346 |" in report.markdown_curve(curve)
    assert "time: 1.30, at most 1.25: no" in report.markdown_curve(curve)


@pytest.mark.parametrize(
    ("figure", "kvd", "alarms"), [("rate", 501, 0), ("rate", 499, 1), ("p50", 3999, 0), ("p50", 4001, 1)]
)
def test_the_guard_alarms_at_half_of_what_was_recorded(figure: str, kvd: float, alarms: int, tmp_path: Path) -> None:
    recorded = tmp_path / "benchmarks.json"
    recorded.write_text(json.dumps(report.raw([measured(figure)], [])))
    found = guard.complaints([measured(figure, kvd if figure == "rate" else kvd / 2)], guard.recorded_ratios(recorded))
    assert len(found) == alarms
    assert guard.recorded_ratios(tmp_path / "none") == {}


@NEEDS_COMPILER
def test_the_generator_counts_what_kvd_and_redis_answer(tmp_path: Path) -> None:
    generator = Generator(tmp_path)
    with servers.kvd() as kvd, servers.bare_redis() as redis:
        for system in (kvd, redis):
            generator.fill(system, 100, 32)
            for settings in ({"reads": 100}, {"reads": 0, "depth": 4}, {"reads": 50, "connections": 3, "rate": 200}):
                seen = generator.run(system, "requests", {"keys": 100, "value": 32, **settings}, seconds=0.2, warmup=0)
                assert seen.operations
                assert seen.p50_us <= seen.p99_us
            fan_out = {"watchers": 5, "flight": 3, "durable": 1}
            assert generator.run(system, "fan-out", fan_out, seconds=0.2, warmup=0).operations
            for distinct in (1, 2) if system is kvd else (1,):
                seen = generator.run(system, "fan-out", {**fan_out, "distinct": distinct}, seconds=0.2, warmup=0)
                assert seen.operations


@NEEDS_COMPILER
def test_a_wrong_reply_is_not_passed_over(tmp_path: Path) -> None:
    generator = Generator(tmp_path)
    with servers.kvd() as kvd:
        generator.fill(kvd, 10, 32)
        for settings in ({"keys": 20, "value": 32}, {"keys": 10, "value": 31}):
            with pytest.raises(LoadFailed, match="wrong replies"):
                generator.run(kvd, "requests", {"reads": 100, **settings}, seconds=0.2, warmup=0)
