"""What INFO says, twice, makes rates."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Self

Facts = dict[str, str]
GREATEST = 2**63
"""What no figure of a daemon is above."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a daemon is doing.  A number is None where it does not tell.

    requests, changes: a second, since the last look; None: there was none, or the daemon has been started since.
    history: changes that are kept.
    """

    version: str
    engine: str
    uptime: float | None
    requests: float | None
    changes: float | None
    connections: float | None
    watchers: float | None
    lagging_watchers: float | None
    keys: float | None
    revision: float | None
    history: float | None
    daemon_memory: float | None
    store_memory: float | None
    max_memory: float | None

    @classmethod
    def of(cls, facts: Facts, before: Facts | None, seconds: float) -> Self:
        """before: the facts of another look, so many seconds ago."""
        revision, oldest = _number(facts, "revision"), _number(facts, "oldest")
        return cls(
            version=facts.get("version", ""),
            engine=facts.get("engine", ""),
            uptime=_number(facts, "uptime"),
            requests=_rate(facts, before, "requests", seconds),
            changes=_rate(facts, before, "changes", seconds),
            connections=_number(facts, "connections"),
            watchers=_number(facts, "watchers"),
            lagging_watchers=_number(facts, "lagging-watchers"),
            keys=_number(facts, "keys"),
            revision=revision,
            history=None if revision is None or oldest is None else revision - oldest,
            daemon_memory=_number(facts, "daemon-memory"),
            store_memory=_number(facts, "used-memory"),
            max_memory=_number(facts, "max-memory"),
        )


def _number(facts: Facts, name: str) -> float | None:
    with suppress(KeyError, ValueError):
        number = float(facts[name])
        return number if abs(number) <= GREATEST else None  # neither infinite nor NaN
    return None


def _rate(facts: Facts, before: Facts | None, name: str, seconds: float) -> float | None:
    now, then = _number(facts, name), _number(before or {}, name)
    if now is None or then is None or seconds <= 0 or now < then or _is_another(facts, before or {}):
        return None
    return (now - then) / seconds


def _is_another(facts: Facts, before: Facts) -> bool:
    """Whether the daemon was started in between."""
    now, then = _number(facts, "uptime"), _number(before, "uptime")
    return now is not None and then is not None and now < then
