"""Reported: one WARNING for each stranger's connection, 17 GB a day."""

import re
import signal
import socket
import struct
import sys
from pathlib import Path

import pytest

from kvd.process.limited_log import FEW
from tests.support.processes import ROOT, Daemon, StartDaemon, wait_for

pytestmark = pytest.mark.slow

STRANGERS = [
    b"POST / HTTP/1.1\r\n\r\n",
    b"SET /k HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02",
    b"\xef\xbb\xbfPING\n",
    b"\xff\xf4",
]
MANY = 500


def come(daemon: Daemon, many: int) -> None:
    for number in range(many):
        with daemon.connect() as peer:
            peer.send(STRANGERS[number % len(STRANGERS)])
            assert peer.line().startswith("ERR ")


@pytest.mark.parametrize("processes", [1, 2])
def test_strangers_are_counted(processes: int, start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--fsync", "no", "--workers", f"{processes}")
    come(daemon, MANY)
    daemon.stop()
    lines = daemon.log.count("closed the connection of 127.0.0.1:")
    assert FEW <= lines <= FEW * processes
    more = re.findall(r"WARNING.* (\d+) more connections were closed for what they sent in the last \d+ s", daemon.log)
    assert len(more) == processes
    assert lines + sum(map(int, more)) == MANY


QUICK = """
import sys
sys.path.insert(0, {root!r})
from kvd.process import limited_log
limited_log.INTERVAL = 1
from kvd.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_the_counts_are_written_again_and_again(tmp_path: Path) -> None:
    script = tmp_path / "quick.py"
    script.write_text(QUICK.format(root=str(ROOT)))
    daemon = Daemon(tmp_path / "data")
    daemon._prefix = ["bash", "-c", f'exec {sys.executable} {script} "${{@:4}}"', "bash"]
    daemon.start()
    try:
        for summaries in (1, 2):

            def is_told(least: int = summaries) -> bool:
                come(daemon, 2 * FEW)  # which may take longer than an interval on a busy machine
                return told(daemon) >= least

            wait_for("a summary", is_told)
        assert " 0 more " not in daemon.log
    finally:
        daemon.stop()


def told(daemon: Daemon) -> int:
    return daemon.log.count(" more connections were closed ")


def test_refused_connections_are_counted(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "data", limits="-n 65")
    daemon.start()
    with daemon.connect() as served:
        assert served.ask("PING") == "OK"
        for _ in range(50):
            with daemon.connect() as peer:
                assert peer.line().startswith("ERR unavailable ")
    daemon.stop()
    assert daemon.log.count("refused connections (") == 1
    assert " 49 more connections were refused in the last " in daemon.log


def test_lost_connections_are_counted_when_they_are_logged_at_all(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--fsync", "no", "--log-level", "debug")
    for _ in range(MANY):
        with daemon.connect() as peer:
            assert peer.ask("PING") == "OK"
            # Reset, as a peer that is killed with unread data.
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    daemon.kill(signal.SIGTERM)
    assert daemon.wait() == 0
    assert daemon.log.count(" lost 127.0.0.1:") <= FEW
