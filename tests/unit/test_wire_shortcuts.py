"""kvd.wire.shortcuts: what is recognised whole means the same line by line."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd.errors import KvdError
from kvd.model import BYTES, TEXT
from kvd.requests import Delete, Increment, Put, Read, Request, SimpleSets, Touch, Write
from kvd.store.redis.simple import requests_of
from kvd.verbs import READERS, find
from kvd.wire import shortcuts
from kvd.wire.lines import LineBuffer

MAX_VALUE = 5000

words = st.sampled_from(
    [b"GET", b"SET", b"get", b"PUT", b" ", b"  ", b"\n", b"\r\n", b"\r", b"\t", b"a", b"key*", b"\xc3\xa9", b"\xff",
     b"\xe2\x80\xa8", b"\x00", b"\x7f", b"\xc2\x80", b"k" * 512, b"k" * 513, b"v" * 4096, b"v" * 4097, b"\x0b", b"\x0c"]
)  # fmt: skip
lines = st.builds(
    lambda verb, key, value, end: verb + b" " + key + value + end,
    st.sampled_from([b"GET", b"SET", b"PUT", b"gets", b"set", b"INCR", b"put", b"incr"]),
    st.one_of(
        st.sampled_from(
            [
                b"a",
                b"a =",
                b"a ttl=9 =",
                b"a ttl=1.5 =",
                b"a ttl=0 =",
                b"a ttl=1.0005 =",
                b"a 5",
                b"a -9",
                b"k" * 512,
                b"k" * 513,
                b"a*",
                b"",
            ]
        ),
        st.binary(max_size=4),
    ),
    st.one_of(st.just(b""), st.binary(max_size=6).map(lambda value: b" " + value), words.map(lambda word: b" " + word)),
    st.sampled_from([b"\n", b"\r\n", b""]),
)
chunks = st.one_of(st.lists(words, max_size=12), st.lists(lines, min_size=1, max_size=4)).map(b"".join)


def line_by_line(chunk: bytes) -> list[Request] | None:
    """The requests, if each line is one."""
    buffer = LineBuffer(1 << 20)
    buffer.feed(b"PING\n")
    try:
        found = [find(line) for line in buffer.feed(chunk) if isinstance(line, bytes)]
        requests = [verb.parse(rest, MAX_VALUE) for verb, rest in found]
    except KvdError:
        return None
    return requests if buffer.between and chunk.count(b"\n") == len(requests) else None


@given(chunks)
def test_what_is_recognised_means_the_same_line_by_line(chunk: bytes) -> None:
    word = chunk.split(b" ")[0]
    if word in READERS and (keys := shortcuts.reads(word + b" ", chunk)) is not None and shortcuts.are_keys(keys):
        assert line_by_line(chunk) == [Read(key) for key in keys]
    if (found := shortcuts.writes(chunk, MAX_VALUE)) is not None:
        requests = list(requests_of(found))
        assert line_by_line(chunk) == requests
        assert found.keys == [request.key for request in requests]


@given(st.lists(st.text(re.sub(r"\*", "", "".join(map(chr, range(33, 127)))), min_size=1, max_size=20), min_size=1))
def test_plain_chunks_are_recognised(keys: list[str]) -> None:
    names = [key.encode() for key in keys]
    assert shortcuts.reads(b"GET ", b"".join(b"GET %b\n" % name for name in names)) == names
    assert shortcuts.reads(b"GET ", b"".join(b"GET %b\r\n" % name for name in names)) == names
    assert shortcuts.are_keys(names)
    for word in READERS:
        assert shortcuts.reads(word + b" ", b"".join(b"%b %b\n" % (word, name) for name in names)) == names
    pairs = [word for name in names for word in (name, b" a  \xc3\xa9\t" + name)]
    chunk = b"".join(b"SET %b %b\r\n" % pair for pair in zip(pairs[::2], pairs[1::2], strict=True))
    lines = b"".join(b"%b %b\n" % pair for pair in zip(pairs[::2], pairs[1::2], strict=True))
    assert shortcuts.writes(chunk, MAX_VALUE) == (names, lines)
    chunk = b"".join(b"PUT %b = %b\n" % pair for pair in zip(pairs[::2], pairs[1::2], strict=True))
    assert shortcuts.writes(chunk, MAX_VALUE) == (names, lines)


@given(chunks)
def test_what_stands_for_keys_is_found_nowhere_among_keys_unless_all_is_plain(chunk: bytes) -> None:
    """So that whoever knows some keys need not look whether these are any."""
    known = {b"a", b"\xc3\xa9", b"k" * 512}
    words = shortcuts.reads(b"GET ", chunk)
    if words is not None and known.issuperset(words):
        assert line_by_line(chunk) == [Read(key) for key in words]


@pytest.mark.parametrize(
    "chunk", [b"", b"\n", b"GET a", b"GET a\nGET b", b"GET", b"GET a\nPING\n", b"GET a\nb\nGET c\n"]
)
def test_these_are_no_plain_reads(chunk: bytes) -> None:
    assert shortcuts.reads(b"GET ", chunk) is None


@pytest.mark.parametrize(
    "chunk", [b"GET  a\n", b"GET a b\n", b"GET \n", b"GET a*\n", b"GET a\r\r\n", b"GET a\n\nGET b\n"]
)
def test_these_are_reads_of_what_are_no_keys(chunk: bytes) -> None:
    words = shortcuts.reads(b"GET ", chunk)
    assert words is None or not shortcuts.are_keys(words)


@pytest.mark.parametrize(
    "chunk", [b"SET a\n", b"SET a b", b"SET a* b\n", b"SET a b\nGET a\n", b"SET a \xff\n", b"SET a \r \n"]
)
def test_these_are_no_plain_writes(chunk: bytes) -> None:
    assert shortcuts.writes(chunk, MAX_VALUE) is None


def test_a_value_over_the_limit_is_not_plain() -> None:
    assert shortcuts.writes(b"SET a 12345\n", 5) == ([b"a"], b"a 12345\n")
    assert shortcuts.writes(b"SET a 12345\n", 4) is None
    assert shortcuts.writes(b"SET a %b\n" % (b"x" * 4097), MAX_VALUE) is None


TEXTS = {b"": b"", b"= two": b" = three", "ключ".encode(): b"x" * 4096}
"""Values of two lines in one chunk."""


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize(("one", "other"), TEXTS.items())
def test_puts_are_recognised_with_and_without_a_time_to_live(end: bytes, one: bytes, other: bytes) -> None:
    chunk = b"PUT a = %b%bPUT b = %b%b" % (one, end, other, end)
    assert shortcuts.writes(chunk, MAX_VALUE) == SimpleSets([b"a", b"b"], b"a %b\nb %b\n" % (one, other))
    timed = b"PUT a ttl=1.5 = %b%bPUT b ttl=1.5 = %b%b" % (one, end, other, end)
    assert shortcuts.writes(timed, MAX_VALUE) == (b"1500 2 ", [b"a", one, b"b", other])
    mixed = timed.replace(b"b ttl=1.5", b"b ttl=60")
    assert shortcuts.writes(mixed, MAX_VALUE) == (b"1500 1 60000 1 ", [b"a", one, b"b", other])
    assert shortcuts.writes(b"put a ttl=2 = v" + end, MAX_VALUE) == (b"2000 1 ", [b"a", b"v"])


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_increments_are_recognised(end: bytes) -> None:
    assert shortcuts.writes(b"incr n" + end, MAX_VALUE) == (b"+ 1 ", [b"n", b"1"])
    chunk = end.join([b"INCR n", b"INCR n -5", b"INCR m 0", b""])
    assert shortcuts.writes(chunk, MAX_VALUE) == (b"+ 3 ", [b"n", b"1", b"n", b"-5", b"m", b"0"])


@pytest.mark.parametrize(
    "line",
    [b"PUT a ttl=0 = v", b"PUT a ttl=1. = v", b"PUT a ttl=. = v", b"PUT a ttl=2 if=3 = v", b"PUT a* ttl=2 = v",
     b"PUT a ttl=2 = %b" % (b"x" * 4097), b"PUT a ttl=99999999999 = v", b"PUT a ttl=2 with=b = v", b"INCR n 05",
     b"INCR n 1234567890123456", b"INCR n -0", b"INCR n 1 2", b"INCR n*", b"DEL a", b"TOUCH a ttl=2"],
)  # fmt: skip
def test_these_are_for_the_grammar(line: bytes) -> None:
    for first in (b"", b"PUT c ttl=2 = v\n", b"INCR c\n"):
        assert shortcuts.writes(first + line + b"\n", MAX_VALUE) is None


names = st.sampled_from([b"a", b"b"])
simple_writes: st.SearchStrategy[Put | Increment] = st.one_of(
    st.tuples(names, st.just(TEXT), st.sampled_from([b"", b"v w"]), st.sampled_from([0, 9])).map(lambda put: Put(*put)),
    st.tuples(names, st.sampled_from([b"1", b"-5"])).map(lambda add: Increment(*add)),
)


@given(st.lists(simple_writes, min_size=1, max_size=6))
def test_simple_requests_have_a_simple_form(writes: list[Put | Increment]) -> None:
    simple = shortcuts.as_simple(writes)
    assert simple is not None
    assert list(requests_of(simple)) == writes


@pytest.mark.parametrize(
    "write",
    [Put(b"a", BYTES, b"v"), Put(b"a", TEXT, b"x" * 4097), Put(b"a", TEXT, b"v", 0, b"3"),
     Put(b"a", TEXT, b"v", 0, b"", b"b"), Delete(b"a"), Touch(b"a", 5), Increment(b"a", b"1234567890123456")],
)  # fmt: skip
def test_what_has_none_leaves_its_neighbours_without_one(write: Write) -> None:
    assert shortcuts.as_simple([Put(b"c", TEXT, b"v"), write]) is None
