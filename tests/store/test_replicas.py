"""What a daemon finds out of the replicas of its store."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kvd.errors import StoreLost, StoreUnusable
from kvd.store.redis.connection import Connection, open_by
from kvd.store.redis.library import Library
from kvd.store.replicated import checks, replicas
from kvd.store.replicated.replicas import Replica
from tests.support.groups import SETTINGS, Node
from tests.support.processes import needs

DELAY = "600"
"""Seconds that the primary waits for others before it begins a copy: as long as a test has it wait."""


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[Node]:
    needs("redis-server")
    node = Node(tmp_path / "primary", *SETTINGS[:-1], DELAY)
    try:
        node.start()
        yield node
    finally:
        node.kill()


@asynccontextmanager
async def connected(node: Node) -> AsyncIterator[Connection]:
    async def greet(_: Connection) -> None:
        pass

    library = Library(f"redis://127.0.0.1:{node.port}", 5)
    connection = await open_by(library, library.make(), Connection, greet)
    try:
        yield connection
    finally:
        await connection.close()


async def test_one_that_is_sent_a_copy_is_waited_for_however_long_others_have(
    primary: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: asyncio.Queue[bool] = asyncio.Queue()

    def is_copying(info: dict[str, str]) -> bool:
        looked.put_nowait(True)
        return replicas.is_copying(info)

    monkeypatch.setattr(checks, "ONLINE_WAIT", 0)
    monkeypatch.setattr(checks, "is_copying", is_copying)
    replica = Node(tmp_path / "replica", *SETTINGS, "--replicaof", primary.host, str(primary.port))
    try:
        replica.start()
        async with connected(primary) as connection:
            assert primary.info("replication")["slave0"]["state"] == "wait_bgsave"  # type: ignore[index]
            waiting = asyncio.create_task(checks.check_replicas(connection, 1, 0))
            # It has looked, and found that there is none yet.
            await looked.get()
            assert not waiting.done()
            primary.ask("CONFIG", "SET", "repl-diskless-sync-delay", "0")
            await waiting
        assert primary.info("replication")["slave0"]["state"] == "online"  # type: ignore[index]
    finally:
        replica.kill()


async def test_where_none_is_they_are_too_few_soon(primary: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "ONLINE_WAIT", 0.2)
    async with connected(primary) as connection:
        with pytest.raises(
            StoreUnusable, match=r"^replicas that follow its primary: 0, and --durability asks for 1: start"
        ):
            await checks.check_replicas(connection, 1, 0)


async def test_one_that_hangs_is_left_in_the_midst_of_a_read(primary: Node) -> None:
    """Between the reply that has changes and the one that says whose they are."""

    async def open_more() -> Connection:
        raise AssertionError

    late: list[bool] = []
    async with connected(primary) as connection:
        replica = Replica((primary.host, primary.port), connection, "", open_more, lambda: late.append(True))
        primary.signal(signal.SIGSTOP)
        try:
            with pytest.raises(StoreLost, match="does not answer"):
                await replica.check()
        finally:
            primary.signal(signal.SIGCONT)
    assert late
