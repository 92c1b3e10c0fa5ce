"""A watcher of the client's that closes, or is killed, is gone at once: a daemon that knew only that nothing more will
come from it kept it, and counted it, until it had a change for it."""

import asyncio
import signal
import subprocess
import sys

import pytest

from kvd.client import connect
from kvd.client.sync import connect as connect_blocking
from tests.support.kvctl import ENVIRONMENT, PROGRAM
from tests.support.processes import PATIENCE, Daemon, wait_for


def watchers(daemon: Daemon) -> int:
    with connect_blocking(daemon.addr) as kv:
        return int(kv.info()["watchers"])


def is_left_by_all(daemon: Daemon) -> None:
    wait_for("its end", lambda: watchers(daemon) == 0)


@pytest.mark.timeout(PATIENCE)
def test_a_watch_of_tasks(shared_daemon: Daemon) -> None:
    async def watch() -> None:
        async with await connect(shared_daemon.addr) as kv, kv.watch("a*"):
            assert await asyncio.to_thread(watchers, shared_daemon) == 1

    asyncio.run(watch())
    is_left_by_all(shared_daemon)


@pytest.mark.timeout(PATIENCE)
def test_a_watch_of_threads(shared_daemon: Daemon) -> None:
    with connect_blocking(shared_daemon.addr) as kv, kv.watch("a*"):
        assert watchers(shared_daemon) == 1
    is_left_by_all(shared_daemon)


@pytest.mark.timeout(PATIENCE)
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_kvctl_watch(shared_daemon: Daemon, how: signal.Signals) -> None:
    command = [sys.executable, str(PROGRAM), "--addr", shared_daemon.addr, "watch", "a*"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=ENVIRONMENT) as process:
        wait_for("the watch", lambda: watchers(shared_daemon) == 1)
        process.send_signal(how)
    is_left_by_all(shared_daemon)
