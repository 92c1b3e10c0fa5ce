"""What was left behind on one of the ways out: a connection of a watch that ended at once, a question to a worker that
had just ended, who waited for a revision, an answer of a Sentinel, a connection to a primary."""

import asyncio
import gc
from collections.abc import AsyncGenerator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kvd import group_url
from kvd.errors import StoreLost, Unavailable
from kvd.model import Patterns, Position
from kvd.session import reaching
from kvd.session.carrying import Carrying
from kvd.session.committing import Committing
from kvd.session.reaching import Reaching
from kvd.store.redis.connection import answer
from kvd.store.replicated import connecting
from kvd.store.replicated.connecting import PrimaryConnector
from kvd.store.replicated.guard import Guard
from kvd.store.replicated.primary import Primary
from kvd.store.replicated.witness import Witness, ask_all
from kvd.watch import snapshot
from kvd.watch.catching_up import CatchingUp
from kvd.watch.hub import Hub
from kvd.watch.pages import Pages
from kvd.watch.snapshot import Copy, Copying
from kvd.watch.watcher import Watcher
from kvd.workers.config import Answered, Message
from kvd.workers.others import Exchange

ANY = cast(Any, None)
AHEAD = Position(5, b"s")


class Silent:
    """A tunnel through which nothing comes."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    held = 0

    def tell(self, grown: Callable[[], None]) -> None:
        """Nothing comes."""

    async def pieces(self) -> AsyncGenerator[tuple[bytes, int], None]:
        await asyncio.Event().wait()
        yield b"", 0

    def drop(self) -> None:
        """Nothing has come."""

    async def close(self) -> None:
        self.closed.set()


@pytest.mark.parametrize("steps", range(3))
async def test_the_connection_of_a_watch_that_is_replaced_at_once(steps: int) -> None:
    """A RESUME of what an edge does not know, with a QUIT or an UNWATCH right behind it, left one to the upstream."""
    tunnel, hub = Silent(), Hub()
    watcher = Watcher(Patterns([b"*"]), lambda _: True, lambda: None, lambda: None, lambda _: None)
    carrying = Carrying(tunnel, watcher, ANY, cast(Any, SimpleNamespace(note=ANY)), hub, CatchingUp(ANY, hub))
    for _ in range(steps):
        await asyncio.sleep(0)
    carrying.stop()
    async with asyncio.timeout(5):
        await tunnel.closed.wait()


class Worker:
    """A worker, as its parent sees it."""

    serves = True

    def __init__(self) -> None:
        self.told: asyncio.Future[Message] = asyncio.Future()

    async def tell(self, message: Message) -> None:
        self.told.set_result(message)


async def test_the_question_to_a_worker_that_ends_just_then() -> None:
    """Who had asked was told that one does not answer, after seconds."""
    exchange, asker, ending = Exchange(), Worker(), Worker()
    exchange.begin(asker)
    exchange.begin(ending)
    assert exchange.hear(asker, b"ask 7 question\n")
    await asyncio.sleep(0)  # it is about to be asked
    exchange.end(ending)
    async with asyncio.timeout(1):
        assert await asker.told == Answered(7, ())


class Ahead:
    """A store whose change log is not read up to where it is."""

    async def history(self) -> tuple[Position, int]:
        return AHEAD, 0

    async def check(self, _: Position) -> int:
        return 0


async def reach(hub: Hub) -> None:
    await Reaching(cast(Any, Ahead()), hub, 60).reach(AHEAD._replace(revision=9), lambda: False)


async def commit(hub: Hub) -> None:
    committing = Committing(cast(Any, Ahead()), ANY, hub, CatchingUp(ANY, hub))
    await committing._reach(9)


async def copy(hub: Hub) -> None:
    sent = Copy(Copying(ANY, Pages(ANY, hub), hub), Patterns([b"*"]), 0)
    try:
        await sent._reach(9)
    finally:
        sent.close()


@pytest.mark.parametrize("wait", [reach, commit, copy])
async def test_who_waits_for_a_revision_and_is_cancelled(
    wait: Callable[[Hub], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was kept, to be called, until that revision was published: where the log is lost, for ever."""
    monkeypatch.setattr(reaching, "PAUSE", 60)
    hub = Hub()
    hub.start(Position(1, b"s"))
    waiting = asyncio.ensure_future(wait(hub))
    for _ in range(10):
        await asyncio.sleep(0)
    assert hub._waiting
    waiting.cancel()
    await asyncio.wait([waiting])
    assert not hub._waiting


async def test_a_copy_that_waits_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "REACH_TIMEOUT", 0.01)
    hub = Hub()
    with pytest.raises(Unavailable):
        await copy(hub)
    assert not hub._waiting


class Stopped:
    """A connection to a server that does not answer."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[None] = asyncio.Future()
        self.asked: list[asyncio.Future[Any]] = []

    def begin(self, _: bytes) -> asyncio.Future[Any]:
        self.asked.append(asyncio.Future())
        return self.asked[-1]


@pytest.mark.parametrize("answers_first", [False, True])
async def test_who_asks_a_sentinel_and_is_cancelled(answers_first: bool) -> None:
    """Its connection was lost later, as at the daemon's end, which then told of an error that was not foreseen."""
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    witness, connection = Witness("redis://127.0.0.1:1"), Stopped()
    witness._connection = cast(Any, connection)
    witness._tried.set()
    asking = asyncio.create_task(ask_all([witness], b"one", b"two"))
    await asyncio.sleep(0)
    assert len(connection.asked) == 2
    if answers_first:
        answer(connection.asked.pop(), StoreLost("the connection was closed"))
    asking.cancel()
    await asyncio.wait([asking])
    while connection.asked:
        answer(connection.asked.pop(), StoreLost("the connection was closed"))
    del asking
    gc.collect()
    assert not told


class Opened:
    """A connection to a primary."""

    is_closed = False

    async def close(self) -> None:
        self.is_closed = True


async def test_a_connection_that_is_open_when_who_opens_it_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Opened()
    opening: asyncio.Future[None] = asyncio.Future()

    async def open_by(*_: object) -> Opened:
        await opening
        return opened

    monkeypatch.setattr(connecting, "open_by", open_by)
    url = group_url.parse("redis+cluster://127.0.0.1:1")
    connector = PrimaryConnector(url, Guard(ANY), attaches=True)
    connects = asyncio.create_task(connector._open(Primary(("127.0.0.1", 1), 0, "", 0.0, False)))
    await asyncio.sleep(0)
    opening.set_result(None)
    await asyncio.sleep(0)  # it is open, and who waits does not know yet
    connects.cancel()
    await asyncio.wait([connects])
    assert connects.cancelled()
    assert opened.is_closed
