"""Real processes for tests: the daemon, and a Redis of its own."""

import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil
import pytest

from kvd.embedded.aof import AppendOnlyFile
from tests.support.forks import Fork, Forks
from tests.support.lines import Lines
from tests.support.peers import Peer
from tests.support.ports import kept_port, quiet_port

ROOT = Path(__file__).parents[2]
_FORKS = Forks(ROOT / "kvd" / "__main__.py", os.environ)
PATIENCE = 30.0
"""Seconds until a test that waits for something gives up; never a measure of speed."""


def wait_for(what: str, condition: object) -> None:
    """Poll until condition() is true; fails after PATIENCE."""
    assert callable(condition)
    begun = time.monotonic()
    while not condition():
        waited = time.monotonic() - begun
        if waited > PATIENCE:
            raise AssertionError(f"waited {PATIENCE:.0f} s for {what}")
        # What takes longer is looked at more rarely: to look takes the processor from what is waited for.
        time.sleep(min(max(0.005, waited / 20), 0.05))


def needs(program: str) -> None:
    """Skip a test where a program is not installed; CI installs them all."""
    if shutil.which(program) is None:
        assert not os.environ.get("CI"), f"{program} must be installed"
        pytest.skip(f"{program} is not installed")


def run_forked(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """A run of kvd to its end, as a fork of a process that has loaded the code, unless Python must start for it."""
    if not _FORKS.can_run(os.environ):
        command = [sys.executable, "-m", "kvd", *words]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=2 * PATIENCE, check=False)
    done = _FORKS.run(words, os.environ, b"", 2 * PATIENCE)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


class Daemon:
    """`python -m kvd` on a free port."""

    def __init__(
        self, data: Path, options: Iterable[str] = (), environment: dict[str, str] | None = None, *, limits: str = "",
        root: Path = ROOT,
    ) -> None:  # fmt: skip
        """limits: words for the shell's ulimit.  root: the checkout whose code it runs."""
        self.data = data
        self.port = 0
        self.greeting = ""
        self.is_forked = root == ROOT
        """Whether it may be a fork, which saves most of a start: then `ps` shows another command."""
        self._options = list(options)
        self._root = root
        self._environment = environment or {}
        self._prefix = ["bash", "-c", f'ulimit {limits}; exec "$@"', "bash"] if limits else []
        self._process: subprocess.Popen[bytes] | Fork | None = None
        self._pipes: list[IO[bytes]] = []
        self._log = Lines()

    @property
    def addr(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def append_only_file(self) -> Path:
        """The file that its embedded server appends to."""
        return AppendOnlyFile(self.data).tail()

    @property
    def log(self) -> str:
        """What it has written to standard error up to now, all of it when it has ended."""
        return self._log.text

    def says(self, text: str) -> bool:
        """Wait until its log has the text, which comes by another way than its replies."""
        wait_for(f"{text!r} in the log", lambda: text in self.log)
        return True

    def start(self) -> None:
        """Start (again, on the same port) and wait until it listens."""
        self.port = self.port or kept_port(self)
        words = ["--listen", f"127.0.0.1:{self.port}"]
        if "--follow" not in self._options:
            words += ["--data", str(self.data)]
        self._process, self._pipes = self._begin([*words, *self._options])
        stdout, stderr = self._pipes
        self._log.read(stderr)
        self.greeting = stdout.readline().decode()
        match = re.search(r" listens on 127\.0\.0\.1:(\d+)(?:,|$)", self.greeting)
        if not match:
            self.wait()
            raise AssertionError(f"the daemon did not start: {self.greeting}{self.log}")
        self.port = int(match[1])

    def _begin(self, words: list[str]) -> tuple[subprocess.Popen[bytes] | Fork, list[IO[bytes]]]:
        """Start it; its process, its standard output and its standard error."""
        environment = os.environ | self._environment
        (stdout, out), (stderr, err) = os.pipe(), os.pipe()
        stdin = os.open(os.devnull, os.O_RDONLY)
        pipes: list[IO[bytes]] = [os.fdopen(stdout, "rb"), os.fdopen(stderr, "rb")]
        try:
            if self.is_forked and not self._prefix and _FORKS.can_run(environment):
                return _FORKS.start(words, environment, [stdin, out, err], ROOT), pipes
            command = [*self._prefix, sys.executable, "-m", "kvd", *words]
            process = subprocess.Popen(
                command, cwd=self._root, env=environment, stdin=stdin, stdout=out, stderr=err
            )  # fmt: skip
            return process, pipes
        finally:
            for descriptor in (stdin, out, err):
                os.close(descriptor)

    def redis_pid(self) -> int:
        """The embedded server's process."""
        for child in psutil.Process(self.pid).children():
            with suppress(psutil.NoSuchProcess):  # one that has ended just now
                if "unixsocket:" in " ".join(_command_line(child)) or child.name() in ("redis-server", "valkey-server"):
                    return int(child.pid)
        raise LookupError("no embedded server runs")

    def worker_pids(self) -> list[int]:
        """The processes that serve, where these are not the daemon's own."""
        return [
            int(child.pid) for child in psutil.Process(self.pid).children() if "kvd.workers" in _command_line(child)
        ]  # fmt: skip

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Signal the daemon."""
        os.kill(self.pid, number)

    def crash(self) -> None:
        """Kill it, and wait also for the end of its embedded server: until then its directory is in use."""
        self.kill()
        self.wait()
        wait_for("the end of the embedded server", lambda: is_unlocked(self.data / "redis.lock"))

    def wait(self) -> int:
        """Wait for its end; its exit status."""
        assert self._process
        status = self._process.wait(PATIENCE)
        self._log.join(PATIENCE)
        for pipe in self._pipes:
            pipe.close()
        self._process = None
        return status

    def stop(self) -> None:
        """Stop it as a service manager would; it must end by itself and say that all is well."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            status = self.wait()
        except subprocess.TimeoutExpired:
            self._process.kill()
            self.wait()
            raise
        assert status == 0, f"exit status {status}: {self.log}"

    @contextmanager
    def connect(self) -> Iterator[Peer]:
        """A new connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            peer = Peer(connection)
            try:
                yield peer
            finally:
                peer.close()


StartDaemon = Callable[..., Daemon]
"""The fixture start_daemon."""


def is_unlocked(lock: Path) -> bool:
    """Whether nobody has locked a file, which exists."""
    with lock.open("r+") as file, suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _command_line(process: psutil.Process) -> list[str]:
    """Of a process that may be gone."""
    with suppress(psutil.Error):
        return list(process.cmdline())
    return []


class Redis:
    """Debian's redis-server, or any other of that name, on a unix socket and a TCP port of loopback."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.port = quiet_port()
        self.password = "s3cret:/@"  # noqa: S105  # characters that a URL must escape
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(exist_ok=True)

    @property
    def unix_url(self) -> str:
        return f"unix://:s3cret%3A%2F%40@{self.directory}/redis.sock"

    @property
    def tcp_url(self) -> str:
        return f"redis://:s3cret%3A%2F%40@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        socket_path = self.directory / "redis.sock"
        socket_path.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [
                "redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", str(socket_path),
                "--dir", str(self.directory), "--appendonly", "yes", "--appendfsync", "always", "--save", "",
                "--requirepass", self.password, *self._options,
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for("redis-server", self._answers)

    def _answers(self) -> bool:
        with suppress(subprocess.CalledProcessError):
            return self.cli("PING") == "PONG"
        return False

    def cli(self, *command: str) -> str:
        """Ask it through redis-cli."""
        done = subprocess.run(
            ["redis-cli", "-s", str(self.directory / "redis.sock"), "--no-auth-warning", "-a", self.password, *command],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def kill(self, number: int = signal.SIGKILL) -> None:
        assert self._process
        self._process.send_signal(number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            self._process.wait(PATIENCE)
            self._process = None

    def stop(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGCONT)
            self.kill(signal.SIGTERM)
