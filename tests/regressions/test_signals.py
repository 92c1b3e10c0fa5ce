"""Reported: SIGHUP, as a terminal sends it when it is closed, and SIGQUIT killed the daemon, without END lines."""

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.support.daemons import gone, one_each
from tests.support.peers import Peer
from tests.support.processes import PATIENCE, ROOT, Daemon, StartDaemon, needs, wait_for
from tests.support.text import without_retry

WORKERS = pytest.mark.parametrize("workers", ["1", "2"])
ON_LINUX = [number for number in signal.valid_signals() if getattr(number, "name", "") == "SIGPWR"]
MEANINGLESS = sorted(
    {signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO}
    | {number for number in signal.valid_signals() if number > signal.SIGSYS}
)
STRAY = [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2]


def processes_of(daemon: Daemon) -> list[int]:
    return [daemon.pid, *daemon.worker_pids(), daemon.redis_pid()]


def rest_of(peer: Peer) -> list[str]:
    """What still comes of a watch without changes: how it ends."""
    return [without_retry(line) for line in peer.rest()]


def watch(peer: Peer) -> str:
    """The line with which a watch without changes ends in order."""
    return f"END {peer.ask('WATCH').removeprefix('OK ')} shutdown the daemon stops"


@pytest.mark.slow
@WORKERS
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT, *ON_LINUX, signal.SIGXCPU])
def test_each_of_them_is_an_orderly_end(start_daemon: StartDaemon, workers: str, number: signal.Signals) -> None:
    daemon = start_daemon("--workers", workers)
    pids = processes_of(daemon)
    with daemon.connect() as peer:
        end = watch(peer)
        daemon.kill(number)
        assert rest_of(peer) == [end]
    assert daemon.wait() == 0
    assert all(map(gone, pids))
    assert "ended (" not in daemon.log


@pytest.mark.slow
@WORKERS
def test_signals_while_it_ends_change_nothing(start_daemon: StartDaemon, workers: str) -> None:
    """A shell and the kernel both send SIGHUP when a terminal is closed; its status stays 0 to the very end."""
    daemon = start_daemon("--workers", workers)
    daemon.kill(signal.SIGHUP)
    process = psutil.Process(daemon.pid)
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT, signal.SIGINT, signal.SIGUSR1):
            with suppress(ProcessLookupError):
                daemon.kill(number)
    assert daemon.wait() == 0
    assert "ended (" not in daemon.log


@pytest.mark.slow
@WORKERS
def test_a_daemon_under_nohup_outlives_sighup(start_daemon: StartDaemon, workers: str) -> None:
    needs("nohup")
    daemon = start_daemon("--workers", workers)
    daemon.stop()
    daemon._prefix = ["nohup"]
    daemon.start()
    pids = processes_of(daemon)
    for pid in pids:
        os.kill(pid, signal.SIGHUP)
    with daemon.connect() as peer:
        assert peer.ask("SET a 1") == "OK 1"
        end = watch(peer)
        assert processes_of(daemon) == pids
        daemon.kill(signal.SIGQUIT)
        assert rest_of(peer) == [end]
    assert daemon.wait() == 0


@WORKERS
def test_signals_without_a_meaning_are_ignored(start_daemon: StartDaemon, workers: str) -> None:
    daemon = start_daemon("--workers", workers)
    pids = processes_of(daemon)
    with daemon.connect() as peer:
        end = watch(peer)
        for pid in pids:
            for number in MEANINGLESS:
                os.kill(pid, number)
        assert peer.ask("PING x") == "OK x"
        assert processes_of(daemon) == pids
        daemon.kill(signal.SIGTERM)
        assert rest_of(peer) == [end]
    assert daemon.wait() == 0
    assert "ended (" not in daemon.log


def test_workers_and_the_store_end_by_their_parent_only(start_daemon: StartDaemon) -> None:
    """Whoever signals their process groups, or each of them, ends none of them."""
    daemon = start_daemon("--workers", "2")
    children = processes_of(daemon)[1:]
    with one_each(daemon) as peers:
        for pid in children:
            for number in STRAY:
                os.killpg(pid, number)
        assert [peer.ask("SET a 1").split()[0] for peer in peers] == ["OK", "OK"]
        ends = [watch(peer) for peer in peers]
        assert processes_of(daemon)[1:] == children
        daemon.kill(signal.SIGHUP)
        assert [rest_of(peer) for peer in peers] == [[end] for end in ends]
    assert daemon.wait() == 0
    assert "ended (" not in daemon.log


def test_a_rewrite_of_the_append_only_file_can_still_be_stopped(start_daemon: StartDaemon) -> None:
    """The store ends its own child by SIGUSR1, which kvd ignores."""
    daemon = start_daemon()
    with daemon.connect() as peer:
        assert peer.ask("SET a 1") == "OK 1"
    server = psutil.Process(daemon.redis_pid())
    ignored, held_back = (_mask(server.pid, name) for name in ("SigIgn", "SigBlk"))
    assert signal.SIGUSR1 in ignored
    assert signal.SIGUSR1 not in held_back
    assert signal.SIGTERM not in ignored | held_back


def _mask(pid: int, name: str) -> set[int]:
    """A set of signals of a process, as Linux shows it."""
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux shows it")
    status = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    bits = int(status[name], 16)
    return {number for number in signal.valid_signals() if bits >> (number - 1) & 1}


class Terminal:
    """A terminal, and a daemon that was started on it; its standard error is the terminal."""

    def __init__(self, tmp_path: Path, *options: str, by: Sequence[str] = ()) -> None:
        """by: the command that starts it, in a session of its own; without one the daemon leads the session."""
        self._output = tmp_path / "output"
        command = [*by, sys.executable, "-m", "kvd", "--listen", "127.0.0.1:0", "--data", str(tmp_path / "data")]
        self._master, slave = os.openpty()
        with self._output.open("w") as output:
            self.process = subprocess.Popen(
                [*command, "--log-level", "debug", *options], cwd=ROOT, stdin=slave, stdout=output, stderr=slave,
                start_new_session=True, preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0),
            )  # fmt: skip
        os.close(slave)

    @contextmanager
    def connect(self) -> Iterator[Peer]:
        wait_for("the daemon", lambda: "try: " in self._output.read_text())
        port = re.search(r" listens on 127\.0\.0\.1:(\d+)$", self._output.read_text(), re.MULTILINE)
        assert port
        with socket.create_connection(("127.0.0.1", int(port[1])), timeout=PATIENCE) as connection:
            peer = Peer(connection)
            yield peer
            peer.close()

    def close(self) -> None:
        """As when its window is closed."""
        if self._master >= 0:
            os.close(self._master)
        self._master = -1

    def end(self) -> None:
        """Leave nothing behind, also when the test failed."""
        self.close()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)


StartOnTerminal = Callable[..., Terminal]


@pytest.fixture
def start_on_terminal(tmp_path: Path) -> Iterator[StartOnTerminal]:
    started: list[Terminal] = []

    def start(*options: str, by: Sequence[str] = ()) -> Terminal:
        started.append(Terminal(tmp_path, *options, by=by))
        return started[-1]

    yield start
    for terminal in started:
        terminal.end()


def family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


@pytest.mark.slow
@WORKERS
@pytest.mark.parametrize("by", [[], ["bash", "-c", '"$@"; :', "bash"], ["bash", "-c", '"$@" & wait', "bash"]])
def test_a_terminal_that_is_closed_is_an_orderly_end(
    start_on_terminal: StartOnTerminal, workers: str, by: list[str]
) -> None:
    terminal = start_on_terminal("--workers", workers, by=by)
    with terminal.connect() as peer:
        end = watch(peer)
        processes = family(terminal.process.pid)
        terminal.close()
        assert rest_of(peer) == [end]
    status = terminal.process.wait(PATIENCE)
    assert by or status == 0
    assert psutil.wait_procs(processes, PATIENCE)[1] == []


@pytest.mark.slow
@WORKERS
def test_a_daemon_under_nohup_outlives_its_terminal(start_on_terminal: StartOnTerminal, workers: str) -> None:
    needs("nohup")
    terminal = start_on_terminal("--workers", workers, by=["bash", "-c", 'nohup "$@" & wait', "bash"])
    with terminal.connect() as peer:
        end = watch(peer)
        _, *daemon = family(terminal.process.pid)
        terminal.close()
        terminal.process.wait(PATIENCE)
        assert peer.ask("PING x") == "OK x"
        assert all(process.is_running() for process in daemon)
        daemon[0].terminate()
        assert rest_of(peer) == [end]
    assert psutil.wait_procs(daemon, PATIENCE)[1] == []
