"""Reported: Ctrl-C or SIGTERM while a bar is shown left the terminal without a cursor, and with the bar."""

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from kvd.cli.status import INTERRUPTED
from tests.support.kvctl import PATIENCE
from tests.support.processes import Daemon
from tests.support.terminal import CTRL_C, HIDDEN, Terminal, on_a_terminal

ANSWERS = {
    b"PING": b"OK\n", b"INFO": b"INFO max-value 1000\nOK\n", b"COUNT": b"OK 9\n", b"BEGIN": b"OK\n",
    b"CHECK": b"OK queued\n",
    b"ABORT": b"OK\n",
}  # fmt: skip

NOTHING_WRITTEN = "0 of 3 keys were written{}; to run import again is safe"
PERHAPS = ", and perhaps up to 3 more"

TWICE = """
import asyncio, os, signal

call = asyncio.BaseEventLoop.call_soon_threadsafe

def again(loop, work, *words, **options):
    if getattr(work, "__name__", "") == "cancel":
        os.kill(os.getpid(), signal.SIGINT)
    return call(loop, work, *words, **options)

asyncio.BaseEventLoop.call_soon_threadsafe = again
"""
"""A second signal before anything is done about the first one."""
AMID = """
import os, signal, time
from rich.progress import Progress

add = Progress.add_task

def amid(bar, *words, **options):
    task = add(bar, *words, **options)
    with bar._lock:
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)
    return task

Progress.add_task = amid
"""
"""A signal while the bar is being changed, and time for a thread, if there were one, to come to draw it."""
AMID_A_WRITE = """
import io, os, signal, sys

class Written(io.FileIO):
    def write(self, data):
        size = super().write(data)
        if b"%s" in bytes(data):
            os.kill(os.getpid(), %d)
        return size

sys.stderr = io.TextIOWrapper(io.BufferedWriter(Written(2, "w")), line_buffering=True, write_through=True)
"""
"""A signal before the buffer of standard error knows that the bar was written."""
ANOTHER = """
import os

write = os.write

def interrupted(descriptor, data):
    if data.endswith(b"\\x1b[?25h"):
        os.write = write
        os.kill(os.getpid(), %d)
    return write(descriptor, data)

os.write = interrupted
"""
"""A signal just before the cursor is shown for the one before it."""


@contextmanager
def silent(closing: threading.Event, asked: threading.Event | None = None) -> Iterator[str]:
    """A daemon that answers these alone, until it goes.  asked: set when it was asked for something else."""

    def serve() -> None:
        while True:
            with suppress(OSError):
                peer, _ = server.accept()
                threading.Thread(target=answer, args=[peer], daemon=True).start()
                continue
            return

    def answer(peer: socket.socket) -> None:
        with peer, peer.makefile("rb") as requests, suppress(OSError):
            for request in requests:
                if (reply := ANSWERS.get(request.split()[0])) is None:
                    if asked:
                        asked.set()
                    closing.wait(PATIENCE)
                    return
                peer.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        closing.set()
        server.shutdown(socket.SHUT_RDWR)


def words_of(command: str, tmp_path: Path) -> list[str]:
    """A command line that shows a bar."""
    file = tmp_path / "file"
    if command == "import":
        file.write_text('{"key": "k", "value": "v"}\n' * 3)
    return ["export", "*", str(file)] if command == "export" else [command, str(file)]


@contextmanager
def amid(command: str, tmp_path: Path, closing: threading.Event, **variables: str) -> Iterator[Terminal]:
    """Run a command whose bar is shown, and that has asked the daemon for what it does not answer."""
    asked = threading.Event()
    words = words_of(command, tmp_path)
    with silent(closing, asked) as address, on_a_terminal("--addr", address, *words, **variables) as terminal:
        terminal.shows("writing" if command == "import" else "reading")
        assert HIDDEN in terminal.raw
        assert not terminal.is_as_before
        assert asked.wait(PATIENCE)
        yield terminal


@pytest.mark.unmeasured
@pytest.mark.parametrize("command", ["import", "export", "backup"])
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP), (None, 7)],
)
def test_whatever_ends_it_amid_a_bar(tmp_path: Path, command: str, number: int | None, status: int) -> None:
    closing = threading.Event()
    with amid(command, tmp_path, closing) as terminal:
        if number is None:
            closing.set()
        elif number == signal.SIGINT:
            terminal.type(CTRL_C)
        else:
            terminal.signal(number)
        assert terminal.finish() == (3 if command != "import" and number is None else status)
        assert terminal.is_as_before
        assert "0:00" not in terminal.text
        assert (NOTHING_WRITTEN.format(PERHAPS) in terminal.text) == (command == "import")


def test_amid_a_change_of_the_bar(tmp_path: Path) -> None:
    """It waited for ever for the thread that drew the bar, and that one for it."""
    (tmp_path / "sitecustomize.py").write_text(AMID)
    with (
        silent(threading.Event()) as address,
        on_a_terminal("--addr", address, *words_of("export", tmp_path), PYTHONPATH=str(tmp_path)) as terminal,
    ):
        assert terminal.finish() == INTERRUPTED
        assert terminal.is_as_before
        assert terminal.text.strip() == ""


@pytest.mark.unmeasured
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", ["import", "export"])
def test_amid_a_write_of_the_bar(tmp_path: Path, command: str, number: int) -> None:
    """It left the cursor hidden, and did not say what had been written."""
    what = "writing" if command == "import" else "reading"
    (tmp_path / "sitecustomize.py").write_text(AMID_A_WRITE % (what, number))
    with (
        silent(threading.Event()) as address,
        on_a_terminal("--addr", address, *words_of(command, tmp_path), PYTHONPATH=str(tmp_path)) as terminal,
    ):
        assert terminal.finish() == (INTERRUPTED if number == signal.SIGINT else -number)
        assert HIDDEN in terminal.raw
        assert terminal.is_as_before
        assert terminal.text.strip() == (f"kvctl: {NOTHING_WRITTEN.format('')}" if command == "import" else "")


@pytest.mark.unmeasured
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", ["import", "export"])
def test_another_signal_before_it_is_given_back(tmp_path: Path, command: str, number: int) -> None:
    """It ended the program at once, for the first one had taken what was to be done off the list."""
    (tmp_path / "sitecustomize.py").write_text(ANOTHER % number)
    with amid(command, tmp_path, threading.Event(), PYTHONPATH=str(tmp_path)) as terminal:
        terminal.signal(signal.SIGTERM)
        assert terminal.finish() == (INTERRUPTED if number == signal.SIGINT else -number)
        assert terminal.is_as_before
        assert (NOTHING_WRITTEN.format(PERHAPS) in terminal.text) == (command == "import")


@pytest.mark.parametrize(("command", "shown"), [("top", "q quit"), ("shell", "\nkvd>")])
def test_interrupted_twice(daemon: Daemon, tmp_path: Path, command: str, shown: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(TWICE)
    with on_a_terminal("--addr", daemon.addr, command, PYTHONPATH=str(tmp_path)) as terminal:
        terminal.shows(shown)
        assert not terminal.is_as_before
        terminal.signal(signal.SIGINT)
        assert terminal.finish() == INTERRUPTED
        assert terminal.is_as_before
        assert terminal.raw.rfind(b"\x1b[?2004l") >= terminal.raw.rfind(b"\x1b[?2004h")
