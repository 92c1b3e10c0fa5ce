"""The fault test as a program: what it makes of daemons that do not come back or talk nonsense, and how it ends."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.faults import processes
from tests.faults.connection import Client, Connection, Lost
from tests.faults.history import History, Reply, Violation
from tests.faults.watchers import Watcher
from tests.faults.workload import Worker
from tests.support.processes import PATIENCE, ROOT, Daemon, StartDaemon, wait_for

# restarts


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PATIENCE", 0.3)


@pytest.mark.slow
async def test_daemons_and_stores_come_back(start_daemon: StartDaemon) -> None:
    daemon = await asyncio.to_thread(start_daemon, "--workers", "2")
    for number in (signal.SIGTERM, signal.SIGKILL):
        await processes.begin_again(daemon, number)
    store = await processes.store(daemon)
    os.kill(store, signal.SIGKILL)
    assert await processes.store(daemon, store) != store
    first, second = await processes.workers(daemon, 2)
    os.kill(first, signal.SIGKILL)
    assert second in await processes.workers(daemon, 2, frozenset({first}))


async def test_a_daemon_that_does_not_start_again_is_a_violation(daemon: Daemon) -> None:
    daemon.append_only_file.write_bytes(b"nothing that can be read")
    with pytest.raises(Violation, match="does not start"):
        await processes.begin_again(daemon, signal.SIGKILL)


async def test_a_daemon_that_ends_by_itself_is_a_violation(daemon: Daemon) -> None:
    daemon.kill(signal.SIGTERM)
    wait_for("its end", lambda: psutil.Process(daemon.pid).status() == psutil.STATUS_ZOMBIE)
    with pytest.raises(Violation, match="status 0 and not -9"):
        await processes.begin_again(daemon, signal.SIGKILL)


@pytest.mark.usefixtures("impatient")
async def test_a_daemon_that_starts_and_does_not_listen_is_a_violation(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()
    await processes.end(daemon, signal.SIGTERM)
    monkeypatch.setattr(processes, "end", lambda *_: asyncio.sleep(0))
    monkeypatch.setattr(daemon, "start", ended.wait)
    monkeypatch.setattr(daemon, "kill", ended.set)
    with pytest.raises(Violation, match="does not listen"):
        await processes.begin_again(daemon, signal.SIGTERM)


@pytest.mark.usefixtures("impatient")
async def test_a_store_that_does_not_come_back_is_a_violation(daemon: Daemon) -> None:
    store = await processes.store(daemon)
    # It cannot start another.
    daemon.kill(signal.SIGSTOP)
    os.kill(store, signal.SIGKILL)
    try:
        with pytest.raises(Violation, match="the store to come back"):
            await processes.store(daemon, store)
    finally:
        daemon.kill(signal.SIGCONT)


@pytest.mark.usefixtures("impatient")
async def test_a_worker_that_does_not_come_back_is_a_violation(daemon: Daemon) -> None:
    with pytest.raises(Violation, match="2 workers"):
        await processes.workers(daemon, 2)


# lines


@asynccontextmanager
async def saying(lines: bytes) -> AsyncIterator[int]:
    """The port of a daemon that says the same to everybody."""

    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(lines)
        writer.close()

    server = await asyncio.start_server(say, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def read(port: int) -> History:
    """Ask for a key."""
    history = History()
    connection = await Connection.open(port)
    try:
        await Client(history, connection).ask([Worker.read("GETS", "a")])
    finally:
        connection.cut(at_once=True)
    return history


async def watch(port: int) -> History:
    """Watch until there is a violation."""
    history = History()
    await Watcher(history, port, "", (), "one", ["*"]).run()
    return history


@pytest.mark.parametrize("ask", [read, watch])
@pytest.mark.parametrize(
    ("lines", "because"),
    [
        (b"OK 1 caf\xe9\n", "not UTF-8: b'OK 1 caf"),
        (b"OK 1\xff\n", "not UTF-8"),
        (b"OK one two\n", "makes no sense"),
    ],
)
async def test_lines_that_nobody_can_read_are_violations(
    ask: Callable[[int], Awaitable[History]], lines: bytes, because: str
) -> None:
    async with saying(lines) as port:
        with pytest.raises(Violation, match=because):
            await ask(port)


async def test_a_line_that_was_cut_off_is_none() -> None:
    async with saying(b"OK 1 caf\xc3\xa9\n") as port:
        (operation,) = (await read(port)).operations
        assert operation.reply == Reply("OK", 1, "text:caf\xe9")
    async with saying(b"OK 1 caf\xc3") as port:
        with pytest.raises(Lost):
            await read(port)


# the program


class Program:
    """`python -m tests.faults` on a small disk, in the background of a script, where Ctrl-C is ignored."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        seed = f"--seed=interrupted-{directory.name}"
        command = [sys.executable, "-m", "tests.faults", "--tmpfs", "--seconds=60", seed]
        self.process = subprocess.Popen(
            ["bash", "-c", 'trap "" INT; exec "$@"', "bash", *command],
            cwd=ROOT, env=os.environ | {"TMPDIR": str(directory)}, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def has_mounted(self) -> bool:
        return str(self._directory) in Path("/proc/mounts").read_text()

    def is_at_work(self) -> bool:
        """Whether the store is written to."""
        files = self._directory.glob("*/data/**/*.aof")
        return self.has_mounted() and sum(file.stat().st_size for file in files) > 100_000

    def is_left(self) -> bool:
        """Whether there is any process of it."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if str(self._directory) in f"{process.cwd()} {process.cmdline()}":
                    return True
        return False


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """One that has just been started; should it leave its disk after, that is unmounted here."""
    program = Program(tmp_path)
    yield program
    program.process.kill()
    program.process.communicate()
    if program.has_mounted():
        (data,) = tmp_path.glob("*/data")
        subprocess.run(["umount", "--lazy", str(data)], check=True)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGTERM, signal.SIGTERM]], ids=str)
def test_nothing_is_left_when_it_is_interrupted(
    program: Program, tmp_path: Path, signals: Sequence[int], *, early: bool
) -> None:
    wait_for("the load", program.has_mounted if early else program.is_at_work)
    for number in signals:
        program.process.send_signal(number)
    _, said = program.process.communicate(timeout=PATIENCE)
    assert program.process.returncode == 130
    # Where Python was interrupted while it made an event loop, it says more.
    assert "interrupted" in said.splitlines()
    assert not program.has_mounted()
    wait_for("the end of the store", lambda: not program.is_left())
    # Where the path of its data is long, a daemon that is killed leaves the short directory of its socket.
    assert [left for left in tmp_path.iterdir() if not left.name.startswith("kvd-")] == []
