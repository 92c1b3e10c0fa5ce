"""kvd.wire.lines: the same requests however the bytes are cut, within one line's memory, and no errors but its own."""

import time
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd.errors import NotAClient, Refusal, TooLong
from kvd.verbs import find
from kvd.wire.lines import Line, LineBuffer, is_stranger, max_line

LIMIT = 40


def fed(*chunks: bytes, limit: int = LIMIT) -> list[Line]:
    """What comes out of chunks."""
    buffer = LineBuffer(limit)
    return [item for chunk in chunks for item in buffer.feed(chunk)]


def kinds(items: Iterable[Line]) -> list[bytes | type]:
    """Lines as they are, errors as their classes."""
    return [item if isinstance(item, bytes) else type(item) for item in items]


def requests(items: Iterable[Line]) -> list[object]:
    """What a session makes of lines: requests and error codes, up to whatever closes the connection."""
    made: list[object] = []
    for item in items:
        try:
            if not isinstance(item, bytes):
                raise item
            verb, rest = find(item)
            made.append((verb.name, verb.parse(rest, LIMIT)))
        except Refusal as error:
            made.append(error.word)
        except NotAClient:
            made.append(NotAClient)
            break
    return made


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


# ---- lines


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"GET a", []),
        (b"GET a\n", [b"GET a"]),
        (b"GET a\r\n", [b"GET a"]),
        (b"GET a\nGET b\r\nGET", [b"GET a", b"GET b"]),
        (b"\n\r\n\n", [b"", b"", b""]),
        (b"SET k \n", [b"SET k "]),
        (b"a\r\r\n", [b"a\r"]),
        (b"a\rb\n", [b"a\rb"]),
        (b"\rGET a\n", [b"\rGET a"]),
        (b"a\r", []),
        ("é\u2028\x85\n".encode(), ["é\u2028\x85".encode()]),
        (b"a\x0bb\x0cc\x1c \x00\n", [b"a\x0bb\x0cc\x1c \x00"]),
        (b"GET a\n\xfe\n", [b"GET a", b"\xfe"]),
    ],
)
def test_lines_end_at_lf_and_nowhere_else(data: bytes, lines: list[bytes]) -> None:
    assert fed(data) == lines
    assert fed(*bytewise(data)) == lines


# ---- lines over the limit


@pytest.mark.parametrize(
    ("data", "items"),
    [
        (b"x" * LIMIT + b"\n", [b"x" * LIMIT]),
        (b"x" * LIMIT + b"\r\n", [b"x" * LIMIT]),
        (b"x" * LIMIT + b"\r", []),
        (b"x" * LIMIT + b"\r\r\n", [TooLong]),
        (b"x" * LIMIT + b"\ry\n", [TooLong]),
        (b"x" * (LIMIT + 1), [TooLong]),
        (b"x" * (LIMIT + 1) + b"\n", [TooLong]),
        (b"x" * (LIMIT + 1) + b"\r\n", [TooLong]),
        (b"x" * 9999 + b"\nGET a\n" + b"y" * 9999 + b"\nGET b\n", [TooLong, b"GET a", TooLong, b"GET b"]),
        (b"GET a\n" + b"x" * 9999 + b"\r\n\r\n", [b"GET a", TooLong, b""]),
        # Only what is kept of a line is looked at, and it may end within a character.
        (("é" * 99 + "\nPING\n").encode(), [TooLong, b"PING"]),
        (b"x" * 9999 + b"\x80POST \n", [TooLong]),
    ],
)
def test_a_line_over_the_limit_is_one_error_and_skipped_to_its_end(data: bytes, items: list[bytes | type]) -> None:
    assert kinds(fed(data)) == items
    assert kinds(fed(*bytewise(data))) == items


def test_the_limit_leaves_room_for_a_value_in_base64() -> None:
    assert max_line(1 << 20) == 1398102 + 2048
    assert max_line(1) == 2 + 2048


# ---- what no client sends


@pytest.mark.parametrize(
    ("data", "before"),
    [
        (b"POST / HTTP/1.1\r\n", []),
        (b"POST ", []),
        (b"GET a\nPOST / HTTP/1.1\r\n", ["GET"]),
        (b"host: x\r\n", []),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", []),
        (b"PING\nGET / HTTP/1.1\r\nHost: x\r\n", ["PING", "usage"]),
        (b"GET a\nhOsT:", ["GET"]),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", []),
        (b"GET a\nPROXY ", ["GET"]),
        (b"POST " + b"x" * 9999 + b"\n", []),
        (b"GET a\nPOST " + b"x" * 9999 + b"\nGET b\n", ["GET"]),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", []),
        (b"\x80\n", []),
        (b"GET \xc3\n", []),
        (b"GET \xed\xa0\x80\n", []),
        (b"x" * (LIMIT - 1) + b"\x80" + b"x" * 99, []),
        (b"\xff", []),
        (b"GET a\nGET b\xff", ["GET"]),
        (b"GET a\n\xff\xf4\xff\xfd\x06", ["GET"]),
        (b"GET a\n" + b"x" * 99 + b"\xff", ["GET", "too-long"]),
    ],
)
def test_what_no_client_sends_ends_the_input(data: bytes, before: list[str]) -> None:
    """Complete lines before it come out; nothing of it, and nothing behind it."""
    behind = b"\nSET k v\nGET a\nPOST / HTTP/1.1\n\xff\n"
    for chunks in ([data], bytewise(data), [data + behind], bytewise(data + behind), [data, behind]):
        *made, last = requests(fed(*chunks))
        assert [request[0] if isinstance(request, tuple) else request for request in made] == before
        assert last is NotAClient


@pytest.mark.parametrize(
    "line", [b"POST", b"POS", b"post / HTTP/1.1", b"Post x", b"PROXY", b"proxy x", b"hosts:", b" host:"]
)
def test_what_only_resembles_it_does_not(line: bytes) -> None:
    assert not is_stranger(line)
    # A first line of HTTP is something else.
    data = b"PING\n" + line + b"\nPING\n"
    assert fed(data) == [b"PING", line, b"PING"]
    assert fed(*bytewise(data)) == [b"PING", line, b"PING"]


def test_invalid_utf8_ends_the_input_in_the_first_line_only() -> None:
    assert fed(b"PING\n\xc3\nGET \x80\n") == [b"PING", b"\xc3", b"GET \x80"]
    assert kinds(fed(b"x" * 99 + b"\n\x80\n")) == [TooLong, b"\x80"]


def test_nothing_comes_out_after_the_end() -> None:
    buffer = LineBuffer(LIMIT)
    assert kinds(buffer.feed(b"\xff")) == [NotAClient]
    assert buffer.feed(b"PING\n") == []
    assert buffer.feed(b"\xff\n") == []


# ---- properties

FRAGMENTS = [
    b"GET a", b"SET k ", b"PUT k ttl=1 base64 = ", b"KEYS", b"QUIT", b" ", b"=", b"\n", b"\n", b"\n", b"\r\n",
    b"\r\n", b"\r", b"\xff", b"\x80", b"\xc3", b"\xa9", b"\xf0\x9f", b"\x94\x91", "é".encode(), "\u2028".encode(),
    b"\x00", b"\t", b"POST ", b"POST", b"Host:", b"host", b":", b"PROXY ", b"x" * (LIMIT // 2), b"x" * LIMIT,
    b"y" * (3 * LIMIT),
]  # fmt: skip
INPUT = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=4)).map(b"".join)
# Most inputs end at a first line that is not UTF-8, or at 0xFF; so that others get far:
CALM = st.lists(st.sampled_from([each for each in FRAGMENTS if each.isascii()])).map(b"".join)


@st.composite
def cut(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """Bytes, and the same bytes in pieces."""
    data = draw(INPUT | CALM)
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return data, [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@given(cut())
def test_any_cutting_gives_the_same_requests(data: tuple[bytes, list[bytes]]) -> None:
    whole, pieces = data
    wanted = requests(fed(whole))
    assert requests(fed(*pieces)) == wanted
    assert requests(fed(*bytewise(whole))) == wanted


@given(cut())
def test_no_more_than_one_line_is_kept(data: tuple[bytes, list[bytes]]) -> None:
    _, pieces = data
    buffer = LineBuffer(LIMIT)
    for piece in pieces:
        buffer.feed(piece)
        # One more for a CR that may yet belong to the line's end.
        assert len(buffer._open) <= LIMIT + 1


@given(CALM)
def test_calm_input_is_split_as_python_splits_it(data: bytes) -> None:
    """Against the obvious way to do it, without limits."""
    if b"POST " in data or b"PROXY " in data or b"host:" in data.lower():
        return
    # Not every first line is taken.
    data = b"PING\n" + data
    lines = [line.removesuffix(b"\r") for line in data.split(b"\n")[:-1]]
    assert fed(data, limit=10**6) == lines


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_empty_lines_before_the_first_one_cost_what_others_cost(end: bytes) -> None:
    """Found: 64 KiB of them, from each of 50 connections, kept a new one waiting for 19 s."""

    def cost(first: bytes) -> float:
        buffer = LineBuffer(1000)
        buffer.feed(first)
        began = time.perf_counter()
        assert buffer.feed(end * 65536) == [b""] * 65536
        return time.perf_counter() - began

    assert min(cost(b"") for _ in range(3)) < 10 * min(cost(b"PING\n") for _ in range(3))
