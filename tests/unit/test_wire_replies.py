"""kvd.wire.replies: the lines as protocol.txt has them; none carries what a line must not."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd.errors import REFUSALS, NotAClient, Refusal
from kvd.model import BYTES, TEXT, Change, Position, Record
from kvd.verbs import VERBS, explain, find
from kvd.wire import replies
from kvd.wire.words import kind_of
from tests.support.text import FORBIDDEN


def record(value: bytes, deadline: bytes = b"0") -> Record:
    return Record(b"7", deadline, kind_of(value), value)


# ---- the lines


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (replies.OK, b"OK\n"),
        (replies.NONE, b"NONE\n"),
        (replies.ok(b""), b"OK \n"),
        (replies.ok(b"7@s"), b"OK 7@s\n"),
        (replies.value(None), b"NONE\n"),
        (replies.value(record(b"")), b"OK \n"),
        (replies.value(record(b" a b ")), b"OK  a b \n"),
        (replies.value(record(b"\x00\xff")), b"OK64 AP8=\n"),
        (replies.value_with_revision(None), b"NONE\n"),
        (replies.value_with_revision(record(b"")), b"OK 7 \n"),
        (replies.value_with_revision(record(b"a b")), b"OK 7 a b\n"),
        (replies.value_with_revision(record(b"\x00\xff")), b"OK64 7 AP8=\n"),
        (replies.key(b"k"), b"KEY k\n"),
        (replies.pair(b"k", record(b"")), b"PAIR 7 k \n"),
        (replies.pair(b"k", record(b"a b")), b"PAIR 7 k a b\n"),
        (replies.pair(b"k", record(b"\x00\xff")), b"PAIR64 7 k AP8=\n"),
        (replies.change(Change(7, b"SET", b"k", TEXT, b"a b"), b"s"), b"CHANGE 7@s SET k a b\n"),
        (replies.change(Change(7, b"SET", b"k", TEXT, b""), b"s"), b"CHANGE 7@s SET k \n"),
        (replies.change(Change(7, b"SET", b"k", BYTES, b"\x00\xff"), b"s"), b"CHANGE 7@s SET64 k AP8=\n"),
        (replies.change_size(Change(7, b"SET", b"k", BYTES, b"\x00\xff"), b"s"), b"CHANGE 7@s SIZE k 2\n"),
        (replies.change_size(Change(7, b"SET", b"k", apart=5000), b"s"), b"CHANGE 7@s SIZE k 5000\n"),
        (replies.changed_size(Change(7, b"SET", b"k"), b"s"), b"CHANGED 7@s SIZE k 0\n"),
        (replies.change(Change(7, b"DEL", b"k"), b"s"), b"CHANGE 7@s DEL k\n"),
        (replies.change(Change(7, b"EXPIRE", b"k"), b"s"), b"CHANGE 7@s EXPIRE k\n"),
        (replies.end(Position(7, b"s"), "store", "why"), b"END 7@s store why\n"),
        (replies.items("HELP", ["a  b", ""]), b"HELP a  b\nHELP\n"),
        (replies.written(b"7"), b"OK 7\n"),
        (replies.written(b"-7"), b"OK -7\n"),
        (replies.written(b"t"), b"OK\n"),
        (replies.written(b"n"), b"NONE\n"),
        (replies.written(b"c7"), b"CONFLICT 7\n"),
        (replies.written(b"c0"), b"CONFLICT 0\n"),
    ],
)
def test_a_line_is_as_the_page_has_it(line: bytes, wanted: bytes) -> None:
    assert line == wanted


@pytest.mark.parametrize(
    ("outcome", "code"),
    [(b"a", "not-a-number"), (b"o", "overflow"), (b"f", "unavailable"), (b"l", "usage"), (b"b", "usage"),
     (b"m", "too-long"), (b"x", "too-long"), (b"u", "unavailable"), (b"U", "uncertain")],
)  # fmt: skip
def test_what_a_write_is_refused_for_is_an_error(outcome: bytes, code: str) -> None:
    assert replies.written(outcome).startswith(b"ERR %b " % code.encode())


@pytest.mark.parametrize("code", REFUSALS)
def test_an_error_has_its_code_and_a_text(code: str) -> None:
    assert replies.refused(REFUSALS[code]("what is wrong")) == f"ERR {code} what is wrong\n".encode()


# ---- seconds


@pytest.mark.parametrize(
    ("milliseconds", "seconds"),
    [(1, b"0.001"), (10, b"0.01"), (100, b"0.1"), (1000, b"1"), (10_000, b"10"), (1500, b"1.5"), (90498, b"90.498"),
     (10**12, b"1000000000"), (10**12 - 1, b"999999999.999")],
)  # fmt: skip
def test_seconds_are_the_shortest_plain_decimal(milliseconds: int, seconds: bytes) -> None:
    assert replies.seconds(milliseconds) == seconds


@pytest.mark.parametrize(
    ("deadline", "now", "wanted"),
    [
        (b"0", 5000, b"OK -\n"),
        # Nobody reads more than was asked for, though the store adds a millisecond.
        (b"65001", 5000, b"OK 60\n"),
        (b"65001", 5001, b"OK 59.999\n"),
        # What is there has time left.
        (b"5001", 5000, b"OK 0.001\n"),
        (b"5002", 5000, b"OK 0.001\n"),
    ],
)
def test_the_time_that_is_left(deadline: bytes, now: int, wanted: bytes) -> None:
    assert replies.ttl(record(b"v", deadline), now) == wanted


def test_the_time_that_is_left_of_no_key() -> None:
    assert replies.ttl(None, 5000) == b"NONE\n"


# ---- properties

VALUE = st.binary() | st.text(st.characters(codec="utf-8")).map(str.encode)
ODD = st.text(st.sampled_from("a \t\x00\x1b\x7f\x85\u2028\u2029\n\r")).map(str.encode)
KEY = st.sampled_from([b"k", "é".encode(), b"=", "\u200b🔑".encode()])


def is_a_line(raw: bytes) -> bool:
    """Whether these are whole lines that carry nothing forbidden; raises if they are not UTF-8."""
    *lines, rest = raw.decode().split("\n")
    return not rest and not any(ord(character) in FORBIDDEN for line in lines for character in line)


def decoded(line: bytes, words: int) -> tuple[list[bytes], bytes]:
    """As section 13 tells clients to do it: `words` words, and the value that follows."""
    assert line.endswith(b"\n")
    *found, rest = line[:-1].split(b" ", words)
    return found, base64.b64decode(rest) if b"64" in found[0] or b"64" in found[-2] else rest


@given(KEY, VALUE | ODD)
def test_values_come_back_from_every_line_that_carries_one(key: bytes, value: bytes) -> None:
    kept = record(value)
    mark = b"" if kept.kind == TEXT else b"64"
    assert decoded(replies.value_with_revision(kept), 2) == ([b"OK" + mark, b"7"], value)
    assert decoded(replies.pair(key, kept), 3) == ([b"PAIR" + mark, b"7", key], value)
    change = replies.change(Change(7, b"SET", key, kept.kind, value), b"s")
    assert decoded(change, 4) == ([b"CHANGE", b"7@s", b"SET" + mark, key], value)
    word, _, rest = replies.value(kept)[:-1].partition(b" ")
    assert (word, base64.b64decode(rest) if mark else rest) == (b"OK" + mark, value)


@given(KEY, VALUE | ODD)
def test_no_line_carries_what_a_line_must_not(key: bytes, value: bytes) -> None:
    kept = record(value)
    assert is_a_line(replies.value(kept))
    assert is_a_line(replies.value_with_revision(kept))
    assert is_a_line(replies.pair(key, kept))
    assert is_a_line(replies.change(Change(7, b"SET", key, kept.kind, value), b"s"))


@given(st.sampled_from([*VERBS, b"", b"FROB", b"\x1b[2J"]), st.sampled_from([b"", b" "]), VALUE | ODD)
def test_no_error_repeats_what_a_line_must_not_carry(verb: bytes, space: bytes, rest: bytes) -> None:
    try:
        row, tail = find(verb + space + rest)
        arguments = row.parse(tail, 99)
        if row.name == "HELP":
            explain(arguments.verb)  # type: ignore[union-attr]
    except Refusal as error:
        line = replies.refused(error)
        assert is_a_line(line)
        assert line.count(b"\n") == 1
    except NotAClient:
        pass
