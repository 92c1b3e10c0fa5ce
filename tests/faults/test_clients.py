"""The watchers that are clients: what is held of what they tell, and a short run with them."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults import watching
from tests.faults.clients import AdapterFollow, Client, KvctlWatch, clients
from tests.faults.history import Change, History, Violation
from tests.faults.run import run
from tests.faults.timeline import Timeline
from tests.support.processes import needs

CHANGES = [Change(1, "SET", "c/1", "text:a"), Change(2, "SET", "c/2", "base64:/w=="), Change(3, "DEL", "c/1")]


def told(client: Client, numbers: Sequence[int]) -> None:
    """Have it tell of these."""
    for number in numbers:
        _, verb, key, _ = CHANGES[number - 1]
        client.changed(f"{number}@s", verb, key, {1: b"a", 2: b"\xff"}.get(number))


def checked(client: Client, history: History) -> None:
    for change in CHANGES:
        history.see(change, 0)
    client.finish(3)
    watching.check_resumes(history.watches)
    for watch in history.watches:
        watching.check_lines(watch, Timeline(history.changes))


@pytest.mark.parametrize(
    ("before", "goes_on", "after", "wrong"),
    [
        ([1], "1@s", [2, 3], ""),
        ([1, 2], "1@s", [2, 3], ""),  # it was killed before it had kept its position
        ([1], "2@s", [3], "PROGRESS 2 stands before"),
        ([1], "1@s", [3], "behind one that is missing"),
        ([1], "1@s", [2], "FINAL 3 stands before"),
        ([1, 2], "2@s", [2, 3], "doubled or out of order"),
    ],
)
def test_what_is_missing_or_doubled_is_found(
    before: list[int], goes_on: str, after: list[int], wrong: str, tmp_path: Path
) -> None:
    history = History()
    client = KvctlWatch(history, 0, "", tmp_path, "one", "c/*")
    client.copied("SYNC", "0@s", ())
    told(client, before)
    client.goes_on(goes_on)
    told(client, after)
    if not wrong:
        checked(client, history)
        return
    with pytest.raises(Violation, match=wrong):
        checked(client, history)


def test_what_programs_write_is_understood(tmp_path: Path) -> None:
    history = History()
    kvctl = KvctlWatch(history, 0, "", tmp_path, "kvctl", "c/*")
    lines: list[dict[str, object]] = [
        {"verb": "COPY", "reason": "new"},
        {"verb": "PAIR", "key": "c/1", "revision": 1, "value": "a"},
        {"position": "1@s", "revision": 1, "verb": "COPIED", "count": 1},
        {"position": "2@s", "revision": 2, "verb": "SET", "key": "c/2", "base64": "/w=="},
        {"position": "3@s", "revision": 3, "verb": "DEL", "key": "c/1"},
    ]
    for line in lines:
        kvctl.take(json.loads(json.dumps(line)))
    perl = AdapterFollow(history, 0, "", tmp_path, "perl", "c/*")
    events: list[dict[str, object]] = [
        {"event": "copy"},
        {"event": "pair", "key": "c/1", "value64": "YQ=="},
        {"event": "copied", "position": "1@s"},
        {"event": "set", "position": "2@s", "key": "c/2", "value64": "/w=="},
        {"event": "position", "position": "2@s"},
        {"event": "del", "position": "3@s", "key": "c/1"},
    ]
    for line in events:
        perl.take(line)
    # That of Perl was connected again after its first change.
    assert [(watch.verb, watch.begin) for watch in history.watches] == [("SYNC", 1), ("COPY", 1), ("RESUME", 2)]
    assert [pair[1:] for pair in history.watches[0].copy] == [("c/1", "text:a")]
    assert list(history.changes.values()) == CHANGES[1:]
    assert kvctl.has_seen(3)
    assert perl.has_seen(3)


@pytest.mark.slow
def test_a_short_run(tmp_path: Path) -> None:
    needs("perl")
    summary = run(4, "clients", herd=0)
    assert summary.endswith("losses: 0")
    assert len(clients(History(), 0, "", tmp_path)) == 4
