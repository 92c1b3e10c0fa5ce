"""Reported: while the daemon is stopped, or its machine gone, `kvctl watch` and every other command wait for ever; and
kvctl says "start it with 'kvd'" where a daemon is that does not answer.
"""

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from tests.support.kvctl import Watching, complaint, printed, run, scripted, watching
from tests.support.processes import Daemon, wait_for

pytestmark = pytest.mark.slow

ADVICE = "start it with 'kvd'"


@contextmanager
def answering_pings_only() -> Iterator[str]:
    """A server that answers each PING, and nothing else."""

    def serve() -> None:
        with suppress(OSError):  # until it is shut down
            while True:
                answer(server.accept()[0])

    def answer(peer: socket.socket) -> None:
        with suppress(ConnectionError), peer, peer.makefile("rb") as requests:  # as watchers end
            for request in requests:
                if request == b"PING\n":
                    peer.sendall(b"OK\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        serving = threading.Thread(target=serve)
        serving.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            serving.join()


def lasts(daemon: Daemon, use: Callable[[Watching], None], *words: str) -> None:
    """Wait for a watch that is used so and was never lost: one may be while the machine stands still."""

    def is_kept() -> bool:
        with ExitStack() as stack:
            try:
                watch = stack.enter_context(watching(daemon.addr, *words))
            except AssertionError:  # it has not begun in time
                return False
            use(watch)
            return watch.interrupt() == (0, b"")

    wait_for("a watch that is not lost", is_kept)


@pytest.mark.parametrize(
    ("words", "status"),
    [*((words, 3) for words in (["get", "k"], ["keys"], ["watch"])), *((["set", "k", "v"], 7), (["del", "k", "l"], 7))],
)  # fmt: skip
def test_a_daemon_that_answers_nothing_is_given_up(words: list[str], status: int) -> None:
    with answering_pings_only() as address:
        # Also to the first PING the server must have answered in so short a time.
        results = iter(lambda: run("--addr", address, "--timeout", "0.2", *words), None)
        says = complaint(next(result for result in results if b"cannot reach kvd" not in result.stderr), status)
    assert "no byte from the daemon for 0.2 s" in says
    assert ADVICE not in says


@pytest.mark.parametrize("silent", [0, 1], ids=["source", "destination"])
def test_a_mirror_of_a_daemon_that_answers_nothing_does_not_begin(daemon: Daemon, silent: int) -> None:
    """Found: it asked again for ever, and said nothing."""
    with answering_pings_only() as address:
        pair = [daemon.addr, daemon.addr]
        pair[silent] = address
        results = iter(lambda: run("--timeout", "0.5", "mirror", *pair), None)
        says = complaint(next(result for result in results if address.encode() in result.stderr), 3)
    assert "no byte from the daemon for 0.5 s" in says or "cannot reach kvd" in says


def test_a_watch_gives_up_a_daemon_that_is_stopped_and_goes_on_when_it_is_there(daemon: Daemon) -> None:
    with watching(daemon.addr, "--timeout", "4") as watch:
        printed(run("--addr", daemon.addr, "set", "k", "v"))
        assert watch.line().endswith(b" SET k v\n")
        daemon.kill(signal.SIGSTOP)
        try:
            assert watch.says().startswith(b"kvctl: lost kvd at ")
        finally:
            daemon.kill(signal.SIGCONT)
        printed(run("--addr", daemon.addr, "set", "k", "w"))
        assert watch.line().endswith(b" SET k w\n")


def test_a_daemon_that_is_stopped_is_not_to_be_started(daemon: Daemon) -> None:
    daemon.kill(signal.SIGSTOP)
    try:
        for words in (["set", "k", "v"], ["watch"], ["set", "k", "-"]):
            says = complaint(run("--addr", daemon.addr, "--timeout=0.2", *words), 3)
            assert "cannot reach kvd" in says
            assert ADVICE not in says
    finally:
        daemon.kill(signal.SIGCONT)


def test_without_a_limit_a_daemon_may_be_silent_for_longer(daemon: Daemon) -> None:
    """It is stopped for longer than kvctl waits of itself while it connects."""
    daemon.kill(signal.SIGSTOP)
    waking = threading.Timer(6, daemon.kill, [signal.SIGCONT])
    waking.start()
    assert printed(run("--addr", daemon.addr, "--timeout", "0", "set", "k", "v")) == b"1\n"
    waking.join()


def test_the_advice_is_given_where_nothing_listens() -> None:
    with scripted(greeting=b"") as address:
        assert ADVICE not in complaint(run("--addr", address, "get", "k"), 3)
    assert ADVICE in complaint(run("--addr", address, "get", "k"), 3)


def test_a_quiet_watch_lasts_longer_than_its_limit(daemon: Daemon) -> None:
    def use(watch: Watching) -> None:
        threading.Event().wait(1.5)
        printed(run("--addr", daemon.addr, "set", "k", "v"))
        assert watch.line().endswith(b" SET k v\n")

    lasts(daemon, use, "--timeout", "0.5")


def test_a_watch_whose_reader_pauses_is_not_lost(daemon: Daemon) -> None:
    """As under `less`: more comes than the pipe holds, and for longer than the limit nobody reads it."""

    def use(watch: Watching) -> None:
        with daemon.connect() as peer:
            for number in range(40):
                assert peer.ask("SET k " + f"{number}" * (1 << 13)).startswith("OK ")
        threading.Event().wait(1.5)
        for number in range(40):
            assert watch.line().endswith(f"{number}".encode() * (1 << 13) + b"\n")

    lasts(daemon, use, "--timeout", "0.5")


@pytest.mark.parametrize("lines", [b"GET k\nSET k v\n", b"GET k\nQUIT\n", b"WATCH\nUNWATCH\n", b"WATCH\nQUIT\n"])
def test_lines_that_are_all_answered_end_though_the_daemon_closes_nothing(lines: bytes) -> None:
    ended = threading.Event()

    def serve() -> None:
        peer, _ = server.accept()
        with peer, peer.makefile("rb") as requests:
            with suppress(ConnectionError):  # it takes no answer to its QUIT, by which it says that it closes
                for _request in requests:
                    peer.sendall(b"OK\n")
            ended.wait()

    with socket.create_server(("127.0.0.1", 0)) as server:
        serving = threading.Thread(target=serve)
        serving.start()
        try:
            done = run("--addr", f"127.0.0.1:{server.getsockname()[1]}", "send", stdin=lines)
        finally:
            ended.set()
            serving.join()
    assert printed(done) == b"OK\n" * 2
