"""`kvd --workers N`: several processes on one port and one store, that live and die with their parent."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from kvd.addresses import Address
from kvd.settings import Settings
from kvd.store.location import StoreLocation
from kvd.workers.config import Task
from tests.support.daemons import gone, one_each
from tests.support.peers import Peer
from tests.support.ports import quiet_port
from tests.support.processes import ROOT, Daemon, Redis, StartDaemon, wait_for
from tests.support.text import without_retry
from tests.support.workers import start_worker

MOST_PEERS = 500
"""Connections of one test: a process may not have many more open."""


@pytest.fixture
def daemon(start_daemon: StartDaemon) -> Daemon:
    """A daemon with two workers on a new embedded store."""
    return start_daemon("--workers", "2")


def give_up(*options: str) -> str:
    """The one line of a daemon that cannot start."""
    command = [sys.executable, "-m", "kvd", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("kvd: ")]
    return line


# ---- what all of them are together


def test_each_worker_sees_what_the_others_acknowledged_and_watchers_see_all(daemon: Daemon) -> None:
    with one_each(daemon) as (one, two), one_each(daemon) as watchers:
        positions = [watcher.ask("WATCH") for watcher in watchers]
        assert positions[0] == positions[1]
        for number in range(50):
            assert one.ask(f"SET a {number}").startswith("OK ")
            assert two.ask("GET a") == f"OK {number}"
            assert two.ask("INCR b") == f"OK {number + 1}"
            assert one.ask("GET b") == f"OK {number + 1}"
        seen = [[line.split(" ", 1)[1] for line in watcher.lines(100)] for watcher in watchers]
        assert seen[0] == seen[1]
        assert [int(line.split("@")[0]) for line in seen[0]] == list(range(1, 101))
        infos = []
        for peer in (one, two):
            peer.send("INFO\n")
            infos.append(peer.lines(10))
        assert infos[0] == infos[1]


def test_each_worker_answers_what_it_has_read_without_the_store(daemon: Daemon) -> None:
    with one_each(daemon) as peers:
        assert peers[0].ask("SET a 1") == "OK 1"
        for peer in peers:
            assert peer.ask("GET a") == "OK 1"
        store = psutil.Process(daemon.redis_pid())
        store.suspend()
        try:
            for peer in peers:
                assert peer.ask("GET a") == "OK 1"
        finally:
            store.resume()
        assert peers[1].ask("SET a 2") == "OK 2"
        assert peers[0].ask("GET a") == "OK 2"


def test_port_0_is_one_port_for_all_of_them(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--workers", "3")
    ports = [
        [c.laddr.port for c in psutil.Process(pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        for pid in daemon.worker_pids()
    ]
    assert ports == [[daemon.port]] * 3
    assert not [c for c in psutil.Process(daemon.pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN]


def test_lines_of_the_log_say_which_process_they_come_from(daemon: Daemon) -> None:
    with one_each(daemon) as peers:
        for peer in peers:
            assert peer.ask("POST / HTTP/1.1").startswith("ERR usage ")
            assert peer.is_closed()
    closed = re.compile(r" WARNING \[(\d+)\] kvd\.session: closed the connection").findall
    wait_for("a line of each", lambda: len(closed(daemon.log)) == 2)
    assert sorted(map(int, closed(daemon.log))) == sorted(daemon.worker_pids())


def test_modules_are_not_looked_for_where_the_daemon_is_started(tmp_path: Path) -> None:
    (tmp_path / "uvloop.py").write_text("raise SystemExit('not this one')")
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "kvd", "--workers", "2", "--listen", "127.0.0.1:0"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout
    assert b" listens on " in process.stdout.readline()
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.slow
def test_connections_that_come_while_they_start_are_served(daemon: Daemon) -> None:
    daemon.stop()
    starting = threading.Thread(target=daemon.start)
    starting.start()
    with ExitStack() as stack:
        peers: list[Peer] = []
        # Fewer than may wait to be accepted.
        while starting.is_alive() and len(peers) < MOST_PEERS:
            # There is nobody yet.
            with suppress(ConnectionRefusedError):
                peers.append(stack.enter_context(daemon.connect()))
                peers[-1].send("PING served\n")
            time.sleep(0.002)
        starting.join()
        assert peers
        assert [peer.line() for peer in peers] == ["OK served"] * len(peers)
    # Also where those waited, not all are served by one.
    with one_each(daemon) as peers:
        assert [peer.ask("PING") for peer in peers] == ["OK", "OK"]


# ---- when one of them ends


@pytest.mark.slow
def test_of_a_worker_that_is_killed_only_the_connections_break(daemon: Daemon) -> None:
    before = daemon.worker_pids()
    with one_each(daemon) as (dies, lives), one_each(daemon) as (_, watcher):
        position = watcher.ask("WATCH")
        assert dies.ask("SET a 1") == "OK 1"
        os.kill(before[0], signal.SIGKILL)
        assert dies.is_closed()
        assert lives.ask("GET a") == "OK 1"
        assert lives.ask("SET a 2") == "OK 2"
        store = position.partition("@")[2]
        assert watcher.lines(2) == [f"CHANGE 1@{store} SET a 1", f"CHANGE 2@{store} SET a 2"]
        wait_for("a new worker", lambda: len(daemon.worker_pids()) == 2)
    assert before[1] in daemon.worker_pids()
    assert before[0] not in daemon.worker_pids()
    with one_each(daemon) as peers:
        assert [peer.ask("GET a") for peer in peers] == ["OK 2", "OK 2"]
    assert daemon.says("worker 1 ended (by signal SIGKILL); starting it again")


@pytest.mark.slow
def test_all_workers_killed_again_and_again_come_back(daemon: Daemon) -> None:
    for number in range(3):
        for pid in daemon.worker_pids():
            os.kill(pid, signal.SIGKILL)
        wait_for("new workers", lambda n=number: daemon.log.count(" is process ") == 2 * (n + 2))
        with daemon.connect() as peer:
            assert peer.ask("INCR a") == f"OK {number + 1}"
    with daemon.connect() as peer:
        assert peer.ask("GET a") == "OK 3"


@pytest.mark.slow
def test_a_worker_that_is_asked_to_stop_ends_in_order_and_is_replaced(daemon: Daemon) -> None:
    first, _ = daemon.worker_pids()
    with one_each(daemon) as (watcher, other):
        position = watcher.ask("WATCH").removeprefix("OK ")
        os.kill(first, signal.SIGTERM)
        assert [without_retry(line) for line in watcher.rest()] == [f"END {position} shutdown the daemon stops"]
        assert other.ask("PING x") == "OK x"
    wait_for("a new worker", lambda: daemon.log.count(" is process ") == 3)
    assert daemon.says("worker 1 ended (with exit status 0); starting it again")


def test_all_workers_come_back_to_a_store_that_was_killed(daemon: Daemon) -> None:
    with one_each(daemon) as peers:
        assert peers[0].ask("SET a 1") == "OK 1"
        os.kill(daemon.redis_pid(), signal.SIGKILL)
        for peer in peers:
            wait_for("the store", lambda p=peer: p.ask("GET a") == "OK 1")
        # Reads and writes have connections of their own, which come back one after the other.
        wait_for("writes", lambda: peers[1].ask("INCR a") == "OK 2")


# ---- when all of them end


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_they_answer_what_is_under_way_and_tell_watchers(daemon: Daemon, number: signal.Signals) -> None:
    pids = [*daemon.worker_pids(), daemon.redis_pid()]
    # Ctrl-C in a terminal signals the whole group.
    assert os.getpgid(daemon.pid) not in map(os.getpgid, pids)
    with one_each(daemon) as peers, one_each(daemon) as watchers:
        (store,) = {watcher.ask("WATCH").partition("@")[2] for watcher in watchers}
        for peer in peers:
            peer.send("INCR a\n" * 100)
        assert [peer.line().split()[0] for peer in peers] == ["OK", "OK"]
        daemon.kill(number)
        assert daemon.wait() == 0
        answered = sum(1 + len(peer.rest()) for peer in peers)
        for watcher in watchers:
            *changes, end = watcher.rest()
            # Each ends with its worker, which may have stopped before the other one.
            assert len(changes) <= answered
            assert without_retry(end) == f"END {len(changes)}@{store} shutdown the daemon stops"
    assert all(map(gone, pids))
    assert "Traceback" not in daemon.log
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask("GET a") == f"OK {answered}"


def test_a_worker_that_is_stopped_does_not_keep_the_daemon_from_its_end(daemon: Daemon) -> None:
    os.kill(daemon.worker_pids()[0], signal.SIGSTOP)
    daemon.stop()


def test_a_parent_that_is_killed_takes_all_with_it(daemon: Daemon) -> None:
    pids = [*daemon.worker_pids(), daemon.redis_pid()]
    with one_each(daemon) as peers:
        for peer in peers:
            assert peer.ask("INCR a").startswith("OK ")
        if sys.platform.startswith("linux"):
            os.kill(pids[0], signal.SIGSTOP)
        daemon.kill()
        daemon.wait()
        # At once on the same port and directory.
        daemon.start()
        wait_for("the end of the workers and of the store", lambda: all(map(gone, pids)))
        assert all(peer.is_closed() for peer in peers)
    with daemon.connect() as peer:
        assert peer.ask("GET a") == "OK 2"


# ---- when they cannot start


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_port_of_another_daemon_is_refused(daemon: Daemon, tmp_path: Path, workers: str) -> None:
    """Sockets that may share a port must not do so by accident."""
    data = tmp_path / "other"
    line = give_up("--listen", daemon.addr, "--data", str(data), "--workers", workers)
    assert (
        line == f"kvd: cannot listen on {daemon.addr}: Address already in use; choose another with --listen HOST:PORT"
    )
    assert not (data / "run" / "redis.sock").exists()


def test_the_port_of_another_program_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        addr = f"127.0.0.1:{taken.getsockname()[1]}"
        assert f"cannot listen on {addr}: " in give_up(
            "--listen", addr, "--data", str(tmp_path / "data"), "--workers", "2"
        )


def test_of_two_started_at_once_on_a_port_one_serves(tmp_path: Path) -> None:
    port = quiet_port()
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "kvd", "--workers", "2", "--listen", f"127.0.0.1:{port}", "--data", str(data)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for data in (tmp_path / "one", tmp_path / "two")
    ]  # fmt: skip
    wait_for("one to give up", lambda: any(process.poll() is not None for process in started))
    for process in started:
        if process.poll() is None:
            # Before it has begun to serve, the signal itself may end it.
            assert process.stdout
            assert b" listens on " in process.stdout.readline()
        process.terminate()
    outputs = [process.communicate(timeout=60) for process in started]
    assert sorted(process.returncode for process in started) == [0, 1]
    assert sum(b"cannot listen on" in error for _, error in outputs) == 1


def test_too_many_workers_are_refused() -> None:
    assert give_up("--workers", "65") == "kvd: --workers: invalid number '65': expected 64 at the most"


@pytest.mark.slow
def test_without_descriptors_for_all_of_them_none_is_left_behind(tmp_path: Path) -> None:
    data = tmp_path / "data"
    command = f"ulimit -n 70; exec {sys.executable} -m kvd --listen 127.0.0.1:0 --data {data} --workers 64"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.search(r"^kvd: cannot start worker \d+: Too many open files", done.stderr, re.MULTILINE)
    assert "Traceback" not in done.stderr
    assert str(data) not in str([process.info for process in psutil.process_iter(["cmdline"])])


@pytest.mark.slow
def test_a_worker_that_cannot_listen_says_why() -> None:
    bound = [socket.socket() for _ in range(2)]
    for sock in bound:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with bound[0], bound[1]:
        bound[0].bind(("127.0.0.1", 0))
        bound[1].bind(bound[0].getsockname())
        bound[0].listen()
        addr = "{}:{}".format(*bound[0].getsockname())
        source = StoreLocation("unix:///nowhere", None)
        done = start_worker(
            Task(os.getpid(), Settings(), source, ((bound[1].fileno(), Address(*bound[1].getsockname())),))
        )
    assert done.returncode == 1
    assert done.stdout.decode().startswith(f"cannot listen on {addr}: Address already in use; ")
    assert done.stderr == b""


def test_a_worker_without_a_parent_ends(tmp_path: Path) -> None:
    assert start_worker(None).returncode == 1
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        source = StoreLocation(f"unix://{tmp_path}/nowhere", None)
        taken = (bound.fileno(), Address(*bound.getsockname()))
        done = start_worker(Task(os.getpid(), Settings(), source, (taken,)))
    assert done.returncode == 1
    assert done.stdout == b"ready\n"


# ---- on a store of somebody's own


@pytest.mark.slow
def test_workers_on_another_store_show_its_password_to_nobody(start_daemon: StartDaemon, redis: Redis) -> None:
    daemon = start_daemon("--workers", "2", KVD_STORE=redis.unix_url)
    with one_each(daemon) as (one, two):
        assert one.ask("SET a 1") == "OK 1"
        redis.kill()
        redis.start()
        wait_for("the store", lambda: two.ask("GET a") == "OK 1")
    commands = [psutil.Process(pid).cmdline() for pid in daemon.worker_pids()]
    assert len(commands) == 2
    daemon.stop()
    assert "s3cret" not in f"{commands}{daemon.log}"
