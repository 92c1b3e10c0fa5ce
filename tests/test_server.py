"""The daemon as a whole: connections that nobody ends."""

import socket
import struct
import subprocess
import sys
from pathlib import Path

import psutil

from tests.processes import ROOT, wait_for

IMPATIENT = """
import sys
from kvd.session import session
session.GONE_INTERVAL = 0.1
from kvd.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
"""A daemon that looks for them more often than every half minute."""


def test_half_closed_watchers_that_are_gone_are_found(tmp_path: Path) -> None:
    """`echo WATCH quiet | nc`, ended by Ctrl-C: nothing is read from it and nothing sent to it any more."""
    process = subprocess.Popen(
        [sys.executable, "-c", IMPATIENT, "--listen", "127.0.0.1:0", "--data", str(tmp_path / "data")],
        cwd=ROOT, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout
    port = int(process.stdout.readline().rpartition(b":")[2])
    with socket.create_connection(("127.0.0.1", port)) as stays:
        stays.sendall(b"WATCH quiet\n")
        stays.shutdown(socket.SHUT_WR)
        assert stays.recv(100).startswith(b"OK ")
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", port)) as goes:
                goes.sendall(b"WATCH quiet\n")
                goes.shutdown(socket.SHUT_WR)
                assert goes.recv(100).startswith(b"OK ")
                # Reset, as the kernel of a peer that is gone answers keep-alive a minute later.
                goes.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        def half_closed() -> int:
            connections = psutil.Process(process.pid).net_connections("tcp")
            return sum(connection.status == psutil.CONN_CLOSE_WAIT for connection in connections)

        wait_for("those that are gone to be found", lambda: half_closed() == 1)
        with socket.create_connection(("127.0.0.1", port)) as writer:
            writer.sendall(b"SET quiet 1\n")
            assert writer.recv(100) == b"OK 1\n"
        assert b" SET quiet 1\n" in stays.recv(100)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 0
