"""The engine of a store: which run of it this is, and what of that which it acknowledged it may lose."""

import asyncio
import logging
from typing import Any, NamedTuple

from kvd.errors import StoreUnusable
from kvd.store.redis.batching import REPLY_TIMEOUT
from kvd.store.redis.connection import Connection, Rejected, command, info_of

logger = logging.getLogger("kvd.store")

OLDEST_REDIS = (6, 2)
"""XTRIM MINID came with 6.2."""
UNREADABLE = "unreadable"
"""In place of a setting that the engine does not tell."""
FSYNC_COMMAND = command("CONFIG", "GET", "appendfsync")


class Engine(NamedTuple):
    """What matters of a server.

    run: its run id, another one whenever it was started, "" if it has none.  fsync: its appendfsync, or UNREADABLE.
    keeps_file: whether it keeps an append-only file.  is_promoted: whether it was a replica before, which may lack what
    another server acknowledged.  is_rewriting: whether that file is written anew, or was to be: one that was turned on
    lately is of no use before that.
    """

    run: str
    fsync: str
    keeps_file: bool
    is_promoted: bool
    is_rewriting: bool = False

    @property
    def synced(self) -> bool:
        """Whether writes are on disk before they are acknowledged."""
        return self.keeps_file and self.fsync == "always"


async def ask(connection: Connection, packed: bytes) -> Any:
    """The reply to a command.  Raises Rejected, StoreLost, TimeoutError."""
    async with asyncio.timeout(REPLY_TIMEOUT):
        return await connection.call(packed)


async def look_at(connection: Connection, fsync: str) -> Engine:
    """The engine at the other end.  Raises Rejected, StoreLost, TimeoutError.

    fsync: its appendfsync, if that is known and need not be asked for.
    """
    info = info_of(await ask(connection, command("INFO")))
    return engine_from(info, fsync or await _fsync(connection))


def engine_from(info: dict[str, str], fsync: str) -> Engine:
    """The engine that gave this INFO.  fsync: its appendfsync."""
    run = info.get("run_id", "")
    names = ("rewrite_in_progress", "rewrite_scheduled", "last_bgrewrite_status")
    return Engine(
        run if run.isalnum() else "",
        fsync,
        info.get("aof_enabled") == "1",
        info.get("master_replid2", "").strip("0") != "",
        [info.get(f"aof_{name}") for name in names] != ["0", "0", "ok"],
    )


async def _fsync(connection: Connection) -> str:
    """Its appendfsync; many a provider hides it."""
    try:
        return fsync_from(await ask(connection, FSYNC_COMMAND))
    except Rejected:
        return UNREADABLE


def fsync_from(reply: list[bytes]) -> str:
    """The appendfsync in the reply to FSYNC_COMMAND."""
    return reply[1].decode(errors="replace") if reply else UNREADABLE


async def check_server(connection: Connection) -> dict[str, str]:
    """What INFO says.  Raises StoreUnusable for a server that is too old or may drop keys.

    Raises Rejected, StoreLost, TimeoutError as `ask` does.
    """
    info = info_of(await ask(connection, command("INFO")))
    version = tuple(int(part) for part in info.get("redis_version", "0.0").split(".")[:2])
    if version < OLDEST_REDIS:
        raise StoreUnusable(f"it is {engine_of(info)}; kvd needs 6.2 or newer, or Valkey")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy.startswith("allkeys"):
        raise StoreUnusable(
            f"it may drop keys when its memory is full (maxmemory-policy {policy}); "
            "set it to noeviction: redis-cli CONFIG SET maxmemory-policy noeviction"
        )
    return info


def engine_of(info: dict[str, str]) -> str:
    """Name and version of the engine that gave this INFO, such as "Valkey 9.1.2"."""
    valkey = info.get("valkey_version")
    return f"Valkey {valkey}" if valkey else f"Redis {info.get('redis_version', 'of unknown version')}"


def warn_of(engine: Engine) -> None:
    """Say in the log what a crash of a store may cost, and the remedy."""
    if not engine.keeps_file:
        logger.warning(
            "the store keeps no append-only file: a crash of it loses acknowledged writes; "
            "to keep them: redis-cli CONFIG SET appendonly yes, and appendfsync always"
        )
    elif engine.fsync == UNREADABLE:
        logger.warning(
            "the store does not tell its appendfsync (CONFIG GET is refused), which is taken for everysec: a power "
            "failure may lose acknowledged writes; to keep them, have it run with appendfsync always"
        )
    elif not engine.synced:
        logger.warning(
            "the store acknowledges writes before they are on disk (appendfsync %s): a power failure loses some; "
            "to keep them: redis-cli CONFIG SET appendfsync always, and CONFIG REWRITE",
            engine.fsync,
        )
