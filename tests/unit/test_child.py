"""Children that are asked to end."""

import asyncio
import signal
import subprocess
import sys
import time

import pytest

from kvd.process.child import Child
from tests.support.processes import PATIENCE

OBSTINATE = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"


class Obstinate(Child):
    """Ignores SIGTERM.  ended: to be set when it is to be taken for ended."""

    name = "the child"
    stop_wait = 0.4

    def __init__(self) -> None:
        super().__init__()
        self.ended = asyncio.Event()
        self.asked = asyncio.Event()

    async def launch(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", OBSTINATE], stdout=subprocess.PIPE)
        assert self._process.stdout
        self._process.stdout.readline()

    async def _wait(self) -> int:
        self.asked.set()
        await self.ended.wait()
        return 0

    async def stop(self) -> int | None:
        """Its exit status, None if it was left alone."""
        await self._terminate()
        assert self._process
        return self._process.poll()

    def close(self) -> None:
        """End it, whatever became of it."""
        assert self._process
        assert self._process.stdout
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


async def test_a_child_that_does_not_end_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    child = Obstinate()
    await child.launch()
    try:
        async with asyncio.timeout(PATIENCE):
            assert await child.stop() == -signal.SIGKILL
        assert "did not end within" in caplog.text
    finally:
        child.close()


async def test_a_pause_of_the_machine_does_not_have_a_child_killed_that_is_ending() -> None:
    child = Obstinate()
    await child.launch()
    child.stop_wait = 0.8
    try:
        stopping = asyncio.create_task(child.stop())
        await child.asked.wait()
        time.sleep(child.stop_wait + 0.1)  # noqa: ASYNC251  # nothing goes on meanwhile, as in a pause
        # It sees the end of its time, and the child ends a moment later.
        await asyncio.sleep(0.01)
        child.ended.set()
        async with asyncio.timeout(PATIENCE):
            assert await stopping is None, "it was killed"
    finally:
        child.close()
