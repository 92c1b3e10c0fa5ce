"""A first line that begins with no verb is no client's, where that is not left open."""

import pytest

from kvd.addresses import address, is_loopback
from kvd.errors import NotAClient, StartError, TooLong
from kvd.settings import read
from kvd.verbs import is_verb
from kvd.wire.lines import Line, LineBuffer


def taken(data: bytes, step: int) -> list[Line]:
    """All lines that come of some bytes, so many at a time."""
    buffer = LineBuffer(100, is_verb)
    return [item for start in range(0, len(data), step) for item in buffer.feed(data[start : start + step])]


def shown(items: list[Line]) -> list[object]:
    return [item if isinstance(item, bytes) else type(item) for item in items]


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"EHLO x\nPING\n", [NotAClient]),
        (b"\r\n\n*1\r\nPING\n", [b"", b"", NotAClient]),
        (b" GET k\nPING\n", [NotAClient]),
        (b"GETX k\nPING\n", [NotAClient]),
        (b"POST / HTTP\nPING\n", [NotAClient]),
        (b"x" * 200 + b"\nPING\n", [NotAClient]),
        (b"get\nFROB\n", [b"get", b"FROB"]),
        (b"\n\nPiNg x\n\nFROB\n", [b"", b"", b"PiNg x", b"", b"FROB"]),
        (b"SET k " + b"x" * 200 + b"\nFROB\n", [TooLong, b"FROB"]),
    ],
)
def test_however_it_comes(data: bytes, wanted: list[object], step: int) -> None:
    assert shown(taken(data, step)) == wanted


def test_a_line_is_between_others_only_after_such_a_line() -> None:
    buffer = LineBuffer(100, is_verb)
    buffer.feed(b"\n")
    assert not buffer.between
    buffer.feed(b"PING\n")
    assert buffer.between


def test_where_other_machines_can_connect_it_is_strict() -> None:
    for text in ("127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "unix:/s", "tls:127.0.0.1:1", "[::ffff:127.0.0.1]:1"):
        assert is_loopback(address(text, ""))
    for text in ("0.0.0.0:1", "[::]:1", "192.0.2.1:1", "tls:192.0.2.1:1", "[fe80::1%eth0]:1"):
        assert not is_loopback(address(text, ""))
    assert read({}, {}).first_line == "auto"
    with pytest.raises(StartError, match="--first-line: invalid value 'lax': expected one of auto, strict, any"):
        read({"--first-line": "lax"}, {})
