"""A watcher of the client's that closes, or is killed, is gone at once: a daemon that knew only that nothing more will
come from it kept it, and counted it, until it had a change for it."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvd.client import connect
from kvd.client.sync import connect as connect_blocking
from tests.support.kvctl import ENVIRONMENT, PROGRAM, run
from tests.support.processes import ROOT, wait_for

NOT_LOOKING = """
import sys
from kvd.process import half_open
from kvd.session import peer
half_open.LOOK_INTERVAL = peer.GONE_INTERVAL = 1e6
half_open.keep_alive = lambda _: None
from kvd.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
"""A daemon that never asks whether a peer is gone, nor has its kernel ask: it knows only what it is sent."""


@pytest.fixture(scope="module")
def addr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where that daemon listens."""
    data = tmp_path_factory.mktemp("watchers") / "data"
    command = [sys.executable, "-c", NOT_LOOKING, "--listen", "127.0.0.1:0", "--data", str(data)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout
        yield f"127.0.0.1:{int(process.stdout.readline().rpartition(b':')[2])}"
        process.terminate()


def watchers(addr: str) -> int:
    with connect_blocking(addr) as kv:
        return int(kv.info()["watchers"])


def is_left_by_all(addr: str) -> None:
    wait_for("its end", lambda: watchers(addr) == 0)


def test_a_watch_of_tasks(addr: str) -> None:
    async def watch() -> None:
        async with await connect(addr) as kv, kv.watch("a*"):
            assert await asyncio.to_thread(watchers, addr) == 1

    asyncio.run(watch())
    is_left_by_all(addr)


def test_a_watch_of_threads(addr: str) -> None:
    with connect_blocking(addr) as kv, kv.watch("a*"):
        assert watchers(addr) == 1
    is_left_by_all(addr)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_kvctl_watch(addr: str, how: signal.Signals) -> None:
    command = [sys.executable, str(PROGRAM), "--addr", addr, "watch", "a*"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=ENVIRONMENT) as process:
        wait_for("the watch", lambda: watchers(addr) == 1)
        process.send_signal(how)
    is_left_by_all(addr)


@pytest.mark.parametrize("words", [["export"], ["export", "a*", "FILE"], ["backup", "FILE"], ["edit", "a"]])
def test_a_copy_that_is_done(addr: str, tmp_path: Path, words: list[str]) -> None:
    """Found by use: what had asked for a copy was counted as a watcher for half a minute."""
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho "$$" > "$1"\n')
    editor.chmod(0o700)
    files = [str(tmp_path / "file") if word == "FILE" else word for word in words]
    result = run("--addr", addr, *files, EDITOR=str(editor))
    assert result.returncode == 0, result.stderr
    is_left_by_all(addr)
