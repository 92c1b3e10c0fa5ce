"""Reported: `curl -X SET` wrote a key, and lines inside a TLS hello that happened to be UTF-8 were run.

However the bytes are cut, nothing of it may run, and one line says why.
"""

import shutil
import socket
import subprocess
from collections.abc import Callable

import pytest

from tests.support.peers import Peer
from tests.support.processes import PATIENCE, Daemon, needs

EVIL = b"SET evil 1\nSET evil 2\r\nGET evil\nQUIT\n"


def whole(peer: Peer, data: bytes) -> None:
    peer.send(data)


def bytewise(peer: Peer, data: bytes) -> None:
    peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in data:
        peer.send(bytes([byte]))


def in_lines(peer: Peer, data: bytes) -> None:
    """A chunk a line, as the fast path wants it."""
    peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for line in data.splitlines(keepends=True):
        peer.send(line)


CUTS = pytest.mark.parametrize("cut", [whole, bytewise, in_lines])
Cut = Callable[[Peer, bytes], None]


def sent(daemon: Daemon, data: bytes, cut: Cut) -> list[str]:
    """What comes back, up to the end."""
    with daemon.connect() as peer:
        cut(peer, data)
        return peer.rest()


def keys(daemon: Daemon) -> list[str]:
    with daemon.connect() as peer:
        peer.send("KEYS\nQUIT\n")
        return peer.rest()[:-2]


HTTP = [
    b"SET /key HTTP/1.1", b"set /key HTTP/1.0", b"GET / HTTP/1.1", b"PUT /key HTTP/1.1", b"PUT http://h/k HTTP/1.1",
    b"SET https://h/k HTTP/2", b"DEL /key?a=b HTTP/1.1", b"INCR /key HTTP/1.1", b"PING / HTTP/1.1", b"WATCH /a HTTP/3",
    b"PATCH /key HTTP/1.1", b"POST / HTTP/1.1", b"OPTIONS * HTTP/1.1", b"PRI * HTTP/2.0", b"QUIT /x HTTP/1.1",
    b"BEGIN /x HTTP/1.1", b"PROPFIND /x HTTP/1.1",
]  # fmt: skip


@pytest.mark.slow
@CUTS
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_a_request_of_http_in_the_first_line_runs_nothing(cut: Cut, end: bytes, daemon: Daemon) -> None:
    for line in HTTP:
        (reply,) = sent(daemon, line + end + b"X: y" + end + end + EVIL, cut)
        assert reply.startswith("ERR usage this is a line of HTTP "), line
    assert keys(daemon) == []


@CUTS
@pytest.mark.parametrize("empty", [b"\n", b"\r\n", b"\n\r\n\n"], ids=["LF", "CRLF", "three"])
def test_a_request_of_http_after_empty_lines_runs_nothing(cut: Cut, empty: bytes, daemon: Daemon) -> None:
    """Servers of HTTP pass over them (RFC 9112, 2.2), so who smuggles a request may send them first."""
    for line in (b"SET /key HTTP/1.1", b"PUT http://h/k HTTP/1.1", b"BEGIN /x HTTP/1.1"):
        *of_empty, reply = sent(daemon, empty + line + b"\r\nX: y\r\n\r\n" + EVIL, cut)
        assert [told[:16] for told in of_empty] == ["ERR unknown-verb"] * empty.count(b"\n")
        assert reply.startswith("ERR usage this is a line of HTTP "), line
    assert keys(daemon) == []


@pytest.mark.slow
@CUTS
def test_what_only_resembles_http_is_done(cut: Cut, daemon: Daemon) -> None:
    for line in [
        b"SET upstream/version HTTP/1.1", b"SET /a HTTP/1.1 b", b"SET /b HTTP", b"SET /c HTTP/", b"SET /d HTTP/x",
        b"SET /e http/1.1", b"SET httpd://f HTTP/1.1", b"SET /g HTTPS/1.1", b"SET /h  HTTP/1.1", b"SET /i HTTP/1.1 ",
        b"SET /j HTTP/1.", b"SET /k HTTP/1.1.1", b"SET a/l HTTP/1.1", b"PING\nSET /m HTTP/1.1",
        b"PING\nSET http://n HTTP/1.1", b" \nSET /o HTTP/1.1",
    ]:  # fmt: skip
        assert sent(daemon, line + b"\nQUIT\n", cut)[-2].startswith("OK "), line
    assert len(keys(daemon)) == 16


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_curl_is_told_and_writes_nothing(daemon: Daemon) -> None:
    for method in ("SET", "PUT", "DEL", "POST"):
        command = ["curl", "-s", "-m", f"{PATIENCE}", "--http0.9", "-X", method, "-d", "\nSET evil 1\n"]
        done = subprocess.run([*command, f"{daemon.addr}/k"], capture_output=True, text=True, check=False)
        assert done.stdout.startswith("ERR usage ")
        assert done.stdout.count("\n") == 1
    assert keys(daemon) == []


CONTROLS = [byte for byte in range(0x20) if byte not in b"\t\n\r"] + [0x7F]


@CUTS
def test_a_control_character_first_runs_nothing(cut: Cut, daemon: Daemon) -> None:
    """A record of TLS has its type first: 0x16 for a hello, whose random bytes may be anything."""
    for byte in CONTROLS:
        (reply,) = sent(daemon, bytes([byte]) + b"\x03\x01\x00\x30\n" + EVIL, cut)
        assert reply.startswith(f"ERR usage the connection begins with a control character (0x{byte:02X})")
    for byte in CONTROLS:
        (reply,) = sent(daemon, bytes([byte]) + EVIL, cut)
        assert reply.startswith("ERR usage ")
    assert keys(daemon) == []


BINARY = [
    b"AMQP\0\0\x09\x01\n", b"0\x0c\x02\x01\x01`\x07\n", b":\x01\0\0\n", b"l\0\x0b\0\n", b"SSH-2.0-x\r\n\0\0\n",
    "SET evil 1\n".encode("utf-16-le"),
]  # fmt: skip


@CUTS
@pytest.mark.parametrize("empty", [b"", b"\n", b"\r\n\r\n"], ids=["", "LF", "two"])
def test_a_binary_protocol_runs_nothing_whatever_its_first_byte_is(cut: Cut, empty: bytes, daemon: Daemon) -> None:
    """AMQP, LDAP, MongoDB, X11, SSH; and the PROXY protocol's second version, which begins with empty lines."""
    for beginning in [*BINARY, b"\0\r\nQUIT\n!", b"\x16\x03\x01\n", b"\x80\n", b"\xef\xbb\xbfSET a 1\n"]:
        *of_empty, reply = sent(daemon, empty + beginning + EVIL, cut)
        assert [told[:16] for told in of_empty] == ["ERR unknown-verb"] * empty.count(b"\n")
        assert reply.startswith("ERR usage "), beginning
    assert keys(daemon) == []


def test_a_line_with_a_control_character_that_may_have_been_typed_is_a_clients(daemon: Daemon) -> None:
    # With the keys that go back and that delete, as who types sends them.
    typed = [b"GTE\x1b[D\x1b[D\x1b[3~ET a\n", b"GTE\x08\x7fET a\n"]
    for line in (b"SET a b\x01\n", b"GET \x01\n", b"\nPING \x16\n", *typed):
        assert sent(daemon, line + b"PING end\nQUIT\n", whole)[-2:] == ["OK end", "OK bye"]


@pytest.mark.slow
@CUTS
def test_other_beginnings_are_lines(cut: Cut, daemon: Daemon) -> None:
    for beginning in (b"\n", b"\r\n", b"\t\n", b"\r", b" \x16\n", b"PING\n\x16\n"):
        assert sent(daemon, beginning + b"\nPING end\nQUIT\n", cut)[-2:] == ["OK end", "OK bye"]


def test_telnet_is_served(daemon: Daemon) -> None:
    needs("telnet")
    command = ["telnet", "127.0.0.1", str(daemon.port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as telnet:
        assert telnet.stdin
        assert telnet.stdout
        telnet.stdin.write(b"SET a 1\nGET a\nQUIT\n")
        telnet.stdin.flush()
        lines = telnet.stdout.read().splitlines()
    assert lines[-3:] == [b"OK 1", b"OK 1", b"OK bye"]
