"""Found: a signal while kvctl top waited for its watch of the prefixes to end was taken for that end, and missed."""

import signal
from pathlib import Path

import pytest

from kvd.client.sync import connect
from tests.support.processes import Daemon
from tests.support.terminal import on_a_terminal

AS_IT_CLOSES = """
import asyncio, os, signal

wait_closed = asyncio.StreamWriter.wait_closed

async def interrupted(writer):
    asyncio.StreamWriter.wait_closed = wait_closed
    os.kill(os.getpid(), %d)
    await asyncio.Event().wait()

asyncio.StreamWriter.wait_closed = interrupted
"""
"""A signal as the first connection is closed, which takes until that comes to be handled."""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM)])
def test_it_ends(daemon: Daemon, tmp_path: Path, number: int, status: int) -> None:
    (tmp_path / "sitecustomize.py").write_text(AS_IT_CLOSES % number)
    with on_a_terminal("--addr", daemon.addr, "top", PYTHONPATH=str(tmp_path)) as terminal:
        terminal.shows("q quit")
        with connect(daemon.addr) as kv:
            terminal.comes_to("its watch", lambda: kv.info()["watchers"] == "1")
        terminal.type("p")
        assert terminal.finish() == status
        assert terminal.is_as_before
