"""Sockets that systemd listens on and passes on: a small launcher does what it does."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.peers import Peer
from tests.support.ports import quiet_port
from tests.support.processes import PATIENCE, ROOT
from tests.support.tls import Authority, options

LAUNCHER = """\
import os, sys
names, *command = sys.argv[1:]
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(names.count(":") + 1), "LISTEN_FDNAMES": names}
os.execv(command[0], command)
"""


class Launched:
    """A daemon to which sockets were passed."""

    def __init__(self, process: subprocess.Popen[bytes], greeting: str) -> None:
        self.process, self.greeting = process, greeting

    def stop(self) -> None:
        self.process.terminate()
        _, said = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, said


def launch(data: Path, sockets: dict[str, socket.socket], *options: str) -> Launched:
    """sockets: by their names."""
    kept = [os.dup(one.fileno()) for one in sockets.values()]

    def place() -> None:
        # First out of the way of where they go.
        high = [os.dup2(descriptor, 200 + number) for number, descriptor in enumerate(kept)]
        for number, descriptor in enumerate(high):
            os.dup2(descriptor, 3 + number)

    command = [sys.executable, "-c", LAUNCHER, ":".join(sockets), sys.executable, "-m", "kvd", "--data", str(data)]
    process = subprocess.Popen(
        [*command, *options], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=place,
        pass_fds=[3 + number for number in range(len(kept))],
    )  # fmt: skip
    for descriptor in kept:
        os.close(descriptor)
    assert process.stdout
    return Launched(process, process.stdout.readline().decode())


@contextmanager
def connected(listening: socket.socket) -> Iterator[Peer]:
    with socket.socket(listening.family) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(listening.getsockname())
        peer = Peer(connection)
        yield peer
        peer.close()


@pytest.fixture
def tcp() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def test_who_connects_while_it_is_started_again_waits_and_is_served(tcp: socket.socket, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(path)
        unix.listen()
        sockets = {"plain": tcp, "file": unix}
        daemon = launch(tmp_path / "data", sockets)
        where = f"127.0.0.1:{tcp.getsockname()[1]}"
        assert daemon.greeting.endswith(f" listens on {where}, unix:{path}\n")
        for listening in sockets.values():
            with connected(listening) as peer:
                assert peer.ask("SET a 1").startswith("OK ")
        daemon.stop()
        with ExitStack() as stack:  # nobody is there
            waiting = [stack.enter_context(connected(one)) for one in (tcp, unix) * 5]
            for peer in waiting:
                peer.send("GET a\n")
            daemon = launch(tmp_path / "data", sockets, "--workers", "2")
            assert [peer.line() for peer in waiting] == ["OK 1"] * 10
        daemon.stop()
        assert Path(path).exists()  # it is somebody else's


def test_it_is_used_in_the_place_of_an_address_and_others_are_listened_on_as_well(
    tcp: socket.socket, tmp_path: Path
) -> None:
    where = f"127.0.0.1:{tcp.getsockname()[1]}"
    daemon = launch(tmp_path / "data", {"x": tcp}, "--listen", where, "--listen", f"unix:{tmp_path}/other")
    assert daemon.greeting.endswith(f" listens on {where}, unix:{tmp_path}/other\n")
    with connected(tcp) as peer:
        assert peer.ask("PING") == "OK"
    daemon.stop()


def test_one_that_is_called_http_is_for_http_and_keeps_its_address_over_a_restart(
    tcp: socket.socket, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as http:
        for workers in ("1", "2"):
            with socket.create_connection(http.getsockname()) as waiting:
                waiting.settimeout(PATIENCE)
                waiting.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                daemon = launch(tmp_path / "data", {"x": tcp, "http": http}, "--workers", workers)
                assert daemon.greeting.endswith(f" listens on 127.0.0.1:{tcp.getsockname()[1]}\n")
                assert waiting.recv(100).startswith(b"HTTP/1.1 200 ")
            with connected(tcp) as peer:
                assert peer.ask("PING") == "OK"
            daemon.stop()


def test_of_one_for_http_alone_the_rest_is_as_without(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as http:
        where = f"127.0.0.1:{quiet_port()}"
        same = f"127.0.0.1:{http.getsockname()[1]}"
        daemon = launch(tmp_path / "data", {"http": http}, "--listen", where, "--http", same)
        assert daemon.greeting.endswith(f" listens on {where}\n")
        daemon.stop()


def test_tls_of_one_for_http_is_judged_as_that_of_any(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    _, _, *tls = options(authority.sign("localhost"))
    with socket.create_server(("127.0.0.1", 0)) as https, socket.create_server(("0.0.0.0", 0)) as http:  # noqa: S104
        daemon = launch(tmp_path / "one", {"https": https}, "--listen", f"unix:{tmp_path}/socket", *tls)
        with socket.create_connection(https.getsockname()) as plain:
            plain.settimeout(PATIENCE)
            with authority.client().wrap_socket(plain, server_hostname="localhost") as peer:
                peer.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                assert peer.recv(100).startswith(b"HTTP/1.1 200 ")
        daemon.process.terminate()
        _, said = daemon.process.communicate(timeout=PATIENCE)
        assert b"of no use" not in said
        daemon = launch(tmp_path / "two", {"http": http}, "--listen", f"unix:{tmp_path}/socket", *tls)
        _, said = daemon.process.communicate(timeout=PATIENCE)
    assert daemon.process.returncode == 1
    assert b"--http 0.0.0.0:" in said
    assert b"other machines can reach it" in said


def test_what_others_can_reach_needs_what_it_always_needs(tmp_path: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as listening:  # noqa: S104
        daemon = launch(tmp_path / "data", {"x": listening})
        _, said = daemon.process.communicate(timeout=PATIENCE)
    assert daemon.process.returncode == 1
    assert b"other machines can reach it" in said


def test_what_is_no_listening_socket_is_refused(tmp_path: Path) -> None:
    with socket.socket() as closed:
        daemon = launch(tmp_path / "data", {"x": closed})
        _, said = daemon.process.communicate(timeout=PATIENCE)
    assert daemon.process.returncode == 1
    assert b"does not listen" in said


def test_what_is_meant_for_another_process_is_left(tmp_path: Path) -> None:
    environment = os.environ | {"LISTEN_PID": "1", "LISTEN_FDS": "2"}
    command = [sys.executable, "-m", "kvd", "--listen", "127.0.0.1:0", "--data", str(tmp_path / "data")]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE)
    assert process.stdout
    assert b"listens on" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)


@pytest.mark.parametrize(("name", "value"), [("LISTEN_FDS", "abc"), ("LISTEN_FDS", "-1"), ("LISTEN_PID", "self")])
def test_what_is_no_number_is_refused(tmp_path: Path, name: str, value: str) -> None:
    command = [sys.executable, "-m", "kvd", "--listen", "127.0.0.1:0", "--data", str(tmp_path / "data")]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {name: value}, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 1
    assert f"{name}: invalid value '{value}': expected a number" in done.stderr.splitlines()[-1]
