"""kvd.session.rounds: a time counts for one thing, and anew for the next one."""

from types import SimpleNamespace
from typing import Any, cast

from kvd.session.limits import Limit, Sizes
from kvd.session.rounds import Rounds

SECONDS = 10.0


class Budget:
    """It has room for all."""

    def note(self, _: object) -> None:
        pass


class Connection:
    """Something has begun on it, or nothing has."""

    def __init__(self) -> None:
        self.thing: object | None = None
        self.ended: list[Limit] = []

    def begun(self, _: Limit) -> object | None:
        return self.thing

    def end_for(self, limit: Limit) -> None:
        self.ended.append(limit)


def ends(*looks: tuple[float, object | None]) -> list[Limit]:
    """For what a connection is ended.  looks: when, and what has begun then."""
    limits = SimpleNamespace(sizes=Sizes(line=SECONDS))
    rounds = Rounds(cast(Any, Budget()), cast(Any, limits))
    connection = Connection()
    begun: dict[Limit, tuple[object, float]] = {}
    for now, connection.thing in looks:
        rounds._look(cast(Any, connection), begun, now)
    return connection.ended


def test_what_takes_as_long_as_it_may_is_ended_and_not_before() -> None:
    assert ends((0, "a"), (SECONDS - 0.1, "a")) == []
    assert ends((0, "a"), (SECONDS, "a")) == [Limit.LINE]


def test_things_that_each_end_in_time_end_nothing_however_many_they_are() -> None:
    assert ends(*((number * SECONDS * 0.9, f"{number}") for number in range(100))) == []
    assert ends((0, "a"), (9, "b"), (18, "b"), (19, "b")) == [Limit.LINE]


def test_what_was_over_meanwhile_begins_anew() -> None:
    assert ends((0, "a"), (9, None), (18, "a"), (27, "a")) == []
