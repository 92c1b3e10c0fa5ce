"""docs/benchmarks.md is for readers, side by side; bench/README.md has what developers are to reach."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import page
from bench.curves import Check, Curve
from bench.growth import CURVES, IN_WORDS
from bench.load import Result
from bench.measure import Measured, Pace
from bench.targets import ETCD, KVD, MEMCACHED, REDIS, ROWS, TITLES, Row, Target
from tests.support.processes import ROOT, needs

DOCS = ROOT / "docs"
WRITTEN = (DOCS / "benchmarks.md").read_text()
RECORD = json.loads((DOCS / "benchmarks.json").read_text())
FOR_DEVELOPERS = re.compile(r"\b(targets?|stretch|met|limits?|at most \d|at least \d)\b")
PACE = Pace(rounds=3, seconds=1, warmup=0.1)
ABOUT = {"cores": "2", "processor": "any"}


def recorded_rows() -> list[Measured]:
    """What docs/benchmarks.json holds of the workloads."""
    rows = {row.name: row for row in ROWS}
    return [
        Measured(rows[name], {system: [Result(**one) for one in rounds] for system, rounds in row["results"].items()})
        for name, row in RECORD["rows"].items()
    ]


def recorded_curves() -> Iterator[Curve]:
    """What docs/benchmarks.json holds of the curves."""
    for name, raw in RECORD["curves"].items():
        x_title = next(key for key in raw if key not in ("title", "columns", "checks"))
        checks = [Check(**{key: value for key, value in check.items() if key != "met"}) for check in raw["checks"]]
        yield Curve(name, raw["title"], "How.", x_title, raw[x_title], raw["columns"], checks)


def tables(text: str) -> list[list[list[str]]]:
    """The tables of a page: for each its lines, and their cells."""
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [[[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()] for block in blocks]


def seen(rate: int, p50: float = 10, **costs: float) -> Result:
    return Result(rate, 0, 1, p50, 2 * p50, costs.get("daemon", 0.0), costs.get("store", 0.0), 0)


def test_a_workload_is_a_row_and_a_system_a_column() -> None:
    rows = [
        Row("get", "GET", "requests", (KVD, REDIS, ETCD), (Target("at least", 0.65, 0.8),)),
        Row("one", "one GET: p50", "requests", (KVD, REDIS, MEMCACHED), (Target("at most", 1.5, 1.35),), {}, "p50_us"),
    ]
    measured = [
        Measured(rows[0], {KVD: [seen(70_149, daemon=0.07, store=0.03)], REDIS: [seen(100_000)], ETCD: [seen(5_000)]}),
        Measured(rows[1], {KVD: [seen(1, p50=30)], REDIS: [seen(1, p50=20)], MEMCACHED: [seen(1, p50=15)]}),
    ]
    text = page.text(PACE, ABOUT, measured, [])
    rates, latencies, costs = tables(text)
    assert rates == [
        ["", "kvd", "bare Redis", "etcd", "kvd / bare Redis"],
        ["---", *["--:"] * 4],
        ["GET", "70,100", "100,000", "5,000", "0.70 (0.70 to 0.70)"],
    ]
    assert latencies[0] == ["", "kvd", "bare Redis", "memcached", "kvd / bare Redis"]
    assert latencies[2] == ["one GET", "30 / 60", "20 / 40", "15 / 30", "1.50 (1.50 to 1.50)"]
    assert costs[2][:2] == ["GET", "1.43"]
    assert not FOR_DEVELOPERS.search(text)
    assert "Not measured in this run: behind, copies, crowd, engines," in text


def test_engines_are_columns_too() -> None:
    columns = {"GET/s": [100_000.0, 120_000.0], "GET: store, µs": [2.0, 1.0]}
    checks = [Check("GET/s", 1.2), Check("time", 0.5)]
    curve = Curve("engines", "Engines", "How.", "engine", ["Redis 6", "Valkey 9"], columns, checks, is_growth=False)
    headings, rows = page.compared(curve)
    assert headings == ["", "Redis 6", "Valkey 9", "Valkey 9 / Redis 6"]
    assert rows == [["GET/s", "100,000", "120,000", "1.20"], ["GET: store, µs", "2", "1", "0.50"]]


def test_what_is_written_is_what_was_recorded() -> None:
    cells = {cell for lines in tables(WRITTEN) for cells in lines for cell in cells}
    for one in recorded_rows():
        assert page.title(one.row) in cells
        ratio = one.ratio(KVD)
        assert ratio
        assert str(ratio) in cells
        for system in one.results:
            assert TITLES[system] in cells
            if one.row.figure == "rate":
                assert page.rounded(one.median(system, "rate")) in cells


def test_what_grows_is_said_in_words() -> None:
    assert set(IN_WORDS) == set(CURVES) == set(RECORD["curves"])
    for curve in recorded_curves():
        words = " ".join(IN_WORDS[curve.name](curve))
        assert f"# {curve.title}\n\n{words}\n\n|" in WRITTEN


def test_targets_do_not_stand_there() -> None:
    assert not FOR_DEVELOPERS.search(WRITTEN)
    assert "did not help" not in WRITTEN


def target_text(target: Target) -> str:
    of = {ETCD: " of etcd"}.get(target.base, "")
    system = "" if target.system == KVD else f" with {TITLES[target.system]}"
    return f"{target.bound} {target.wanted:g} ({target.stretch:g}){of}{system}"


def test_developers_find_every_row_and_target_and_every_curve() -> None:
    text = (ROOT / "bench" / "README.md").read_text()
    for row in ROWS:
        targets = "; ".join(target_text(target) for target in row.targets)
        assert f"| `{row.name}` | {row.title} | {targets} |".replace("|  |", "| |") in text
    curves = text.partition("## Curves")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` ", curves, re.MULTILINE) == list(CURVES)
    assert "(did-not-help.md)" in text


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from bench import chart

    chart.draw(tmp_path / "picture.png", recorded_rows())
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_the_picture_has_three_panels_of_known_rows() -> None:
    pytest.importorskip("matplotlib")
    from bench import chart

    panels: Any = chart.PANELS
    assert len(panels) <= 3
    assert {name for panel in panels for name in panel.rows} <= {row.name for row in ROWS}


@pytest.mark.slow
def test_a_first_run_shows_no_targets() -> None:
    needs("cc")
    options = re.findall(r"python -m bench (.*)", (ROOT / "README.md").read_text())
    assert options == ["--quick"]
    command = [sys.executable, "-m", "bench", *options, "--rounds", "1", "--seconds", "0.05", "--only", "get"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "bare Redis" in shown
    assert not FOR_DEVELOPERS.search(shown)
