"""What arrives at an open port: a real daemon stays up, within its memory, and runs nothing that no client sent.

Words, numbers and options that are wrong are in vectors/errors.txt, incr.txt, ttl.txt and values.txt.
"""

import base64
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.daemons import connections
from tests.support.held_memory import growing_less_than
from tests.support.peers import Peer
from tests.support.processes import PATIENCE, Daemon, StartDaemon, wait_for
from tests.support.text import without_retry

MIB = 1 << 20
MAX_VALUE = MIB


@contextmanager
def connection(daemon: Daemon) -> Iterator[Peer]:
    """A connection that sends at once, for `Peer.ask` sends in two parts."""
    with daemon.connect() as peer:
        peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield peer


@pytest.fixture
def target(start_daemon: StartDaemon) -> Iterator[Daemon]:
    """A daemon that, whatever happened to it, serves on and has met nothing unforeseen."""
    daemon = start_daemon("--fsync", "no")
    with connection(daemon) as peer:
        peer.ask("PING")
    yield daemon
    with connection(daemon) as peer:
        assert peer.ask("PING") == "OK"
    daemon.stop()
    assert "Traceback" not in daemon.log
    assert " ERROR " not in daemon.log


def count(daemon: Daemon) -> str:
    """How many keys there are, as another connection sees it."""
    with connection(daemon) as peer:
        return peer.ask("COUNT")


def oldest(peer: Peer) -> int:
    """The revision after which changes are kept."""
    peer.send("INFO\n")
    return int(dict(line.split(" ", 2)[1:] for line in iter(peer.line, "OK"))["oldest"])


def shown(line: str) -> str:
    """A status or pushed line, its position without the store's id."""
    word, position, *rest = line.split(" ", 2)
    return " ".join([word, position.partition("@")[0], *rest])


def everything(peer: Peer) -> list[str]:
    """All lines up to the end of the connection, also if that is a reset."""
    lines: list[str] = []
    with suppress(ConnectionResetError):
        while line := peer.line():
            lines.append(line)
    return lines


def refusals(peer: Peer) -> list[str]:
    """The first two words of each line up to the end of the connection."""
    return [" ".join(line.split(" ")[:2]) for line in everything(peer)]


# ---- lines that are too long


def test_a_line_of_10_mb_is_one_error(target: Daemon) -> None:
    # A line that is kept has 1.4 MB at the most, and sockets have their buffers.
    with connection(target) as peer, growing_less_than(8 * MIB, target):
        for _ in range(3):
            peer.send(b"SET k " + b"x" * 10_000_000 + b"\nPING next\n")
            assert peer.line().startswith("ERR too-long ")
            assert peer.line() == "OK next"
    assert count(target) == "OK 0"


def test_a_line_without_an_end_is_one_error(target: Daemon) -> None:
    with connection(target) as peer, growing_less_than(8 * MIB, target):
        peer.send(b"SET k ")
        for _ in range(50):
            peer.send(b"x" * 1_000_000)
        assert peer.line().startswith("ERR too-long ")
        peer.socket.shutdown(socket.SHUT_WR)
        assert everything(peer) == []
    assert count(target) == "OK 0"


def test_a_line_of_many_words_is_one_error(target: Daemon) -> None:
    with connection(target) as peer:
        for verb in ("PUT", "SET", "GET", "KEYS", "LIST", "WATCH", "DEL", "TOUCH", "INCR", "HELP", "INFO", "FROB"):
            peer.send(f"{verb} k " + "a " * 690_000 + "\n")
            assert peer.line().startswith("ERR "), verb
    assert count(target) == "OK 0"


def test_values_up_to_the_limit_pass_in_both_forms(target: Daemon) -> None:
    longest = b"x" * MAX_VALUE
    with connection(target) as peer:
        assert peer.ask(b"SET k " + longest) == "OK 1"
        assert peer.ask(b"SET k " + longest + b"x").startswith("ERR too-long ")
        assert peer.ask("GET k") == "OK " + longest.decode()
        odd = b"\x00" + longest[1:]
        assert peer.ask(b"PUT k base64=%d = " % len(odd) + base64.b64encode(odd)) == "OK 2"
        assert peer.ask(b"PUT k base64 = " + base64.b64encode(odd + b"x")).startswith("ERR too-long ")
        assert base64.b64decode(peer.ask("GET k").removeprefix("OK64 ")) == odd


# ---- bytes that are no text


def test_invalid_utf8_is_refused_wherever_it_stands(target: Daemon) -> None:
    with connection(target) as peer:
        # In a first line it would be no client's.
        assert peer.ask("PING") == "OK"
        for raw in (b"\x80", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xfe", b"a\xe2\x82"):
            for line, code in [
                (raw, "unknown-verb"), (b"GE" + raw + b" k", "unknown-verb"), (b"GET k" + raw, "bad-key"),
                (b"SET k" + raw + b" v", "bad-key"), (b"SET k v" + raw, "bad-value"), (b"PUT k = " + raw, "bad-value"),
                (b"PUT k " + raw + b" = v", "usage"), (b"PUT k if=" + raw + b" = v", "usage"),
                (b"PUT k base64 = " + raw, "bad-value"), (b"INCR k " + raw, "not-a-number"),
                (b"KEYS " + raw + b"*", "bad-key"), (b"KEYS * after=" + raw, "bad-key"), (b"WATCH a " + raw, "bad-key"),
                (b"PING " + raw, "bad-value"), (b"HELP " + raw, "unknown-verb"),
            ]:  # fmt: skip
                assert peer.ask(line).startswith(f"ERR {code} "), line
    assert count(target) == "OK 0"


NOT_IN_LINES = "\x00\x01\x08\x0b\x0c\x1b\x1c\x7f\x80\x85\x9b\u2028\u2029"


def test_what_no_line_may_carry_is_a_byte_value(target: Daemon) -> None:
    with connection(target) as watcher, connection(target) as peer:
        assert watcher.ask("WATCH").startswith("OK 0@")
        for revision, character in enumerate(NOT_IN_LINES, 1):
            value = f"a{character}b"
            encoded = base64.b64encode(value.encode()).decode()
            for line, code in [
                (f"SET k {value}", "bad-value"), (f"PUT k = {value}", "bad-value"), (f"PING {value}", "bad-value"),
                (f"GET k{character}", "bad-key"), (f"{value} k", "unknown-verb"), (f"PUT k{character} = v", "bad-key"),
            ]:  # fmt: skip
                assert peer.ask(line).startswith(f"ERR {code} "), ascii(line)
            assert peer.ask(f"PUT k base64 = {encoded}") == f"OK {revision}"
            assert peer.ask("GET k") == f"OK64 {encoded}"
            assert peer.ask("GETS k") == f"OK64 {revision} {encoded}"
            assert peer.ask("LIST k") == f"PAIR64 {revision} k {encoded}"
            assert shown(peer.line()) == f"OK {revision}"
            assert shown(watcher.line()) == f"CHANGE {revision} SET64 k {encoded}"


def test_a_lone_cr_ends_nothing(target: Daemon) -> None:
    with connection(target) as peer:
        assert peer.ask("SET k a\rb").startswith("ERR bad-value ")
        assert peer.ask("GET k\rk").startswith("ERR bad-key ")
        assert peer.ask("GET k\rGET k").startswith("ERR usage ")
        assert peer.ask("PING a\r\r").startswith("ERR bad-value ")
        assert peer.ask("PING a\r") == "OK a"
        assert peer.ask("\r").startswith("ERR unknown-verb ")
        assert peer.ask("\rPING").startswith("ERR unknown-verb ")


# ---- connections that break


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_half_a_line_is_not_run(reset: bool, target: Daemon) -> None:
    with connection(target) as other:
        assert other.ask("SET a 1") == "OK 1"
        for half in (b"SET b 2", b"SET b 2\r", b"DEL a", b"INCR a", b"PING\n\xc3"):
            with connection(target) as peer:
                peer.send(half)
                if reset:
                    reset_at_close(peer)
        wait_for("the end of the connections", lambda: connections(target) == 1)
        assert other.ask("LIST") == "PAIR 1 a 1"
        assert shown(other.line()) == "OK 1"


def reset_at_close(peer: Peer) -> None:
    """Let the connection end as that of a process that was killed with unread data: by a reset."""
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_connections_that_are_reset_at_once_leave_nothing_behind(target: Daemon) -> None:
    """They were unhandled errors: uvloop does not know the address of a peer that is gone."""
    for sent in [b"", b"PING\n", b"WATCH\n", b"POST / HTTP/1.1\r\n"] * 50:
        with connection(target) as peer:
            peer.send(sent)
            reset_at_close(peer)
    wait_for("the end of the connections", lambda: connections(target) == 0)


def test_a_peer_that_is_gone_amid_its_replies_does_no_harm(target: Daemon) -> None:
    with connection(target) as peer:
        assert peer.ask("SET k " + "x" * 100_000) == "OK 1"
    for _ in range(20):
        with connection(target) as peer:
            peer.send("WATCH\nLIST\n" + "GET k\n" * 1000 + "SET n 1\n")
            assert peer.line().startswith("OK ")
            reset_at_close(peer)


# ---- peers that do not read


class Sender(threading.Thread):
    """Sends as far as the daemon takes it."""

    def __init__(self, peer: Peer, data: bytes) -> None:
        super().__init__()
        self.sent = 0
        self._peer, self._data = peer, memoryview(data)

    def run(self) -> None:
        with suppress(OSError):
            while self.sent < len(self._data):
                self.sent += self._peer.socket.send(self._data[self.sent : self.sent + 65536])


def ask_until_it_takes_no_more(sender: Sender, other: Peer) -> None:
    """The daemon serves others; each turn would let it go on with what the sender has sent, and it has many."""
    before, turns = -1, 0
    while before != sender.sent or turns < 2000:
        before = sender.sent
        for _ in range(200):
            other.send("INCR turns\n")
            assert other.line().startswith("OK ")
        turns += 200


@pytest.mark.slow
def test_100_000_requests_whose_replies_nobody_reads_wait(target: Daemon) -> None:
    requests = 100_000
    text = "x" * 990
    with connection(target) as peer, connection(target) as other, growing_less_than(8 * MIB, target):
        sender = Sender(peer, b"".join(b"PING %06d%b\n" % (n, text.encode()) for n in range(requests)))
        sender.start()
        ask_until_it_takes_no_more(sender, other)
        assert sender.is_alive()
        for n in range(requests):
            assert peer.line() == f"OK {n:06}{text}"
        sender.join()


@pytest.mark.slow
def test_100_000_writes_are_done_in_order_though_read_late(target: Daemon) -> None:
    requests = 100_000
    with connection(target) as peer, connection(target) as other, growing_less_than(8 * MIB, target):
        sender = Sender(peer, b"INCR n\n" * requests)
        sender.start()
        ask_until_it_takes_no_more(sender, other)
        assert peer.lines(requests) == [f"OK {n + 1}" for n in range(requests)]
        sender.join()


@pytest.mark.slow
@pytest.mark.parametrize("request_", ["GET k", "GETS k", "LIST", "LIST k", "KEYS", "HELP", "INFO"])
def test_large_replies_that_nobody_reads_wait(request_: str, target: Daemon) -> None:
    with connection(target) as other:
        assert other.ask("SET k " + "x" * 100_000) == "OK 1"
        other.send("".join(f"SET key/{n} {'x' * 3000}\n" for n in range(2000)))
        other.lines(2000)
        # A page of a listing, and what a socket is given at once.
        with connection(target) as peer, growing_less_than(8 * MIB, target):
            sender = Sender(peer, f"{request_}\n".encode() * 100_000)
            sender.start()
            ask_until_it_takes_no_more(sender, other)
            peer.socket.shutdown(socket.SHUT_RDWR)
            sender.join()


@pytest.mark.slow
def test_a_watcher_that_never_reads_holds_up_nobody(target: Daemon) -> None:
    """200 MB of changes; it is ended where it was complete, and the one beside it has them all."""
    changes = 2000
    value = "x" * 100_000
    with connection(target) as stuck, connection(target) as watcher, connection(target) as writer:
        assert stuck.ask("WATCH").startswith("OK 0@")
        assert watcher.ask("WATCH").startswith("OK 0@")
        # The hub's 8 MiB, a step of the log, and what the two sockets are given at once.
        with growing_less_than(32 * MIB, target):
            for n in range(1, changes + 1):
                writer.send(f"SET k{n} {value}\n")
                assert shown(watcher.line()) == f"CHANGE {n} SET k{n} {value}"
                assert writer.line() == f"OK {n}"
        # Before that, all of it could still be had.
        wait_for("the trim", lambda: oldest(writer) > changes / 4)
        seen = 0
        while (line := stuck.line()).startswith("CHANGE "):
            seen += 1
            assert line.startswith(f"CHANGE {seen}@")
        assert shown(line).startswith(f"END {seen} compacted ")
        assert seen < changes
        # It may begin again.
        assert stuck.ask("WATCH").startswith(f"OK {changes}@")
        assert writer.ask("SET k 1") == f"OK {changes + 1}"
        assert stuck.line().startswith(f"CHANGE {changes + 1}@")


def test_a_watcher_that_reads_late_has_every_change(target: Daemon) -> None:
    changes = 150
    value = "x" * 50_000
    with connection(target) as late, connection(target) as writer:
        assert late.ask("WATCH").startswith("OK 0@")
        writer.send("".join(f"SET k{n} {value}\n" for n in range(1, changes + 1)))
        assert writer.lines(changes) == [f"OK {n}" for n in range(1, changes + 1)]
        for n in range(1, changes + 1):
            assert shown(late.line()) == f"CHANGE {n} SET k{n} {value}"


# ---- other protocols


IN_ANY_LINE = [
    b"POST / HTTP/1.1\r\nContent-Length: 99\r\n\r\n", b"POST / HTTP/1.1\nContent-Length: 99\n\n", b"host: x\r\n",
    b"HOST:x\n", b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 5830\r\n", b"PROXY UNKNOWN\r\n", b"\xff\xf4\xff\xfd\x06",
    b"\xff\xf4\xff\xfd\x06\r\n", b"\xff\xfb\x1f\xff\xfd\x03", b"SET evil 0\xff\n", b"x" * 5000 + b"\xff",
]  # fmt: skip
IN_A_FIRST_LINE = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x8a\n", b"\x80\n", b"GET k\xe9\n"]
EVIL = b"SET evil 1\r\nSET evil 2\n"


def test_what_no_client_sends_is_closed_and_nothing_behind_it_is_run(target: Daemon) -> None:
    greetings = [*IN_ANY_LINE, *IN_A_FIRST_LINE]
    for greeting in greetings:
        with connection(target) as peer:
            peer.send(greeting + EVIL)
            assert refusals(peer) == ["ERR usage"], greeting
    assert count(target) == "OK 0"
    warning = "WARNING kvd.session: closed the connection of 127.0.0.1:"
    wait_for("a warning each", lambda: target.log.count(warning) == len(greetings))


def test_lines_before_what_no_client_sends_are_answered(target: Daemon) -> None:
    for greeting in IN_ANY_LINE:
        with connection(target) as peer:
            peer.send(b"PING 1\nGET evil\n" + greeting + EVIL)
            assert peer.lines(2) == ["OK 1", "NONE"], greeting
            assert refusals(peer) == ["ERR usage"], greeting
    assert count(target) == "OK 0"


def test_a_browsers_get_runs_nothing_that_it_carries(target: Daemon) -> None:
    with connection(target) as peer:
        peer.send(b"GET /SET HTTP/1.1\r\nHost: 127.0.0.1:5830\r\nX: y\r\n\r\nSET evil 1\r\n")
        assert refusals(peer) == ["ERR usage"]
    assert count(target) == "OK 0"


def test_another_protocol_is_closed_before_its_line_ends(target: Daemon) -> None:
    for beginning in (b"POST ", b"Host:", b"PROXY ", b"\xff", b"\x16\x03\x01\x80"):
        with connection(target) as peer:
            peer.send(beginning)
            assert refusals(peer) == ["ERR usage"]


def tls_hello() -> bytes:
    """What a TLS client sends first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def test_a_tls_hello_is_closed_at_once(target: Daemon) -> None:
    for _ in range(10):
        hello = tls_hello()
        with connection(target) as peer:
            peer.send(hello)
            assert refusals(peer) == ["ERR usage"]


def test_a_tls_handshake_fails_and_does_not_hang(target: Daemon) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", target.port), timeout=PATIENCE) as connection,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(connection)


# ---- base64 as other programs make it


@pytest.mark.skipif(not shutil.which("base64"), reason="needs base64")
def test_wrapped_base64_is_refused_if_its_length_was_said(target: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "icon"
    file.write_bytes(bytes(range(100)))
    made = subprocess.run(["base64", file], capture_output=True, check=True).stdout
    assert made.count(b"\n") == 2
    with connection(target) as peer:
        peer.send(b"PUT icon base64=100 = " + made)
        assert peer.line().startswith("ERR bad-value ")
        assert peer.line().startswith("ERR unknown-verb ")
        assert peer.ask("GET icon") == "NONE"
        peer.send(b"PUT icon base64=100 = " + made.replace(b"\n", b"") + b"\n")
        assert peer.line() == "OK 1"


# ---- patterns


def test_a_watch_of_1024_patterns(target: Daemon) -> None:
    patterns = [f"{'p' * 400}{n}/*" for n in range(1024)]
    with connection(target) as watcher, connection(target) as peer:
        assert watcher.ask("WATCH " + " ".join(patterns)).startswith("OK 0@")
        assert watcher.ask("WATCH " + " ".join([*patterns, "x"])).startswith("ERR usage ")
        key = patterns[-1].replace("*", "x")
        assert peer.ask("SET x 1") == "OK 1"
        assert peer.ask(f"SET {key} 1") == "OK 2"
        assert shown(watcher.line()) == f"CHANGE 2 SET {key} 1"


# ---- netcat

pytestmark_nc = pytest.mark.skipif(not shutil.which("nc"), reason="needs netcat")


@pytestmark_nc
def test_netcat_that_closes_its_sending_side_gets_its_replies(target: Daemon) -> None:
    done = subprocess.run(
        ["bash", "-c", f"printf 'SET a 1\\nGET a\\nGET nope\\n' | nc -N 127.0.0.1 {target.port}"],
        capture_output=True, text=True, check=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.stdout == "OK 1\nOK 1\nNONE\n"


@pytestmark_nc
def test_netcat_that_closes_its_sending_side_gets_large_replies(target: Daemon) -> None:
    value = "x" * 500_000
    with connection(target) as peer:
        assert peer.ask(f"SET a {value}") == "OK 1"
    done = subprocess.run(
        ["bash", "-c", f"yes 'GET a' | head -n 50 | nc -N 127.0.0.1 {target.port}"],
        capture_output=True, text=True, check=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.stdout == f"OK {value}\n" * 50


@pytestmark_nc
@pytest.mark.parametrize("options", [[], ["-N"]], ids=["open", "half-closed"])
def test_netcat_that_watches_gets_changes_until_it_goes(options: list[str], target: Daemon) -> None:
    command = ["nc", *options, "127.0.0.1", str(target.port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as netcat:
        assert netcat.stdin
        assert netcat.stdout
        try:
            netcat.stdin.write("WATCH a/*\n")
            netcat.stdin.close()
            assert netcat.stdout.readline().startswith("OK 0@")
            with connection(target) as peer:
                for n in range(1, 4):
                    assert peer.ask(f"SET a/x {n}") == f"OK {n}"
                    assert shown(netcat.stdout.readline()) == f"CHANGE {n} SET a/x {n}\n"
        finally:
            netcat.kill()
    # Its end is found when a send fails: nothing is left of it then.
    with connection(target) as peer:
        wait_for(
            "the end of the connection", lambda: peer.ask("SET a/x gone").startswith("OK") and connections(target) == 1
        )


@pytestmark_nc
@pytest.mark.parametrize("options", [[], ["-N"]], ids=["open", "half-closed"])
def test_netcat_that_watches_ends_with_the_daemon(options: list[str], start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--fsync", "no")
    command = ["nc", *options, "127.0.0.1", str(daemon.port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as netcat:
        assert netcat.stdin
        assert netcat.stdout
        netcat.stdin.write("WATCH\n")
        netcat.stdin.close()
        assert netcat.stdout.readline().startswith("OK 0@")
        daemon.stop()
        assert [shown(without_retry(line)) for line in netcat.stdout] == ["END 0 shutdown the daemon stops\n"]
        assert netcat.wait(PATIENCE) == 0
