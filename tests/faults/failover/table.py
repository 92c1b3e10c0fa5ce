"""python -m tests.faults.failover.table FILE...: the table of docs/guarantees.md, of what --json has printed."""

import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.faults.failover.faults import DATA, word_of

HEAD = (
    "store", "`--durability`", "what happens", "runs", "acknowledged", "lost", "ghosts", "dirty", "uncertain (done)",
    "unavailable (done)", "seconds without writes", "linearizable",
)  # fmt: skip
FORMS = {"sentinel": "Sentinel", "cluster": "Cluster"}
DURABILITIES = ("replica=1", "replica=all", "async")
FAULTS = {
    "kill": "the primary is killed, and comes back taking itself for one",
    "short": "the same, with the end of its file gone",
    "twice": "two failovers in a row",
    "cut": "its replicas lose it 0.8 s before it is killed",
    "parted": "the links to its replicas are cut 0.8 s before its machine dies",
    "stop": "it is paused for up to 2.9 s",
    "long": "it is paused for 3 to 6 s",
    "slow": "it is 0.1 s away for 4 s, and its machine dies then",
    "laggard": "a replica is, and the primary's machine dies",
    "off": "it is off the network for 4 s",
    "link": "it is cut from one other machine",
    "alone": "it is cut from all but the daemons",
    "silent": "it is cut from those that vote alone",
    "far": "it is cut from the daemons alone",
    "lone": "it and the daemon that is read from are cut from all else",
    "half": "it and a replica are cut from all others, the daemons with them",
    "blind": "the same, and the daemons reach all",
    "replica": "one replica is off the network",
    "voter": "one of those that vote is off the network",
    "pair": "two other machines are cut from each other",
    "turns": "it is paused, the next one is cut off, and the one after that is killed",
    "roots": "both daemons are killed, and the primary",
    "frozen": "the daemon of which an edge lives is paused",
}
SHORT_PAUSE = 3.0


def kind(fault: str) -> str:
    """The row that a fault belongs to."""
    parts = fault.split("+")
    if "roots" in parts:
        return "roots"
    word = word_of(parts[0])
    number = parts[0].removeprefix(word)
    match word:
        case "stop":
            return word if float(number) < SHORT_PAUSE else "long"
        case "off" if int(number or 0):
            return "replica" if int(number) < DATA else "voter"
        case "link":
            return "link" if number.startswith("0.") else "pair"
    return word


def rows(runs: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line for each kind of run."""
    found: dict[tuple[int, int, int], list[Mapping[str, Any]]] = defaultdict(list)
    for one in runs:
        place = list(FORMS).index(one["form"]), DURABILITIES.index(one["durability"])
        found[(*place, list(FAULTS).index(kind(one["fault"])))].append(one)
    return [_row(*place, found[place]) for place in sorted(found)]


def _row(form: int, durability: int, fault: int, runs: list[Mapping[str, Any]]) -> str:
    without = sorted(one["seconds"] for one in runs)
    least, most = without[0], without[-1]
    orders = Counter("replaced" if one["replaced"] else "no" if one["order"] else "yes" for one in runs)
    words = [
        list(FORMS.values())[form], f"`{DURABILITIES[durability]}`", list(FAULTS.values())[fault], len(runs),
        *(f"{sum(one[name] for one in runs):,}" for name in ("acknowledged", "lost", "ghosts", "dirty")),
        *(_applied(one[name] for one in runs) for name in ("uncertain", "unavailable")),
        f"{least:g}" if least == most else f"{least:g} to {most:g}",
        ", ".join(f"{count} {word}" if count < len(runs) else word for word, count in orders.items()),
    ]  # fmt: skip
    return f"| {' | '.join(map(str, words))} |"


def _applied(told: Iterable[str]) -> str:
    """The sum of such as "12 (3)"."""
    numbers = [tuple(map(int, re.findall(r"\d+", one))) for one in told]
    return f"{sum(all_ for all_, _ in numbers):,} ({sum(done for _, done in numbers):,})"


def main() -> None:
    lines = [line for name in sys.argv[1:] for line in Path(name).read_text().splitlines() if line.startswith("{")]
    aligned = "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|"
    sys.stdout.write("\n".join([f"| {' | '.join(HEAD)} |", aligned, *rows(map(json.loads, lines))]) + "\n")


if __name__ == "__main__":
    main()
