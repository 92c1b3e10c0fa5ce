"""Daemons that find at one time that the store lost what they wrote, and settle it between them."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kvd.store.redis.attach import Attaching
from kvd.store.redis.clock import Clock
from kvd.store.redis.connection import Connection, Connector
from kvd.store.redis.engine import ask, look_at
from kvd.store.redis.log import META_COMMAND, read_meta, rewind_command
from tests.support.processes import Redis

FIRST, SECOND = "aaaaaaaa", "bbbbbbbb"


def begin(redis: Redis) -> None:
    """As if both had written in a run before this one, in which not all was on disk."""
    redis.cli("CONFIG", "SET", "appendfsync", "everysec")
    for name, value in {"run": "another", "synced": "0"}.items():
        redis.cli("HSET", "{kvd}:meta", name, value)
    for daemon in (FIRST, SECOND):
        wrote(redis, daemon, 5)


def wrote(redis: Redis, daemon: str, batch: int) -> None:
    """As if a daemon had written a batch a moment ago."""
    redis.cli("HSET", "{kvd}:meta", f"batch:{daemon}", f"{batch} {redis.cli('TIME').split()[0]}000")


class _Overtaken(Attaching):
    """Somebody else renews the history between what this one finds and its own renewal."""

    def __init__(self, daemon: str, overtaking: Callable[[bytes], Awaitable[object]]) -> None:
        super().__init__(Clock(), daemon, "", lambda: False)
        self._overtaking = overtaking

    async def _renew(self, connection: Connection, engine: Any, store: bytes) -> bytes:
        await self._overtaking(store)
        return await super()._renew(connection, engine, store)


@pytest.mark.parametrize("knows_run", [True, False])
async def test_who_finds_the_history_renewed_leaves_no_doubt_of_it_to_others(redis: Redis, *, knows_run: bool) -> None:
    """The other ones waited for what it found, in vain, and renewed the history once more."""
    connection = await Connector(redis.unix_url).open()
    try:
        nobody = Attaching(Clock(), "cccccccc", "", lambda: False)
        await nobody.attach_first(connection, None, doubtful=False)
        begin(redis)
        engine = await look_at(connection, "")
        run = engine.run if knows_run else ""
        second = _Overtaken(SECOND, lambda store: ask(connection, rewind_command(store, run)))
        first = Attaching(Clock(), FIRST, "", lambda: False)
        for one in (first, second):
            one._known = nobody.known
        await second.attach(connection, 10)
        renewed, _ = read_meta(await ask(connection, META_COMMAND))
        assert renewed.store != nobody.known.store
        # As its first write does.
        wrote(redis, SECOND, 11)
        kept = await first.attach(connection, 10)
        # As after the loss of a connection before anything was written.
        assert await first.attach(connection, kept) == 5
        here, _ = read_meta(await ask(connection, META_COMMAND))
        assert here == renewed
    finally:
        await connection.close()
