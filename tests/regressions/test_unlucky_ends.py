"""Found, as relatives of the shell's coroutine that nobody awaited: Python's own words where kvctl ends."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kvd.cli.status import INTERRUPTED
from kvd.client.line_connection import LineConnection
from tests.support.kvctl import ENVIRONMENT, PATIENCE, PROGRAM, Result, printed, scripted
from tests.support.processes import ROOT, Daemon
from tests.support.terminal import CTRL_C, on_a_terminal

INTERRUPT = "import os, signal; os.kill(os.getpid(), signal.SIGINT)\n"
AT_THE_END = f"import atexit; atexit.register(lambda: exec({INTERRUPT!r}))\n"
TWICE = """
import asyncio, os, signal, sys

complete, calls = asyncio.BaseEventLoop.run_until_complete, 0

def interrupted(loop, work):
    global calls
    calls += 1
    if calls == 1:
        loop.call_later(0.01, os.kill, os.getpid(), signal.SIGINT)
    elif calls == 2:
        os.kill(os.getpid(), signal.SIGINT)
    return complete(loop, work)

asyncio.BaseEventLoop.run_until_complete = interrupted
from kvctl import main

sys.exit(main())
"""
"""Ctrl-C amid a command, and again where the event loop begins to end."""


def run(*words: str, modules: Path | None = None) -> Result:
    path = os.pathsep.join(map(str, [*([modules] if modules else []), ROOT]))
    return subprocess.run(
        [sys.executable, *words], env=ENVIRONMENT | {"PYTHONPATH": path}, stdin=subprocess.DEVNULL, capture_output=True,
        timeout=PATIENCE, check=False,
    )  # fmt: skip


def test_interrupted_while_it_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "shlex.py").write_text(INTERRUPT)
    result = run(str(PROGRAM), "--version", modules=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (-signal.SIGINT, b"", b"")


def test_interrupted_when_all_is_done(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(AT_THE_END)
    assert printed(run(str(PROGRAM), "--version", modules=tmp_path)).startswith(b"kvctl ")


@pytest.mark.parametrize("words", [["wait", "nothing"], ["watch"], ["lock", "l", "sleep", "60"]])
def test_interrupted_again_while_it_ends(daemon: Daemon, words: list[str]) -> None:
    if words[0] == "lock":
        with daemon.connect() as peer:  # somebody has it
            peer.ask("PUT l/0 = other")
    result = run("-c", TWICE, "--addr", daemon.addr, *words)
    assert result.returncode == INTERRUPTED
    assert [line for line in result.stderr.splitlines() if not line.startswith(b"kvctl: watching")] == []


def test_interrupted_where_a_password_is_asked_for(tmp_path: Path) -> None:
    with on_a_terminal("user", "add", "bob", "--file", str(tmp_path / "users.toml"), "--rule", "a=read") as terminal:
        terminal.shows("new password of bob:")
        assert not terminal.is_as_before
        terminal.type(CTRL_C)
        assert terminal.finish() == INTERRUPTED
        assert terminal.is_as_before


def test_lines_after_the_end_of_a_connection(caplog: pytest.LogCaptureFixture) -> None:
    async def send() -> None:
        with scripted() as address:
            lines = await LineConnection.open(address)
            await lines.close()
        for _ in range(100):
            lines.send(b"PING")
            await lines.drain()

    asyncio.run(send())
    assert caplog.messages == []
