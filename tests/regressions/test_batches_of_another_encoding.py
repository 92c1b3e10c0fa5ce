"""Reported: a batch that is not UTF-8, or begins with a byte order mark, or whose last line has no end, was dropped
without a word."""

import socket
import subprocess

import pytest

from tests.support.peers import Peer
from tests.support.processes import Daemon, needs

pytestmark = pytest.mark.slow

BATCH = "SET a 1\nSET b naïve €\nGET a\n"
UNENDED = "ERR usage the last line has no line end and was not run"
ENCODINGS = {
    "utf-16": "UTF-16", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16", "utf-32-be": "UTF-16", "utf-32": "UTF-16",
    "utf-8-sig": "byte order mark",
}  # fmt: skip


def send(peer: Peer, data: bytes, bytewise: bool) -> None:
    peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for piece in [bytes([byte]) for byte in data] if bytewise else [data]:
        peer.send(piece)


def run(daemon: Daemon, data: bytes, bytewise: bool) -> list[str]:
    """What a client gets that sends a batch and shuts down its sending side."""
    with daemon.connect() as peer:
        send(peer, data, bytewise)
        peer.socket.shutdown(socket.SHUT_WR)
        return peer.rest()


def count(daemon: Daemon) -> str:
    with daemon.connect() as peer:
        return peer.ask("COUNT")


BYTEWISE = pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])


@BYTEWISE
def test_a_batch_in_another_encoding_is_named(bytewise: bool, daemon: Daemon) -> None:
    for encoding, name in ENCODINGS.items():
        (reply,) = run(daemon, BATCH.encode(encoding), bytewise)
        assert reply.startswith("ERR usage ")
        assert name in reply
    assert count(daemon) == "OK 0"


@BYTEWISE
def test_a_first_line_that_is_not_utf8_is_named(bytewise: bool, daemon: Daemon) -> None:
    for first in (b"SET a caf\xe9\n", b"SET a caf\xe9 au lait\n", b"SET a \x80", b"\xfe\x00S"):
        (reply,) = run(daemon, first + BATCH.encode(), bytewise)
        assert reply.startswith("ERR usage the first line is not UTF-8 ")
    assert count(daemon) == "OK 0"


@BYTEWISE
def test_a_byte_order_mark_in_a_later_line_is_one_error(bytewise: bool, daemon: Daemon) -> None:
    """Files that were joined: the others are done."""
    replies = run(daemon, b"SET a 1\n\xef\xbb\xbfSET b 2\nSET c 3\n", bytewise)
    assert replies == [
        "OK 1", "ERR unknown-verb the line begins with a byte order mark; send UTF-8 without one", "OK 2",
    ]  # fmt: skip


@BYTEWISE
def test_a_byte_order_mark_in_a_value_is_a_value(bytewise: bool, daemon: Daemon) -> None:
    assert run(daemon, "SET a \ufeff1\nGET a\n".encode(), bytewise) == ["OK 1", "OK \ufeff1"]


@BYTEWISE
def test_a_last_line_without_its_end_is_told(bytewise: bool, daemon: Daemon) -> None:
    for rest in (b"SET b 2", b"SET b 2\r", b"QUIT", b"x", b" ", b"\xef\xbb", b"PING \xc3"):
        for before in (b"", b"SET a 1\n", b"BEGIN\nSET a 1\n", b"PING\r\n\r\n"):
            replies = run(daemon, before + rest, bytewise)
            assert replies[-1] == UNENDED
            assert len(replies) == before.count(b"\n") + 1
    assert count(daemon) == "OK 1"


@BYTEWISE
def test_no_rest_is_no_line(bytewise: bool, daemon: Daemon) -> None:
    assert run(daemon, b"", bytewise) == []
    assert run(daemon, b"SET a 1\n", bytewise) == ["OK 1"]
    assert run(daemon, b"GET a\r\n", bytewise) == ["OK 1"]
    assert run(daemon, b"GET a\nQUIT\nGET", bytewise) == ["OK 1", "OK bye"]


def test_a_line_that_was_too_long_has_its_one_error(daemon: Daemon) -> None:
    (reply,) = run(daemon, b"SET a " + b"x" * 2_000_000, bytewise=False)
    assert reply.startswith("ERR too-long ")


def test_a_watch_goes_on_behind_it(daemon: Daemon) -> None:
    with daemon.connect() as peer, daemon.connect() as other:
        peer.send("WATCH\nSET a 1")
        peer.socket.shutdown(socket.SHUT_WR)
        assert peer.line().startswith("OK 0@")
        assert peer.line() == UNENDED
        assert other.ask("SET b 2") == "OK 1"
        assert peer.line().endswith(" SET b 2")


def test_netcat_shows_it(daemon: Daemon) -> None:
    needs("nc")
    for batch, replies in [
        (r"SET a 1\nGET a", ["OK 1", UNENDED]),
        (r"\xef\xbb\xbfSET a 1\n", ["ERR usage the line begins with a byte order mark; send UTF-8 without one"]),
    ]:
        command = f"printf '{batch}' | nc -N 127.0.0.1 {daemon.port}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines() == replies
