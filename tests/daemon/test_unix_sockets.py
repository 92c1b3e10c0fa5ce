"""`--listen unix:PATH`: who may connect, whose file it is, and what a connection is there."""

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from kvd.addresses import UnixAddress
from kvd.errors import StartError
from kvd.process import unix_sockets
from kvd.process.sockets import listen
from tests.support.daemons import one_line_error, run_kvd
from tests.support.peers import Peer
from tests.support.processes import PATIENCE, ROOT, StartDaemon, needs, wait_for

WORKERS = pytest.mark.parametrize("workers", ["1", "2"])


@contextmanager
def connect(path: Path) -> Iterator[Peer]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(path))
        peer = Peer(connection)
        yield peer
        peer.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kvd.sock"


@WORKERS
def test_it_is_served_beside_tcp_and_removed_at_the_end(start_daemon: StartDaemon, path: Path, workers: str) -> None:
    daemon = start_daemon("--listen", f"unix:{path}", "--workers", workers)
    assert daemon.greeting.endswith(f" listens on 127.0.0.1:{daemon.port}, unix:{path}\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    with connect(path) as watcher, connect(path) as peer, daemon.connect() as remote:
        position = watcher.ask("WATCH")
        assert remote.ask("SET a 1") == "OK 1"
        assert peer.ask("GET a") == "OK 1"
        assert watcher.line().endswith(" SET a 1")
        # Who shuts its sending side down gets all replies, and one that watches all changes.
        peer.send("GET a\nGET b\n")
        peer.socket.shutdown(socket.SHUT_WR)
        assert peer.rest() == ["OK 1", "NONE"]
        watcher.socket.shutdown(socket.SHUT_WR)
        assert remote.ask("SET a 2") == "OK 2"
        assert watcher.line().endswith(" SET a 2")
        daemon.kill(signal.SIGTERM)
        (end,) = watcher.rest()
        assert end.startswith(f"END {position.removeprefix('OK ').replace('0@', '2@')} shutdown ")
    assert daemon.wait() == 0
    assert not path.exists()


@WORKERS
def test_what_a_dead_daemon_left_is_replaced_and_a_living_one_refused(
    start_daemon: StartDaemon, path: Path, tmp_path: Path, workers: str
) -> None:
    daemon = start_daemon("--listen", f"unix:{path}", "--workers", workers)
    daemon.kill(signal.SIGKILL)
    daemon.wait()
    assert path.is_socket()
    daemon.start()
    with connect(path) as peer:
        assert peer.ask("SET a 1") == "OK 1"
    other = run_kvd("--listen", f"unix:{path}", "--data", str(tmp_path / "other"))
    wanted = f"kvd: cannot listen on unix:{path}: Address already in use; choose another with --listen unix:PATH"
    assert one_line_error(other) == wanted
    with connect(path) as peer:
        assert peer.ask("GET a") == "OK 1"


def test_a_worker_that_is_restarted_serves_it_again(start_daemon: StartDaemon, path: Path) -> None:
    """Connections that come meanwhile wait; none is refused."""
    daemon = start_daemon("--listen", f"unix:{path}", "--workers", "2")
    for pid in daemon.worker_pids():
        os.kill(pid, signal.SIGKILL)
    with connect(path) as peer:
        assert peer.ask("PING x") == "OK x"
    wait_for("both again", lambda: daemon.log.count(" is process ") == 4)
    assert path.exists()


def test_a_peer_that_is_gone_is_noticed(start_daemon: StartDaemon, path: Path) -> None:
    """Of one that only watches nothing is read: it is let go at the next change."""
    daemon = start_daemon("--listen", f"unix:{path}")
    with connect(path) as watcher:
        watcher.ask("WATCH")
        watcher.socket.shutdown(socket.SHUT_WR)
    with connect(path) as peer:
        assert peer.ask("SET a 1") == "OK 1"
    process = psutil.Process(daemon.pid)
    wait_for("their ends", lambda: [one.laddr for one in process.net_connections("unix")].count(str(path)) == 1)


def test_strangers_are_logged_by_their_user(start_daemon: StartDaemon, path: Path) -> None:
    daemon = start_daemon("--listen", f"unix:{path}")
    with connect(path) as peer:
        peer.send("GET / HTTP/1.1\nHost: a\n")
        assert peer.line().startswith("ERR ")
        assert daemon.says(f"closed the connection of user {os.getuid()} of this machine: ")


def test_what_the_greeting_says_to_try_works(tmp_path: Path) -> None:
    needs("nc")
    path = tmp_path / "it's a socket"
    command = [sys.executable, "-m", "kvd", "--listen", f"unix:{path}", "--data", str(tmp_path / "data")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout
        greeting = [process.stdout.readline() for _ in range(3)]
        assert f" listens on unix:{path}\n" in greeting[0]
        to_try = greeting[2].removeprefix("try:  ")
        done = subprocess.run(["sh", "-c", to_try], capture_output=True, text=True, timeout=PATIENCE, check=True)
        assert done.stdout == "OK 1\nOK hello\nOK bye\n"
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


# ---- the file


def bound_at(path: Path) -> socket.socket:
    (listener,) = listen([UnixAddress(str(path))])
    return listener.socket


def test_the_user_of_a_peer_is_told(path: Path) -> None:
    with bound_at(path) as bound, socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(path))
        with bound.accept()[0] as accepted:
            assert unix_sockets.user_of(accepted) == os.getuid()
            assert not unix_sockets.is_hung_up(accepted)
            asking.shutdown(socket.SHUT_WR)
            assert not unix_sockets.is_hung_up(accepted)
            asking.close()
            assert unix_sockets.is_hung_up(accepted)
        assert not unix_sockets.is_hung_up(accepted)
    with socket.socket() as other:
        assert unix_sockets.user_of(other) in (None, 2**32 - 1, -1)


def test_only_its_own_file_is_removed(path: Path) -> None:
    (listener,) = listen([UnixAddress(str(path))])
    with listener.socket:
        path.rename(path.with_name("moved"))
        path.touch()
        listener.remove()
        assert path.exists()
        path.unlink()
        listener.remove()


def test_what_is_no_socket_is_left_alone(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(StartError, match="there is a file already, and it is no socket; choose another"):
        bound_at(path)
    assert path.read_text() == "precious"
    other = path.with_name("other")
    other.symlink_to(path)
    with pytest.raises(StartError, match="it is no socket"):
        bound_at(other)
    with pytest.raises(StartError, match="No such file or directory"):
        bound_at(path / "nowhere" / "kvd.sock" if path.is_dir() else path.with_name("nowhere") / "kvd.sock")


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_socket_that_somebody_else_has_is_refused(path: Path, kind: socket.SocketKind) -> None:
    """Also one whose queue is full, and one of another kind."""
    with socket.socket(socket.AF_UNIX, kind) as theirs:
        theirs.bind(str(path))
        waiting = []
        if kind == socket.SOCK_STREAM:
            theirs.listen(0)
            with suppress(BlockingIOError):
                for _ in range(10):
                    waiting.append(socket.socket(socket.AF_UNIX))
                    waiting[-1].setblocking(False)
                    waiting[-1].connect(str(path))
        with pytest.raises(StartError, match=r"Address already in use|Protocol wrong type"):
            bound_at(path)
        for one in waiting:
            one.close()
    # It is gone, its file is not.
    bound_at(path).close()


def test_of_several_addresses_none_is_left_when_one_is_refused(path: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(StartError, match="taken"):
        listen([UnixAddress(str(path)), UnixAddress(str(tmp_path / "taken"))])
    assert not path.exists()


def test_the_mode_does_not_depend_on_the_umask(path: Path) -> None:
    for mask in (0, 0o077):
        before = os.umask(mask)
        try:
            with bound_at(path):
                assert stat.S_IMODE(path.stat().st_mode) == 0o660
        finally:
            os.umask(before)
        path.unlink()
