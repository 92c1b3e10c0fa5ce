"""Whether the servers are set up to keep their word: what is not, stops the start with one line."""

import asyncio

from kvd.errors import StoreLost, StoreUnusable, Superseded
from kvd.group_url import GroupUrl
from kvd.store.redis.connection import Connection, Rejected, command, info_of, open_by
from kvd.store.redis.engine import ask
from kvd.store.redis.library import Library
from kvd.store.replicated.primary import Address, shown
from kvd.store.replicated.replicas import INFO, is_copying, online

PATIENCE = 1.0
"""Seconds that a replica has to answer, and
ONLINE_WAIT: that replicas have to come, after which they are too few, and
COPY_WAIT: those to which the primary sends a copy; before it begins it waits, by its own setting, for five."""
ONLINE_WAIT = 5.0
COPY_WAIT = 60.0
ONLINE_PAUSE = 0.1
_SETTINGS = ("appendonly", "appendfsync", "replica-priority")


async def check_servers(primary: Connection, address: Address, url: GroupUrl) -> None:
    """Whether the primary and its replicas keep an append-only file, sync it always, and may all be promoted alike.

    Raises StoreLost, StoreUnusable, Rejected, TimeoutError.
    """
    replicas = online(await _replication(primary))
    found = {address: await _settings(primary)}
    told = zip(replicas, await asyncio.gather(*(_ask(one, url) for one in replicas)), strict=True)
    # One that cannot be asked from here may be as good as the others.
    found |= {one: settings for one, settings in told if settings}
    for one, settings in found.items():
        _check_file(one, settings)
    priorities = {settings["replica-priority"] for settings in found.values() if "replica-priority" in settings}
    if len(priorities) > 1:
        raise StoreUnusable(
            f"its servers have different replica-priority ({', '.join(sorted(priorities))}), so that a failover may "
            "prefer one that lacks confirmed writes; to give all the same: redis-cli CONFIG SET replica-priority 100"
        )


def _check_file(address: Address, settings: dict[str, str]) -> None:
    server = shown(address)
    if settings.get("appendonly", "yes") != "yes":
        raise StoreUnusable(
            f"{server} keeps no append-only file, and loses acknowledged writes when it is started anew; to keep them: "
            "redis-cli CONFIG SET appendonly yes, and appendfsync always"
        )
    if settings.get("appendfsync", "always") != "always":
        raise StoreUnusable(
            f"{server} has appendfsync {settings['appendfsync']}, so that what replicas confirm is not on their disks "
            "yet; to have it there: redis-cli CONFIG SET appendfsync always"
        )


async def _settings(connection: Connection) -> dict[str, str]:
    """Its settings, as far as it tells them; many a provider hides them."""
    found: dict[str, str] = {}
    for name in _SETTINGS:
        try:
            reply = await ask(connection, command("CONFIG", "GET", name))
        except Rejected:
            continue
        if reply:
            found[name] = reply[1].decode(errors="replace")
    info = info_of(await ask(connection, command("INFO", "persistence")))
    found.setdefault("appendonly", "yes" if info.get("aof_enabled") == "1" else "no")
    return found


async def _ask(address: Address, url: GroupUrl) -> dict[str, str] | None:
    library = Library(url.of_data(*address), PATIENCE)

    async def greet(_: Connection) -> None:
        pass

    try:
        connection = await open_by(library, library.make(), Connection, greet, PATIENCE)
    except (StoreLost, Superseded):
        return None
    try:
        async with asyncio.timeout(PATIENCE):
            return await _settings(connection)
    except (StoreLost, TimeoutError, Rejected):
        return None
    finally:
        await connection.close()


async def _replication(primary: Connection) -> dict[str, str]:
    return info_of(await ask(primary, INFO))


async def check_replicas(primary: Connection, needed: int, known: int) -> None:
    """Whether so many replicas follow it.  needed: 0 if all are, of which there are none.  known: also those away.

    Raises StoreLost, StoreUnusable, Rejected, TimeoutError.
    """
    begun = asyncio.get_running_loop().time()
    while (following := len(online(info := await _replication(primary)))) < max(needed, 1):
        waited = asyncio.get_running_loop().time() - begun
        # Who watches over a group that was started a moment ago knows of none yet.
        is_hopeless = known and max(needed, 1) > max(known, following)
        if is_hopeless or waited > (COPY_WAIT if is_copying(info) else ONLINE_WAIT):
            raise StoreUnusable(
                f"replicas that follow its primary: {following}, and --durability asks for {needed or 'all'}: start "
                "more, or ask for less"
            )
        await asyncio.sleep(ONLINE_PAUSE)
