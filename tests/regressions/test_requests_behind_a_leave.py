"""What is asked of an edge while it is about to leave an upstream, which still owes an answer, goes to the next one."""

import asyncio
from typing import Any, cast

from kvd.edge.pipe import GRACE, Pipe
from kvd.errors import ConnectionLost

SILENCE = 30.0
PATIENCE = 4.0


class Lines:
    """A connection to an upstream."""

    address = "here"
    is_due = is_closed = False

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.coming: asyncio.Queue[list[bytes]] = asyncio.Queue()

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    async def read(self) -> list[bytes]:
        return await self.coming.get()

    async def close(self) -> None:
        self.is_closed = True


class Upstream:
    """One after the other; then one that does not answer."""

    def __init__(self, *all_lines: Lines) -> None:
        self._left = list(all_lines)

    def turn(self) -> None:
        """There is nothing to choose from."""

    async def connect(self, *_: object) -> Lines:
        if self._left:
            return self._left.pop(0)
        await asyncio.sleep(3600)
        raise ConnectionLost("it does not answer")


async def asked_behind_a_leave(seconds: float, first: Lines, *others: Lines) -> asyncio.Future[bool]:
    """Ask, as the answer before it takes so many seconds; whether it was sent."""
    loop = asyncio.get_running_loop()
    pipe = Pipe(cast(Any, Upstream(first, *others)), SILENCE)
    running = loop.create_task(pipe.run())
    sent: asyncio.Future[bool] = loop.create_future()
    pipe.ask(b"SET a 1\n", 1, lambda *_: None)
    while not first.sent:  # noqa: ASYNC110  # it goes with the next turn
        await asyncio.sleep(0)
    pipe.leave(first.address)
    pipe.ask(b"SET b 1\n", 1, lambda _, __, was_sent: sent.set_result(was_sent))
    sent.add_done_callback(lambda _: running.cancel())
    await asyncio.sleep(seconds)
    first.coming.put_nowait([b"OK 1"])
    return sent


async def test_it_waits_for_the_next_upstream_from_when_that_is_sought() -> None:
    """It was refused as soon as the other one was left, if that had taken a second."""
    second = Lines()
    second.coming.put_nowait([])
    sent = await asked_behind_a_leave(1.2 * GRACE, Lines(), second)
    async with asyncio.timeout(PATIENCE):
        while not second.sent and not sent.done():  # noqa: ASYNC110  # it is sent, or refused
            await asyncio.sleep(0.01)
    second.coming.put_nowait([b"OK 2"])
    assert await sent
    assert second.sent == [b"SET b 1\n"]


async def test_it_does_not_wait_for_one_that_does_not_answer() -> None:
    """It was refused when it was given up to connect, after five seconds for each."""
    async with asyncio.timeout(PATIENCE):
        assert not await (await asked_behind_a_leave(0.1, Lines()))
