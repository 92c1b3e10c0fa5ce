"""Reported: SIGTERM, or QUIT with more input after it, lost thousands of replies of writes that were done.

The socket was closed with unread input, and so the kernel reset the connection.
"""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from kvd import admission
from kvd.settings import Settings
from tests.support.daemons import connections
from tests.support.edges import root
from tests.support.peers import Peer, is_silent
from tests.support.processes import PATIENCE, ROOT, Daemon, Redis, StartDaemon, needs, wait_for
from tests.support.text import without_retry

SMALL_WINDOW = 8192
"""Bytes that a client's kernel takes, so that most replies are still with the daemon's."""
MANY = 300_000
"""Requests, more than are done when the daemon is told to stop, and than sockets hold."""


def slow(port: int) -> socket.socket:
    """A connection of a client that takes little at once."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_WINDOW)
    connection.settimeout(PATIENCE)
    connection.connect(("127.0.0.1", port))
    return connection


def python(port: int, requests: Path) -> list[bytes]:
    """Sends all, then reads all."""
    with slow(port) as connection, connection.makefile("rb") as lines:
        connection.sendall(requests.read_bytes())
        return lines.read().splitlines()


def bash(port: int, requests: Path) -> list[bytes]:
    """The same with nothing but bash and cat."""
    script = f"exec 3<>/dev/tcp/127.0.0.1/{port}; cat {requests} >&3; cat <&3"
    return subprocess.run(["bash", "-c", script], stdout=subprocess.PIPE, check=True).stdout.splitlines()


def netcat(port: int, requests: Path) -> list[bytes]:
    """Reads while it sends, but its own reader is slow: the pipe between them is full."""
    needs("nc")
    script = f"nc 127.0.0.1 {port} <{requests} | (sleep 1; cat)"
    return subprocess.run(["bash", "-c", script], stdout=subprocess.PIPE, check=True).stdout.splitlines()


def half_closed(port: int, requests: Path) -> list[bytes]:
    """Shuts its sending side down after the last request."""
    needs("nc")
    script = f"nc -N 127.0.0.1 {port} <{requests} | (sleep 1; cat)"
    return subprocess.run(["bash", "-c", script], stdout=subprocess.PIPE, check=True).stdout.splitlines()


CLIENTS = [python, bash, netcat, half_closed]
Client = Callable[[int, Path], list[bytes]]


def revision(daemon: Daemon) -> int:
    """How many changes the store has seen."""
    with daemon.connect() as peer:
        peer.send("INFO\n")
        while not (line := peer.line()).startswith("INFO revision "):
            pass
        return int(line.rpartition(" ")[2])


async def test_replies_come_of_what_was_done_though_not_all_of_it_could_be_in_time(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of requests, each a step of its own, may take longer than a daemon has to stop."""
    pairs = 3500
    monkeypatch.setattr(admission, "ANSWER_TIME", 0.01)

    def done() -> int:
        return int(redis.cli("HGET", "{kvd}:meta", "revision"))

    async def ask(port: int) -> list[bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(b"PUT k = v\nGET k\n" * pairs)
            return (await reader.read()).splitlines()

    async with root(redis.unix_url, Settings()) as port:
        asking = asyncio.create_task(ask(port))
        await asyncio.to_thread(wait_for, "a write", lambda: done() > 0)
    writes = [reply for reply in await asking if reply != b"OK v"]
    assert 0 < len(writes) < pairs
    assert len(writes) == done()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("client", "last"),
    [*((client, b"QUIT") for client in CLIENTS), (python, b"POST / HTTP/1.1"), (netcat, b"x \xff")],
)
def test_all_is_answered_up_to_what_closes_the_connection(
    client: Client, last: bytes, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    daemon = start_daemon("--fsync", "no")
    requests = tmp_path / "requests"
    requests.write_bytes(b"INCR n\n" * 20_000 + last + b"\n" + b"INCR n\n" * MANY)
    replies = client(daemon.port, requests)
    assert replies[:-1] == [b"OK %d" % n for n in range(1, 20_001)]
    assert replies[-1] == b"OK bye" if last == b"QUIT" else replies[-1].startswith(b"ERR usage ")
    assert revision(daemon) == 20_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("client", "request_", "options"),
    [
        *((client, b"SET k v\n", []) for client in CLIENTS),
        (python, b"INCR n\n", []),
        (netcat, b"PUT k = v\nGET k\n", []),
        (python, b"SET k v\n", ["--workers", "2"]),
        (netcat, b"INCR n\n", ["--workers", "2"]),
    ],
)
def test_all_that_was_done_is_answered_when_the_daemon_stops(
    client: Client, request_: bytes, options: list[str], start_daemon: StartDaemon, tmp_path: Path
) -> None:
    daemon = start_daemon("--fsync", "no", *options)
    requests = tmp_path / "requests"
    # More than are done, also if the test is late to stop the daemon.
    requests.write_bytes(request_ * 4 * MANY)
    got: list[bytes] = []
    asking = threading.Thread(target=lambda: got.extend(client(daemon.port, requests)))
    asking.start()
    wait_for("some requests to be done", lambda: revision(daemon) > 500)
    daemon.stop()
    asking.join()
    # Not all: else nothing was unread.
    assert len(got) < 4 * MANY * request_.count(b"\n")
    daemon.start()
    assert len([reply for reply in got if reply != b"OK v"]) == revision(daemon)


def test_who_has_sent_all_may_read_late_though_the_daemon_stops(start_daemon: StartDaemon) -> None:
    """The session of a half-closed peer was over as soon as the socket had its replies."""
    daemon = start_daemon("--fsync", "no")
    value = "x" * 500_000
    with closing(slow(daemon.port)) as connection:
        peer = Peer(connection)
        assert peer.ask(f"SET k {value}") == "OK 1"
        peer.send("GET k\n" * 10)
        connection.shutdown(socket.SHUT_WR)
        # What the daemon has not received when it is told to stop it does not answer.
        assert not is_silent(peer, seconds=PATIENCE)
        stopping = threading.Thread(target=daemon.stop)
        # Its listener is closed first, and the peer reads no sooner.
        stopping.start()
        wait_for("the daemon to stop listening", lambda: not listens(daemon))
        assert peer.rest() == [f"OK {value}"] * 10
        peer.close()
    stopping.join()


def listens(daemon: Daemon) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", daemon.port)) == 0


def test_a_refused_connection_may_send_much_and_learns_why(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "data", limits="-n 65")
    daemon.start()
    try:
        with daemon.connect() as served, daemon.connect() as refused:
            assert served.ask("PING") == "OK"
            refused.send(b"SET k v\n" * 100_000)
            assert [without_retry(line) for line in refused.rest()] == [
                "ERR unavailable there are too many connections; try again later"
            ]
            assert served.ask("COUNT") == "OK 0"
    finally:
        daemon.stop()


# ---- within bounds

IMPATIENT = """
import sys
from kvd import admission
from kvd.session import linger
admission.DRAIN_TIMEOUT, linger.PATIENCE, linger.LONGEST = {times}
from kvd.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


class Impatient(Daemon):
    """A daemon with other times."""

    def __init__(self, data: Path, times: str) -> None:
        super().__init__(data, ["--fsync", "no"])
        script = data.parent / "impatient.py"
        script.write_text(f"import sys; sys.path.insert(0, {str(ROOT)!r})\n" + IMPATIENT.format(times=times))
        self._prefix = ["bash", "-c", f'exec {sys.executable} {script} "${{@:4}}"', "bash"]


def test_a_peer_that_stays_does_not_hold_up_the_end(tmp_path: Path) -> None:
    daemon = Impatient(tmp_path / "data", "0.3, 60, 600")
    daemon.start()
    with daemon.connect() as idle, daemon.connect() as busy, daemon.connect() as deaf:
        assert idle.ask("PING") == "OK"
        assert busy.ask("PING") == "OK"
        assert busy.ask("QUIT\nPING") == "OK bye"
        deaf.send("HELP\n" * 30_000)
        daemon.stop()
        assert idle.is_closed()
        assert busy.is_closed()


@pytest.mark.slow
@pytest.mark.parametrize("times", ["5, 0.3, 600", "5, 60, 0.3"], ids=["silent", "in all"])
def test_a_peer_that_stays_after_quit_is_let_go(times: str, tmp_path: Path) -> None:
    daemon = Impatient(tmp_path / "data", times)
    daemon.start()
    try:
        with daemon.connect() as peer:
            assert peer.ask("QUIT\nPING") == "OK bye"
            assert peer.is_closed()
            wait_for("the end of the connection", lambda: connections(daemon) == 0)
    finally:
        daemon.stop()
