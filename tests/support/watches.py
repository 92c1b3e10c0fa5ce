"""Writes that a kvctl watch is to see, and what it printed of them."""

import socket
import threading

from tests.support.kvctl import Result, run
from tests.support.processes import Daemon


def write(daemon: Daemon, lines: list[bytes]) -> int:
    """Do all this on one connection; return the last revision."""
    with socket.create_connection(("127.0.0.1", daemon.port)) as connection, connection.makefile("rb") as replies:
        threading.Thread(target=lambda: connection.sendall(b"".join(line + b"\n" for line in lines))).start()
        for _ in lines:
            reply = replies.readline()
            assert reply.startswith(b"OK "), reply
    return int(reply.split()[1])


def sets(key: str, *values: object) -> list[bytes]:
    return [f"SET {key} {value}".encode() for value in values]


def watch(daemon: Daemon, *words: str) -> Result:
    return run("--addr", daemon.addr, "watch", *words)


def changes(result: Result) -> list[str]:
    """What was printed, without the positions."""
    assert result.returncode == 0, result.stderr
    return [line.partition(" ")[2] for line in result.stdout.decode().splitlines()]
