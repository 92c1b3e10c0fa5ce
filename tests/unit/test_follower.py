"""The log reader: what it hands on together."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest

from kvd.model import Change, Entry, Position
from kvd.watch import follower
from kvd.watch.follower import SHORTEST_WAIT, Follower

STORE = b"store"


class Clock:
    """In place of `time`: it goes on only when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class Log:
    """A link whose entries come one a read, and are written for as long as there are any."""

    def __init__(self, clock: Clock, revisions: Iterator[int]) -> None:
        self._clock = clock
        self._revisions = revisions
        self._here = 0
        self.left = True

    async def read_log(self, after: int, count: int, block: int) -> list[Entry]:  # noqa: ARG002
        await asyncio.sleep(0)
        self._clock.now += 0.0001
        revision = next(self._revisions, 0)
        if not revision:
            self.left = False
            return []
        self._here = revision
        return [Entry(b"tag", [Change(revision, b"SET", b"k")])]

    def is_written(self) -> bool:
        return self.left

    async def tag_at(self, revision: int) -> bytes | None:  # noqa: ARG002
        raise AssertionError

    async def where(self) -> Position:
        return Position(self._here, STORE)

    async def replace_history(self, store: bytes) -> None:  # noqa: ARG002
        raise AssertionError

    async def close(self) -> None:
        pass


class Audience:
    """Takes a given time for each publication."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self.published: list[list[int]] = []

    def start(self, position: Position) -> None:
        assert position == (0, STORE)

    def publish(self, store: bytes, changes: list[Change]) -> None:
        assert store == STORE
        self.published.append([change.revision for change in changes])
        self._clock.now += self._seconds

    def end_all(self, code: str, text: str) -> None:  # noqa: ARG002
        raise AssertionError


@pytest.mark.parametrize(
    ("seconds", "together"),
    [
        (SHORTEST_WAIT / 2, [[1], [2], [3], [4], [5], [6]]),
        # The first publication tells how long it takes.
        (SHORTEST_WAIT * 1.15, [[1], [2, 3, 4], [5, 6]]),
        (SHORTEST_WAIT * 50, [[1], [2, 3, 4, 5, 6]]),
    ],
)
async def test_what_follows_is_waited_for_as_long_as_publishing_takes(
    seconds: float, together: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(follower, "time", clock)
    log = Log(clock, iter(range(1, 7)))
    audience = Audience(clock, seconds)

    async def connect() -> Log:
        return log

    following = Follower(connect, audience)
    running = asyncio.create_task(following.run())
    await following.join()
    async with asyncio.timeout(10):
        while log.left:  # noqa: ASYNC110  # the log has no event
            await asyncio.sleep(0)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert audience.published == together
