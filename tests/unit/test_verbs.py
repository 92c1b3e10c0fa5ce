"""kvd.verbs: the table, and how a line finds its row."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd.errors import NotAClient, UnknownVerb
from kvd.model import Form, Position
from kvd.requests import (
    Auth,
    Check,
    CheckNone,
    CheckSince,
    ClientName,
    ClientRange,
    Delete,
    Follow,
    Help,
    History,
    Increment,
    Info,
    Interval,
    KeyRange,
    Kick,
    LateRead,
    Nothing,
    Ping,
    Put,
    Read,
    Resume,
    Touch,
    Transaction,
    Watch,
    Write,
)
from kvd.session import handlers
from kvd.verbs import VERBS, Kind, Verb, explain, find
from kvd.wire.lines import is_stranger

EXAMPLES: dict[bytes, tuple[bytes, object]] = {
    b"GET": (b"GET k", Read(b"k")),
    b"GETS": (b"GETS k min=7@c3", LateRead(b"k", Position(7, b"c3"))),
    b"TTL": (b"TTL k", Read(b"k")),
    b"SET": (b"SET k v w", Put(b"k", b"t", b"v w")),
    b"PUT": (b"PUT k if=0 = v w", Put(b"k", b"t", b"v w", 0, b"0")),
    b"DEL": (b"DEL k if=7", Delete(b"k", b"7")),
    b"TOUCH": (b"TOUCH k ttl=1", Touch(b"k", 1000)),
    b"INCR": (b"INCR k 5", Increment(b"k", b"5")),
    b"KEYS": (b"KEYS a* limit=5", KeyRange(b"a*", b"", 5)),
    b"LIST": (b"LIST a* after=b", KeyRange(b"a*", b"b")),
    b"COUNT": (b"COUNT a*", KeyRange(b"a*")),
    b"WATCH": (b"WATCH a b*", Watch((b"a", b"b*"))),
    b"RESUME": (b"RESUME 7@c3 a b*", Resume(Position(7, b"c3"), (b"a", b"b*"))),
    b"SYNC": (b"SYNC *only=DEL a*", Watch((b"a*",), Form(only=frozenset([b"DEL"])))),
    b"FOLLOW": (b"FOLLOW 7@c3 *keys a", Follow(Position(7, b"c3"), (b"a",), Form(keys=True))),
    b"CHANGES": (b"CHANGES 7@c3 *limit=5 a b*", History(Position(7, b"c3"), (b"a", b"b*"), 5)),
    b"PROGRESS": (b"PROGRESS 2.5", Interval(2500)),
    b"BEGIN": (b"BEGIN", Nothing()),
    b"CHECK": (b"CHECK k if=7", Check(b"k", b"7")),
    b"COMMIT": (b"COMMIT", Nothing()),
    b"ABORT": (b"ABORT", Nothing()),
    b"UNWATCH": (b"UNWATCH", Nothing()),
    b"AUTH": (b"AUTH alice a b ", Auth(b"alice", b"a b ")),
    b"CLIENTS": (b"CLIENTS after=7-3 limit=5", ClientRange(ClientName(7, 3), 5)),
    b"KICK": (b"KICK 7-3", Kick(ClientName(7, 3))),
    b"PING": (b"PING a b", Ping(b"a b")),
    b"INFO": (b"INFO Store", Info("store")),
    b"HELP": (b"HELP get", Help(b"GET")),
    b"QUIT": (b"QUIT", Nothing()),
}


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_takes_its_arguments(name: bytes) -> None:
    line, arguments = EXAMPLES[name]
    for spelling in (name, name.lower(), name.title()):
        verb, rest = find(spelling + line[len(name) :])
        assert verb is VERBS[name]
        assert verb.parse(rest, 99) == arguments


@pytest.mark.parametrize("verb", VERBS.values(), ids=lambda verb: verb.name)
def test_every_verb_has_its_texts(verb: Verb) -> None:
    assert verb.usage.split(" ")[0] == verb.name
    assert verb.help
    assert verb.help == verb.help.strip()
    assert explain(verb.name.encode()) == [verb.usage, verb.help]


def test_help_has_a_line_a_verb_in_their_order() -> None:
    assert [line.split(" ")[0] for line in explain(None)] == [name.decode() for name in VERBS]
    assert all(verb.help in line for verb, line in zip(VERBS.values(), explain(None), strict=True))
    assert max(map(len, explain(None))) < 140


def test_verbs_that_read_and_no_others_have_a_reply() -> None:
    for verb in VERBS.values():
        assert (verb.reply is not None) == (verb.kind is Kind.READ)


def test_every_other_verb_has_its_handler() -> None:
    others = {verb.name for verb in VERBS.values() if verb.kind is Kind.OTHER}
    # Of a range, and with min=, these are some of them.
    others |= {"DEL", "GET", "GETS"}
    assert others == {*handlers.AT_ONCE, *handlers.WORK}
    assert not handlers.AT_ONCE.keys() & handlers.WORK.keys()


def test_every_request_says_what_it_touches() -> None:
    touched = {verb: find(line)[0].parse(find(line)[1], 100).touches() for verb, (line, _) in EXAMPLES.items()}
    keyed = {b"GET", b"GETS", b"TTL", b"SET", b"PUT", b"DEL", b"TOUCH", b"INCR", b"CHECK"}
    ranges = {b"KEYS": (b"a*",), b"LIST": (b"a*",), b"COUNT": (b"a*",), b"WATCH": (b"a", b"b*"), b"SYNC": (b"a*",)}
    for verb in VERBS:
        if verb in keyed:
            assert touched[verb] == (b"k",)
        elif verb not in (b"RESUME", b"FOLLOW", b"CHANGES"):
            assert touched[verb] == ranges.get(verb, ())
    assert Follow(None, (b"a*",)).touches() == History(Position(1, b"s"), (b"a*",), 1).touches() == (b"a*",)
    assert Resume(Position(1, b"s"), (b"a*",)).touches() == CheckNone(b"a*").touches() == (b"a*",)
    assert CheckSince(b"a*", Position(1, b"s")).touches() == (b"a*",)
    assert Transaction((Put(b"a", b"t", b""), Delete(b"b"))).touches() == (b"a", b"b")


def test_what_goes_to_the_store_in_groups_says_how_large_it_is() -> None:
    for request in (Read, *get_args(Write)):
        assert isinstance(request.size, property), request


@pytest.mark.parametrize(
    ("line", "rest"),
    [(b"PING", None), (b"PING ", b""), (b"PING  ", b" "), (b"PING a b", b"a b"), (b"ping \xff", b"\xff")],
)
def test_the_rest_is_what_stands_behind_one_space(line: bytes, rest: bytes | None) -> None:
    assert find(line) == (VERBS[b"PING"], rest)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" ",
        b" GET k",
        b"GETX k",
        b"GET\tk",
        b"GET\xc2\xa0k",
        b"\xff",
        b"G\xc3\x89T k",
        b"*",
        b"1GET",
        b"GET\r",
        b"POST",
    ],
)
def test_what_is_no_verb_is_unknown(line: bytes) -> None:
    with pytest.raises(UnknownVerb):
        find(line)


def test_an_unknown_verb_is_named_if_that_does_no_harm() -> None:
    for line, named in [
        (b"FROB x", True),
        (b"\x1b[2J", False),
        (b"F" * 99, False),
        (b"caf\xc3\xa9", False),
        (b"<b>", False),
    ]:
        with pytest.raises(UnknownVerb) as caught:
            find(line)
        assert (line.split(b" ")[0].decode() in str(caught.value)) == named


@pytest.mark.parametrize("line", [b"POST / HTTP/1.1", b"POST ", b"Host: x", b"HOST:x", b"host:", b"PROXY TCP4 a b c d"])
def test_a_line_of_another_protocol_is_no_clients(line: bytes) -> None:
    with pytest.raises(NotAClient):
        find(line)


def test_no_verb_looks_like_another_protocol() -> None:
    assert not any(is_stranger(name + b" x") or is_stranger(name.lower() + b":") for name in VERBS)


@pytest.mark.parametrize("name", [b"HELLO"])
def test_reserved_verbs_are_refused(name: bytes) -> None:
    assert name not in VERBS


@given(st.binary())
def test_any_line_finds_a_verb_or_is_refused(line: bytes) -> None:
    try:
        verb, rest = find(line)
    except (UnknownVerb, NotAClient):
        assert line.split(b" ")[0].upper() not in VERBS
    else:
        wanted = verb.name.encode() + (b" " + rest if rest is not None else b"")
        assert wanted[len(verb.name) :] == line[len(verb.name) :]
        assert line[: len(verb.name)].upper() == verb.name.encode()
