"""How the store is doing, as far as its server tells: for metrics."""

from contextlib import suppress

from kvd.errors import Unavailable
from kvd.store.api import Vitals
from kvd.store.redis.channel import Channel
from kvd.store.redis.clock import Clock
from kvd.store.redis.connection import TTL, command, info_of

SYNCS = (b"aof-fsync-always", b"aof-write")
"""What the server's latency monitor calls a sync to disk, and the write that waits for one, by appendfsync."""


async def ask_vitals(channel: Channel, clock: Clock) -> Vitals:
    """Ask for them.  Raises Unavailable."""
    info = info_of(await channel.call(command("INFO", "memory")))
    backlog = await channel.call(command("ZCOUNT", TTL, "-inf", clock.now))
    first = await channel.call(command("ZRANGE", TTL, 0, 0, "WITHSCORES"))
    lag = max(0, clock.now - int(float(first[1]))) if backlog and first else 0
    return Vitals(int(info.get("used_memory_rss", 0)), int(backlog), lag, await _syncs(channel))


async def _syncs(channel: Channel) -> tuple[int, int] | None:
    # One who was given the store may not be allowed to ask.
    with suppress(Unavailable):
        for name, _, latest, longest, *_ in await channel.call(command("LATENCY", "LATEST")):
            if name in SYNCS:
                return int(latest), int(longest)
    return None
