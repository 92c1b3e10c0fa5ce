"""A small slice of the fuzzing, and its judges."""

import secrets
import sys

import pytest

from kvd.model import TEXT
from kvd.requests import NUMBERED, Delete, DeleteRange, Increment, Nothing, Ping, Put
from tests.fuzz import grammar, pure
from tests.fuzz.__main__ import against_daemon
from tests.fuzz.inputs import VALUE_LIMIT, make
from tests.fuzz.live import Change, Wanted, announced, compare
from tests.fuzz.pure import STRANGER, Outcome, outcomes

PURE, LIVE = 20_000, 400


@pytest.fixture
def seed() -> str:
    seed = secrets.token_hex(4)
    sys.stdout.write(f"repeat with: python -m tests.fuzz --inputs {PURE} --live {LIVE} --seed {seed}\n")
    return seed


@pytest.mark.slow
def test_no_bytes_bring_down_the_pure_layers(seed: str) -> None:
    assert pure.fuzz(seed, range(PURE)) > PURE


@pytest.mark.slow
def test_no_bytes_bring_down_a_daemon_or_change_its_store_unannounced(seed: str) -> None:
    sys.stdout.write(against_daemon(seed, LIVE) + "\n")


def test_inputs_follow_from_the_seed() -> None:
    assert [make("a", number) for number in range(50)] == [make("a", number) for number in range(50)]
    assert [make("a", number) for number in range(50)] != [make("b", number) for number in range(50)]


@pytest.mark.slow
def test_inputs_are_of_every_kind() -> None:
    """Most of what can come out does come out: else the inputs would be poor."""
    found = [outcome for number in range(3000) for outcome in outcomes([make("kinds", number)])]
    codes = {"unknown-verb", "usage", "bad-key", "bad-value", "too-long", "not-a-number", "overflow"}
    assert {outcome.code for outcome in found if outcome.code} == codes
    assert len({outcome.verb for outcome in found}) > 20
    assert STRANGER in found


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("OK", "status"),
        ("OK ", "status"),
        ("OK any text\tat all", "status"),
        ("OK64 AAEC", "status"),
        ("OK64 7 AAEC", "status"),
        ("NONE", "status"),
        ("CONFLICT 0", "status"),
        ("CONFLICT 7 a/key", "status"),
        ("ERR usage expected something", "status"),
        ("KEY a", "item"),
        ("PAIR 1 a ", "item"),
        ("PAIR64 1 a AA==", "item"),
        ("GONE 1 a", "item"),
        ("SIZE 1 a 5", "item"),
        ("BATCH 2", "beside"),
        ("TTL 0.5 a", "beside"),
        ("WITH owner a", "beside"),
        ("TIME 1700000000000", "beside"),
        ("CHANGE 1@x SIZE a 5", "push"),
        ("CHANGE 1@x SET a b c", "push"),
        ("CHANGE 1@x SET64 a AA==", "push"),
        ("CHANGE 1@x EXPIRE a", "push"),
        ("PROGRESS 0@x", "push"),
        ("END 1@x shutdown the daemon stops", "push"),
    ],
)
def test_the_grammar_knows_lines(line: str, kind: str) -> None:
    assert grammar.kind(line.encode()) == kind


@pytest.mark.parametrize(
    "line",
    [
        b"", b"OKAY", b"ok", b"OK\r", b"OK \x1b[2J", b"OK \xff", "OK \u2028".encode(), b"OK64 AAE", b"OK64 a b",
        b"NONE ", b"CONFLICT", b"CONFLICT 07", b"ERR usage", b"KEY a b", b"KEY a*", b"PAIR a b", b"GONE a",
        b"CHANGE 1 SET a b", b"CHANGE 1@x DEL a b", b"CHANGE 1@x SET a", b"PROGRESS 1", b"END 1@x shutdown",
    ],
)  # fmt: skip
def test_the_grammar_knows_what_is_no_line(line: bytes) -> None:
    with pytest.raises((ValueError, UnicodeDecodeError)):
        grammar.kind(line)


SET = Outcome("SET", arguments=Put(b"a", TEXT, b"1"))
PUT = Outcome("PUT", arguments=Put(b"q/*", TEXT, b"1", 0, NUMBERED))
DEL = Outcome("DEL", arguments=Delete(b"a"))
DEL_ALL = Outcome("DEL", arguments=DeleteRange(b"if=*"))
INCR = Outcome("INCR", arguments=Increment(b"n", b"1"))
BEGIN, COMMIT, ABORT = (Outcome(verb, arguments=Nothing()) for verb in ("BEGIN", "COMMIT", "ABORT"))
PING = Outcome("PING", arguments=Ping())
WRONG = Outcome(code="usage")
QUEUED = b"OK queued"


@pytest.mark.parametrize(
    ("conversation", "changes"),
    [
        ([(SET, b"OK 1"), (WRONG, b"ERR usage text"), (DEL, b"OK 2")], ["SET a 1", "DEL a 2"]),
        ([(DEL, b"NONE"), (SET, b"CONFLICT 3"), (INCR, b"ERR overflow text")], []),
        ([(INCR, b"OK 7")], ["SET n 0"]),
        ([(DEL_ALL, b"OK 7 2"), (DEL_ALL, b"NONE")], ["DEL if= 0", "DEL if= 0 perhaps"]),
        ([(PUT, b"OK 7"), (PUT, b"CONFLICT 3")], ["SET q/* 7"]),
        ([(BEGIN, b"OK"), (SET, QUEUED), (DEL, QUEUED), (COMMIT, b"OK 2")], ["SET a 0", "DEL a 0 perhaps"]),
        ([(BEGIN, b"OK"), (SET, QUEUED), (ABORT, b"OK"), (PING, b"OK")], []),
        ([(BEGIN, b"OK"), (SET, QUEUED), (WRONG, b"ERR usage text"), (COMMIT, b"ERR aborted text")], []),
        ([(BEGIN, b"OK"), (PING, b"ERR usage text"), (COMMIT, b"ERR aborted text"), (COMMIT, b"ERR usage text")], []),
        ([(BEGIN, b"OK"), (SET, QUEUED), (COMMIT, b"CONFLICT 3 a"), (SET, b"OK 4")], ["SET a 4"]),
    ],
)
def test_replies_announce_changes(conversation: list[tuple[Outcome, bytes]], changes: list[str]) -> None:
    wanted = announced([outcome for outcome, _ in conversation], [reply for _, reply in conversation])
    shown = [f"{w.verb} {w.key.decode()} {w.revision}{' perhaps' * w.perhaps}" for w in wanted]
    assert shown == changes


@pytest.mark.parametrize(
    "conversation",
    [
        [(WRONG, b"OK")],
        [(WRONG, b"ERR bad-key text")],
        [(SET, b"ERR usage text")],
        [(PING, b"ERR unavailable text")],
        [(BEGIN, b"OK"), (SET, b"OK 1")],
        [(BEGIN, b"OK"), (PING, b"OK")],
        [(BEGIN, b"OK"), (WRONG, b"ERR usage text"), (COMMIT, b"OK 1")],
        [(BEGIN, b"OK"), (SET, QUEUED), (COMMIT, b"ERR aborted text")],
    ],
)
def test_replies_that_cannot_be(conversation: list[tuple[Outcome, bytes]]) -> None:
    with pytest.raises(AssertionError):
        announced([outcome for outcome, _ in conversation], [reply for _, reply in conversation])


WANTED = [Wanted("SET", b"a", 5), Wanted("DEL", b"b", perhaps=True), Wanted("SET", b"n")]
SEEN = [Change(5, "SET", b"a"), Change(6, "DEL", b"b"), Change(7, "SET", b"n")]


@pytest.mark.parametrize("seen", [SEEN, [SEEN[0], SEEN[2]]])
def test_changes_that_were_announced(seen: list[Change]) -> None:
    compare(WANTED, seen)


def test_changes_of_keys_that_begin_so() -> None:
    one = Wanted("DEL", b"if=", begins=True)
    gone = [Change(5, "DEL", b"if="), Change(6, "DEL", b"if=0")]
    for wanted in ([one] * 2, [one, *[one._replace(perhaps=True)] * 2]):
        compare(wanted, gone)
    # What went along with the second begins otherwise.
    compare([one, one._replace(perhaps=True)], [gone[0], Change(6, "DEL", b"x")], {b"x"})
    for wrong in ([], [Change(5, "DEL", b"a")], [Change(5, "SET", b"if=")], [*gone, Change(7, "DEL", b"a")]):
        with pytest.raises(AssertionError):
            compare([one, one._replace(perhaps=True)], wrong)


@pytest.mark.parametrize("revision", [0, 12])
def test_a_change_of_a_key_with_its_revision(revision: int) -> None:
    wanted = [Wanted("SET", b"q/*", revision)]
    compare(wanted, [Change(12, "SET", b"q/0000000000000012")])
    with pytest.raises(AssertionError):
        compare(wanted, [Change(12, "SET", b"q/0000000000000013")])


@pytest.mark.parametrize(
    "seen",
    [
        [],
        SEEN[:2],
        SEEN[1:],
        [*SEEN, Change(8, "SET", b"a")],
        [SEEN[0]._replace(revision=4), *SEEN[1:]],
        [SEEN[0]._replace(key=b"z"), *SEEN[1:]],
        [SEEN[0], SEEN[2], SEEN[1]],
    ],
)
def test_changes_that_were_not(seen: list[Change]) -> None:
    with pytest.raises(AssertionError):
        compare(WANTED, seen)


def test_a_line_at_its_limit_is_whole_and_one_over_it_is_not() -> None:
    value = b"v" * VALUE_LIMIT
    assert outcomes([b"SET a ", value, b"\n"])[0].verb == "SET"
    assert outcomes([b"SET a ", value, b"v\n"])[0].code == "too-long"
