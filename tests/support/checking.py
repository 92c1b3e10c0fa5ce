"""kvd check as a program, and engines that are asked, or whose files are written, behind their daemon's back."""

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import hiredis

from kvd.store.redis.connection import command
from tests.support.processes import ROOT


def check(data: Path, *options: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "kvd", "check", "--data", str(data), *options]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def is_well(data: Path, *options: str) -> bool:
    done = check(data, *options)
    assert done.returncode == 0, done
    return done.stdout.endswith(": all is well\n")


def commands(*lines: str) -> bytes:
    """An append-only file."""
    words = [line.encode().split() for line in lines]
    return b"".join(b"*%d\r\n" % len(line) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in line) for line in words)


def ask_engine(data: Path, *words: object) -> Any:
    """Ask the engine of a daemon that runs on a directory."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(data / "run" / "redis.sock"))
        connection.sendall(command(*[word if isinstance(word, bytes | str) else str(word) for word in words]))
        reader = hiredis.Reader()
        while (reply := reader.gets()) is False:
            reader.feed(connection.recv(1 << 16))
        assert not isinstance(reply, Exception), reply
        return reply
