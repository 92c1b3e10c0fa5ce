"""kvd.wire.requests: what each verb takes, and that a request comes out as it was meant."""

import base64
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd.errors import BadKey, BadValue, NotANumber, Overflow, Refusal, TooLong, Usage
from kvd.model import BYTES, PLAIN, TEXT, Form, Position
from kvd.requests import (
    NUMBERED,
    Check,
    CheckNone,
    CheckSince,
    Delete,
    Follow,
    Help,
    History,
    Increment,
    KeyRange,
    Nothing,
    Ping,
    Put,
    Read,
    Request,
    Resume,
    Touch,
    Watch,
)
from kvd.wire import requests, watches
from kvd.wire.words import MAX_PATTERNS, kind_of

MAX_VALUE = 1000
Parse = Callable[[bytes | None, int], Request]
PARSERS: list[Parse] = [
    requests.read, requests.set_, requests.put, requests.delete, requests.touch, requests.increment, requests.key_range,
    requests.count, watches.patterns, requests.text, requests.verb, requests.nothing,
]  # fmt: skip


# ---- what is taken

HERE = Position(7, b"s")
DELETED = Form(only=frozenset([b"DEL"]))


@pytest.mark.parametrize(
    ("parse", "rest", "request_"),
    [
        (watches.patterns, b"*keys", Watch((b"*",), Form(keys=True))),
        (watches.patterns, b"*only=DEL a *", Watch((b"a", b"*"), DELETED)),
        (watches.patterns, b"*only=EXPIRE,SET,DEL a", Watch((b"a",), PLAIN)),
        (watches.patterns, b"*only=DEL *keys a", Watch((b"a",), DELETED._replace(keys=True))),
        (watches.resume, b"7@s *keys", Resume(HERE, (b"*",), Form(keys=True))),
        (watches.follow, b"- *only=DEL", Follow(None, (b"*",), DELETED)),
        (watches.follow, b"7@s *only=DEL a", Follow(HERE, (b"a",), DELETED)),
        (watches.changes, b"7@s *keys *limit=5 *only=DEL a*", History(HERE, (b"a*",), 5, Form(True, DELETED.only))),
        (watches.changes, b"7@s *keys", History(HERE, (b"*",), 1000, Form(keys=True))),
    ],
)
def test_options_of_a_watch_stand_before_its_patterns(parse: Parse, rest: bytes, request_: Request) -> None:
    assert parse(rest, MAX_VALUE) == request_


@pytest.mark.parametrize(
    "options",
    [
        b"*keys=", b"*keys=1", b"*only", b"*only=", b"*only=SET64", b"*only=set", b"*only=SET,", b"*only=SET,SET",
        b"*keys *keys", b"*only=SET *only=DEL", b"*key", b"*KEYS", b"*limit=1", b"*x*",
    ],
)  # fmt: skip
@pytest.mark.parametrize("tail", [b"", b" a", b" *"])
def test_other_options_of_a_watch_are_refused(options: bytes, tail: bytes) -> None:
    with pytest.raises(Usage):
        watches.patterns(options + tail, MAX_VALUE)
    for parse in (watches.resume, watches.follow):
        with pytest.raises(Usage):
            parse(b"7@s " + options + tail, MAX_VALUE)


@pytest.mark.parametrize("rest", [b"a *keys", b"* *only=SET", b"**", b"a*b"])
def test_what_is_no_option_must_be_a_pattern(rest: bytes) -> None:
    with pytest.raises(BadKey):
        watches.patterns(rest, MAX_VALUE)


@pytest.mark.parametrize(
    ("parse", "rest", "request_"),
    [
        (requests.read, b"k", Read(b"k")),
        (requests.set_, b"k v", Put(b"k", TEXT, b"v")),
        (requests.set_, b"k ", Put(b"k", TEXT, b"")),
        (requests.set_, b"k  two  spaces ", Put(b"k", TEXT, b" two  spaces ")),
        (requests.set_, b"k ttl=5 = v", Put(b"k", TEXT, b"ttl=5 = v")),
        (requests.put, b"k = v", Put(b"k", TEXT, b"v")),
        (requests.put, b"k =", Put(b"k", TEXT, b"")),
        (requests.put, b"k = ", Put(b"k", TEXT, b"")),
        (requests.put, b"k =  ", Put(b"k", TEXT, b" ")),
        (requests.put, b"k = = if=0 = ", Put(b"k", TEXT, b"= if=0 = ")),
        (requests.put, b"= = v", Put(b"=", TEXT, b"v")),
        (requests.put, b"if=0 = v", Put(b"if=0", TEXT, b"v")),
        (requests.put, b"k ttl=1.5 if=7 = v", Put(b"k", TEXT, b"v", 1500, b"7")),
        (requests.put, b"k if=7@abc ttl=1.5 = v", Put(b"k", TEXT, b"v", 1500, b"7@abc")),
        (requests.put, b"k base64 ttl=1 if=0 = AAE=", Put(b"k", BYTES, b"\x00\x01", 1000, b"0")),
        (requests.put, b"k if=0 ttl=1 base64=2 = AAE=", Put(b"k", BYTES, b"\x00\x01", 1000, b"0")),
        (requests.put, b"k base64 = aGk=", Put(b"k", TEXT, b"hi")),
        (requests.put, b"k base64 =", Put(b"k", TEXT, b"")),
        (requests.put, b"k base64=0 =", Put(b"k", TEXT, b"")),
        (requests.put, b"q/* = v", Put(b"q/*", TEXT, b"v", 0, NUMBERED)),
        (requests.put, b"* base64 ttl=1 = AAE=", Put(b"*", BYTES, b"\x00\x01", 1000, NUMBERED)),
        (requests.put, b"k" * 496 + b"* = v", Put(b"k" * 496 + b"*", TEXT, b"v", 0, NUMBERED)),
        (requests.put, b"k with=o = v", Put(b"k", TEXT, b"v", 0, b"", b"o")),
        (requests.put, b"k base64=2 if=0 with=with=o = AAE=", Put(b"k", BYTES, b"\x00\x01", 0, b"0", b"with=o")),
        (requests.put, b"q/* with=o = v", Put(b"q/*", TEXT, b"v", 0, NUMBERED, b"o")),
        (requests.delete, b"k", Delete(b"k")),
        (requests.delete, b"k if=0", Delete(b"k", b"0")),
        (requests.delete, b"k if=7@s", Delete(b"k", b"7@s")),
        (requests.touch, b"k ttl=0.001", Touch(b"k", 1)),
        (requests.touch, b"k ttl=-", Touch(b"k", 0)),
        (requests.touch, b"k if=7@s ttl=1", Touch(b"k", 1000, b"7@s")),
        (requests.touch, b"k ttl=- if=0", Touch(b"k", 0, b"0")),
        (requests.check, b"k", Check(b"k")),
        (requests.check, b"k if=0", Check(b"k", b"0")),
        (requests.check, b"k if=7@s", Check(b"k", b"7@s")),
        (requests.check, b"k* if=0", CheckNone(b"k*")),
        (requests.check, b"* if=0", CheckNone(b"*")),
        (requests.check, b"k since=7@s", CheckSince(b"k", Position(7, b"s"))),
        (requests.check, b"k* since=0@s", CheckSince(b"k*", Position(0, b"s"))),
        (requests.increment, b"k", Increment(b"k", b"1")),
        (requests.increment, b"k -5", Increment(b"k", b"-5")),
        (requests.key_range, None, KeyRange(b"*")),
        (requests.key_range, b"*", KeyRange(b"*")),
        (requests.key_range, b"a/*", KeyRange(b"a/*")),
        (requests.key_range, b"a", KeyRange(b"a")),
        (requests.key_range, b"* after=k limit=7", KeyRange(b"*", b"k", 7)),
        (requests.key_range, b"* limit=7 after=k", KeyRange(b"*", b"k", 7)),
        (requests.key_range, b"* with=o limit=7", KeyRange(b"*", b"", 7, owner=b"o")),
        (requests.key_range, b"* after=after=x", KeyRange(b"*", b"after=x")),
        (requests.key_range, b"* limit=9007199254740991", KeyRange(b"*", b"", 2**53 - 1)),
        (requests.count, None, KeyRange(b"*")),
        (requests.count, b"a*", KeyRange(b"a*")),
        (watches.patterns, None, Watch((b"*",))),
        (watches.patterns, b"a a/* *", Watch((b"a", b"a/*", b"*"))),
        (requests.text, None, Ping()),
        (requests.text, b"", Ping(b"")),
        (requests.text, b" a  b ", Ping(b" a  b ")),
        (requests.verb, None, Help()),
        (requests.verb, b"get", Help(b"GET")),
        (requests.nothing, None, Nothing()),
    ],
)
def test_a_request_is_taken(parse: Parse, rest: bytes | None, request_: Request) -> None:
    assert parse(rest, MAX_VALUE) == request_


# ---- what is refused


@pytest.mark.parametrize(
    ("parse", "rest", "error"),
    [
        (requests.read, None, Usage),
        (requests.read, b"", BadKey),
        (requests.read, b"k ", Usage),
        (requests.read, b" k", Usage),
        (requests.read, b"k k", Usage),
        (requests.read, b"k*", BadKey),
        (requests.set_, None, Usage),
        (requests.set_, b"", Usage),
        (requests.set_, b"k", Usage),
        (requests.set_, b" v", BadKey),
        (requests.set_, b"k* v", BadKey),
        (requests.set_, b"k \x00", BadValue),
        (requests.set_, b"k " + b"x" * (MAX_VALUE + 1), TooLong),
        (requests.put, None, Usage),
        (requests.put, b"k", Usage),
        (requests.put, b"k v", Usage),
        (requests.put, b"k =v", Usage),
        (requests.put, b"k if=0", Usage),
        (requests.put, b"k if=0 =v", Usage),
        (requests.put, b" = v", BadKey),
        (requests.put, b"=", Usage),
        (requests.put, b"k  = v", Usage),
        (requests.put, b"k if = v", Usage),
        (requests.put, b"k if= = v", Usage),
        (requests.put, b"k ttl=- = v", Usage),
        (requests.put, b"k IF=0 = v", Usage),
        (requests.put, b"k if=0 if=0 = v", Usage),
        (requests.put, b"k base64 base64 = v", Usage),
        (requests.put, b"k base64 base64=1 = v", Usage),
        (requests.put, b"k base64= = aGk=", Usage),
        (requests.put, b"k base64=3 = aGk=", BadValue),
        (requests.put, b"k base64 = aGk", BadValue),
        (requests.put, b"k base64 = a\x00k=", BadValue),
        (requests.put, b"k = \xff", BadValue),
        (requests.put, b"k a b c d e f g = v", Usage),
        (requests.delete, None, Usage),
        (requests.delete, b"", BadKey),
        (requests.delete, b"k k", Usage),
        (requests.delete, b"k ", Usage),
        (requests.delete, b"k if=1 if=1", Usage),
        (requests.delete, b"k ttl=1", Usage),
        (requests.touch, None, Usage),
        (requests.touch, b"k", Usage),
        (requests.touch, b"k 5", Usage),
        (requests.put, b"k with=o ttl=1 = v", Usage),
        (requests.put, b"k ttl=1 with=o = v", Usage),
        (requests.put, b"k with=o with=o = v", Usage),
        (requests.put, b"k with=k = v", Usage),
        (requests.put, b"k with= = v", Usage),
        (requests.put, b"k with=o* = v", BadKey),
        (requests.put, b"k with=o with=", Usage),
        (requests.touch, b"k ttl=", Usage),
        (requests.touch, b"k ttl=0", Usage),
        (requests.touch, b"k ttl=-1", Usage),
        (requests.increment, None, Usage),
        (requests.increment, b"k 1 2", Usage),
        (requests.increment, b"k ", NotANumber),
        (requests.increment, b"k 1.5", NotANumber),
        (requests.increment, b"k 9223372036854775808", Overflow),
        (requests.key_range, b"", BadKey),
        (requests.key_range, b"limit=5", Usage),
        (requests.key_range, b"after=k", Usage),
        (requests.key_range, b"* limit=0", Usage),
        (requests.key_range, b"* limit=9007199254740992", Usage),
        (requests.key_range, b"* limit=5 limit=5", Usage),
        (requests.key_range, b"* after=k*", BadKey),
        (requests.key_range, b"* after=", Usage),
        (requests.key_range, b"* *", Usage),
        (requests.key_range, b"* ", Usage),
        (requests.key_range, b"* with=o*", BadKey),
        (requests.count, b"* with=o", Usage),
        (requests.count, b"", BadKey),
        (requests.count, b"* limit=5", Usage),
        (requests.count, b"a b", Usage),
        (watches.patterns, b"", BadKey),
        (watches.patterns, b"a  b", BadKey),
        (watches.patterns, b"a b*c", BadKey),
        (requests.text, b"\x1b[2J", BadValue),
        (requests.text, b"x" * (MAX_VALUE + 1), TooLong),
        (requests.verb, b"GET SET", Usage),
        (requests.nothing, b"", Usage),
        (requests.nothing, b"x", Usage),
    ],
)
def test_a_request_is_refused(parse: Parse, rest: bytes | None, error: type[Refusal]) -> None:
    with pytest.raises(error) as caught:
        parse(rest, MAX_VALUE)
    assert type(caught.value) is error


def test_a_watch_has_1024_patterns_at_the_most() -> None:
    most = [b"k%d" % number for number in range(MAX_PATTERNS)]
    assert watches.patterns(b" ".join(most), MAX_VALUE) == Watch(tuple(most))
    with pytest.raises(Usage):
        watches.patterns(b" ".join([*most, b"k"]), MAX_VALUE)


def test_of_a_line_of_words_put_looks_at_a_few() -> None:
    """Each look copies the rest: a line of a million words stopped the daemon for ten seconds."""
    looked = 0

    class Counted(bytes):
        def partition(self, separator: bytes, /) -> tuple[bytes, bytes, bytes]:  # type: ignore[override]
            nonlocal looked
            looked += 1
            before, found, after = super().partition(separator)
            return before, found, Counted(after)

    with pytest.raises(Usage):
        requests.put(Counted(b"k " + b"a " * 1000 + b"= v"), MAX_VALUE)
    assert looked < 10


# ---- properties

KEY = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Zs", "Zl", "Zp"], exclude_characters="*"), min_size=1
).map(str.encode)
PATTERN = st.just(b"*") | KEY | KEY.map(lambda key: key + b"*")
TEXT_VALUE = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"], include_characters="\t")).map(
    str.encode
)
VALUE = st.binary() | TEXT_VALUE
REVISION = st.integers(0, 2**53 - 1).map(lambda number: b"%d" % number)
CONDITION = REVISION | st.tuples(REVISION, st.just(b"c3d1a7f0")).map(b"@".join)
MILLISECONDS = st.integers(1, 10**12)
INTEGER = st.integers(-(2**63) + 1, 2**63 - 1).map(lambda number: b"%d" % number)


def in_seconds(milliseconds: int) -> bytes:
    return b"%d.%03d" % divmod(milliseconds, 1000)


@pytest.mark.slow
@given(
    KEY, VALUE, st.none() | MILLISECONDS, st.none() | CONDITION, st.sampled_from(["", "base64", "length"]), st.randoms()
)
def test_put_round_trip(
    key: bytes,
    value: bytes,
    ttl: int | None,
    condition: bytes | None,
    form: str,
    order: Random,
) -> None:
    if not form and kind_of(value) == BYTES:
        form = "length"
    options = [b"ttl=" + in_seconds(ttl)] if ttl else []
    options += [b"if=" + condition] if condition else []
    options += [b"base64" if form == "base64" else b"base64=%d" % len(value)] if form else []
    order.shuffle(options)
    rest = b" ".join([key, *options, b"=", base64.b64encode(value) if form else value])
    assert requests.put(rest, MAX_VALUE) == Put(key, kind_of(value), value, ttl or 0, condition or b"")


@given(KEY, TEXT_VALUE)
def test_set_round_trip(key: bytes, value: bytes) -> None:
    assert requests.set_(key + b" " + value, MAX_VALUE) == Put(key, TEXT, value)


@given(KEY, CONDITION, MILLISECONDS, INTEGER)
def test_other_writes_round_trip(key: bytes, condition: bytes, ttl: int, amount: bytes) -> None:
    assert requests.delete(key, MAX_VALUE) == Delete(key)
    assert requests.delete(key + b" if=" + condition, MAX_VALUE) == Delete(key, condition)
    assert requests.touch(key + b" ttl=" + in_seconds(ttl), MAX_VALUE) == Touch(key, ttl)
    assert requests.increment(key + b" " + amount, MAX_VALUE) == Increment(key, amount)
    assert requests.read(key, MAX_VALUE) == Read(key)


@given(PATTERN, KEY, st.integers(1, 2**53 - 1))
def test_listing_round_trip(pattern: bytes, after: bytes, limit: int) -> None:
    if pattern.startswith((b"after=", b"limit=")):
        return
    rest = b"%b after=%b limit=%d" % (pattern, after, limit)
    assert requests.key_range(rest, MAX_VALUE) == KeyRange(pattern, after, limit)
    assert requests.count(pattern, MAX_VALUE) == KeyRange(pattern)


@pytest.mark.slow
@given(st.lists(PATTERN, min_size=1))
def test_watch_round_trip(patterns: list[bytes]) -> None:
    assert watches.patterns(b" ".join(patterns), MAX_VALUE) == Watch(tuple(patterns))


NEAR_MISSES = [
    b"k", b"*", b"", b"=", b"if=0", b"if=", b"ttl=1", b"ttl=-", b"base64", b"base64=1", b"limit=1", b"after=k", b"a*b",
    b"\xff", b"\x00", b"aa==", b"1", b"-1", b"9" * 30,
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("parse", PARSERS)
@given(rest=st.none() | st.binary() | st.lists(st.sampled_from(NEAR_MISSES)).map(b" ".join))
def test_nothing_but_refusals_is_raised_and_their_texts_can_stand_in_a_line(parse: Parse, rest: bytes | None) -> None:
    text = ""
    try:
        parse(rest, MAX_VALUE)
    except Refusal as error:
        text = str(error)
    assert text.isprintable()
    assert text.isascii()
