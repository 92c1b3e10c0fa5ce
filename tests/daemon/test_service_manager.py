"""A service manager that waits for a daemon (systemd's Type=notify) is told when it is ready, alive, and stopping."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.access import users_text
from tests.support.processes import PATIENCE, StartDaemon


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(PATIENCE)
        yield listening


def test_it_hears_of_the_start_of_each_reload_and_of_the_stop(
    manager: socket.socket, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    users = tmp_path / "users.toml"
    users.write_text(users_text({"default": {"*": "read"}}))
    daemon = start_daemon("--users", str(users), "--workers", "2", NOTIFY_SOCKET=manager.getsockname())
    assert manager.recv(1000) == b"READY=1"
    with daemon.connect() as peer:
        # A client that is told that it is ready can be served.
        assert peer.ask("PING") == "OK"
    os.kill(daemon.pid, signal.SIGHUP)
    reloading, monotonic = manager.recv(1000).decode().split("\n")
    assert (reloading, monotonic.partition("=")[0]) == ("RELOADING=1", "MONOTONIC_USEC")
    assert manager.recv(1000) == b"READY=1"
    daemon.stop()
    assert manager.recv(1000) == b"STOPPING=1"
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(1000)


def test_with_a_watchdog_it_hears_again_and_again_unless_another_process_is_meant(
    manager: socket.socket, start_daemon: StartDaemon
) -> None:
    start_daemon(NOTIFY_SOCKET=manager.getsockname(), WATCHDOG_USEC="100000")
    assert {manager.recv(1000) for _ in range(5)} == {b"READY=1", b"WATCHDOG=1"}


def test_a_manager_that_is_gone_or_cannot_be_meant_is_no_reason_to_end(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    daemon = start_daemon(NOTIFY_SOCKET=str(tmp_path / "nobody"), WATCHDOG_USEC="100000", WATCHDOG_PID="1")
    daemon.stop()
    start_daemon(NOTIFY_SOCKET="relative", WATCHDOG_USEC="often").stop()
