"""What kvctl top counts and computes."""

import time
from dataclasses import asdict

import pytest

from kvd.cli.screen.drawing import curve, duration, head, size
from kvd.cli.screen.figures import Figures
from kvd.cli.screen.prefixes import MOST_COUNTED, MOST_KEPT, WINDOW, Prefixes


def facts(**given: int) -> dict[str, str]:
    return {name.replace("_", "-"): str(number) for name, number in given.items()}


def test_rates_are_of_two_looks() -> None:
    before = facts(requests=100, changes=10, uptime=5)
    figures = Figures.of(facts(requests=150, changes=10, uptime=7, revision=30, oldest=12), before, 2.0)
    assert (figures.requests, figures.changes, figures.history) == (25, 0, 18)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (None, facts(requests=5)),
        (facts(requests=9, uptime=50), facts(requests=5, uptime=1)),  # it was started again
        (facts(requests=5, uptime=50), facts(requests=9, uptime=1)),
        (facts(requests=9), facts(requests=5)),
        (facts(uptime=1), facts(requests=5, uptime=2)),
        ({"requests": "x"}, facts(requests=5)),
    ],
)
def test_there_is_no_rate_where_there_can_be_none(before: dict[str, str] | None, now: dict[str, str]) -> None:
    assert Figures.of(now, before, 1.0).requests is None


@pytest.mark.parametrize("said", ["inf", "-inf", "nan", "1e308", "", "many"])
def test_what_a_daemon_cannot_have_counted_is_not_known(said: str) -> None:
    """The live screen ended in a traceback, and `top --once --json` wrote what is no JSON."""
    names = ("uptime", "requests", "connections", "keys", "revision", "oldest", "daemon-memory", "used-memory")
    facts = dict.fromkeys(names, said)
    figures = Figures.of(facts, facts, 0.001)
    assert [value for value in asdict(figures).values() if value] == []
    assert "up" not in head("here", figures, "", 0.0).plain


def changes(*keys: str) -> bytes:
    return "\n".join(f"CHANGE {number}@s SIZE {key} 5" for number, key in enumerate(keys)).encode()


def test_changes_are_counted_by_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    prefixes = prefixes_that_began_at(0.0, monkeypatch)
    prefixes.count(b"OK 0@s\n" + changes("user/a", "user/b/c", "lone", "/etc/hosts", "//"))
    prefixes.count(b"CHANGE 7@s DEL user/CHANGE\nCHANGE 8@s EXPIRE lone")
    prefixes.look(2.0)
    assert prefixes.busiest(9) == [("user/", 1.5), ("lone", 1.0), ("//", 0.5), ("/etc/", 0.5)]
    assert prefixes.busiest(1) == [("user/", 1.5)]


def prefixes_that_began_at(now: float, monkeypatch: pytest.MonkeyPatch) -> Prefixes:
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: now)
        return Prefixes()


def test_what_is_long_past_counts_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    prefixes = prefixes_that_began_at(0.0, monkeypatch)
    prefixes.count(changes(*["old/a"] * 100))
    prefixes.look(1.0)
    for second in range(2, int(WINDOW) + 5):
        prefixes.count(changes("new/a"))
        prefixes.look(float(second))
    assert prefixes.busiest(9) == [("new/", 1.0)]


def test_memory_is_bounded() -> None:
    prefixes = Prefixes()
    for look in range(3):
        prefixes.count(changes(*(f"{look}-{number}/x" for number in range(2 * MOST_COUNTED))))
        prefixes.look(time.monotonic())
    assert len(prefixes.busiest(10**6)) == 3 * MOST_KEPT


def test_a_curve_goes_from_nothing_to_the_greatest() -> None:
    assert curve([0, 1, 50, 100]).plain == " ▁▄█"
    assert curve([]).plain == ""
    assert curve([0, 0]).plain == "  "


def test_people_read_units() -> None:
    assert [duration(seconds) for seconds in (5.9, 61, 3700, 90000)] == ["5 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]
    assert [size(value).plain for value in (None, 5, 2048, 5 * 1024**3)] == ["-", "5 B", "2.0 KiB", "5.0 GiB"]
    assert size(1, 1024).plain == "1 B of 1.0 KiB"
