"""A check right after the daemon was killed waits for the end of its engine, as the next start does.

It said that the directory was in use: the engine ends a moment later than its daemon.
"""

import asyncio
import fcntl
from pathlib import Path

import pytest

from kvd.embedded import engines
from kvd.embedded.reading import Reading
from kvd.errors import StartError


def test_the_engine_of_a_daemon_that_was_killed_is_waited_for(tmp_path: Path) -> None:
    reading = Reading(tmp_path, engines.choose(""), 1000)

    async def read() -> None:
        with (tmp_path / "redis.lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            begun = asyncio.create_task(reading.start())
            await asyncio.sleep(0)
            assert not begun.done()
        # It has the lock now, and looks at the directory.
        with pytest.raises(StartError, match="there is no store in "):
            await begun
        await reading.stop()

    asyncio.run(read())


def test_a_daemon_is_not_waited_for(tmp_path: Path) -> None:
    reading = Reading(tmp_path, engines.choose(""), 1000)

    async def read() -> None:
        with (tmp_path / "kvd.lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            begun = asyncio.create_task(reading.start())
            await asyncio.sleep(0)
            assert begun.done()
            with pytest.raises(StartError, match="is in use; try again"):
                await begun
        await reading.stop()

    asyncio.run(read())
