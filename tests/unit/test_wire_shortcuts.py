"""kvd.wire.shortcuts: what is recognised whole means the same line by line."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd.errors import KvdError
from kvd.model import TEXT
from kvd.requests import Put, Read, Request
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
    st.sampled_from([b"GET", b"SET", b"PUT", b"gets", b"set"]),
    st.one_of(st.sampled_from([b"a", b"a =", b"k" * 512, b"k" * 513, b"a*", b""]), st.binary(max_size=4)),
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


def pair(line: bytes) -> tuple[bytes, bytes, bytes]:
    """A put's key, kind and value, as the write script takes them from a line."""
    key, value = line.split(b" ", 1)
    return key, TEXT, value


@given(chunks)
def test_what_is_recognised_means_the_same_line_by_line(chunk: bytes) -> None:
    word = chunk.split(b" ")[0]
    if word in READERS and (keys := shortcuts.reads(word, chunk)) is not None and shortcuts.are_keys(keys):
        assert line_by_line(chunk) == [Read(key) for key in keys]
    if (found := shortcuts.sets(chunk, MAX_VALUE)) is not None:
        keys, text = found
        puts = [Put(*pair(line)) for line in text.removesuffix(b"\n").split(b"\n")]
        assert line_by_line(chunk) == puts
        assert keys == [put.key for put in puts]


@given(st.lists(st.text(re.sub(r"\*", "", "".join(map(chr, range(33, 127)))), min_size=1, max_size=20), min_size=1))
def test_plain_chunks_are_recognised(keys: list[str]) -> None:
    names = [key.encode() for key in keys]
    assert shortcuts.reads(b"GET", b"".join(b"GET %b\n" % name for name in names)) == names
    assert shortcuts.reads(b"GET", b"".join(b"GET %b\r\n" % name for name in names)) == names
    assert shortcuts.are_keys(names)
    for word in READERS:
        assert shortcuts.reads(word, b"".join(b"%b %b\n" % (word, name) for name in names)) == names
    pairs = [word for name in names for word in (name, b" a  \xc3\xa9\t" + name)]
    chunk = b"".join(b"SET %b %b\r\n" % pair for pair in zip(pairs[::2], pairs[1::2], strict=True))
    lines = b"".join(b"%b %b\n" % pair for pair in zip(pairs[::2], pairs[1::2], strict=True))
    assert shortcuts.sets(chunk, MAX_VALUE) == (names, lines)
    chunk = b"".join(b"PUT %b = %b\n" % pair for pair in zip(pairs[::2], pairs[1::2], strict=True))
    assert shortcuts.sets(chunk, MAX_VALUE) == (names, lines)


@given(chunks)
def test_what_stands_for_keys_is_found_nowhere_among_keys_unless_all_is_plain(chunk: bytes) -> None:
    """So that whoever knows some keys need not look whether these are any."""
    known = {b"a", b"\xc3\xa9", b"k" * 512}
    words = shortcuts.reads(b"GET", chunk)
    if words is not None and known.issuperset(words):
        assert line_by_line(chunk) == [Read(key) for key in words]


@pytest.mark.parametrize(
    "chunk", [b"", b"\n", b"GET a", b"GET a\nGET b", b"GET", b"GET a\nPING\n", b"GET a\nb\nGET c\n"]
)
def test_these_are_no_plain_reads(chunk: bytes) -> None:
    assert shortcuts.reads(b"GET", chunk) is None


@pytest.mark.parametrize(
    "chunk", [b"GET  a\n", b"GET a b\n", b"GET \n", b"GET a*\n", b"GET a\r\r\n", b"GET a\n\nGET b\n"]
)
def test_these_are_reads_of_what_are_no_keys(chunk: bytes) -> None:
    words = shortcuts.reads(b"GET", chunk)
    assert words is None or not shortcuts.are_keys(words)


@pytest.mark.parametrize(
    "chunk", [b"SET a\n", b"SET a b", b"SET a* b\n", b"SET a b\nGET a\n", b"SET a \xff\n", b"SET a \r \n"]
)
def test_these_are_no_plain_writes(chunk: bytes) -> None:
    assert shortcuts.sets(chunk, MAX_VALUE) is None


def test_a_value_over_the_limit_is_not_plain() -> None:
    assert shortcuts.sets(b"SET a 12345\n", 5) == ([b"a"], b"a 12345\n")
    assert shortcuts.sets(b"SET a 12345\n", 4) is None
    assert shortcuts.sets(b"SET a %b\n" % (b"x" * 4097), MAX_VALUE) is None
