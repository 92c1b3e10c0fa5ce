"""How the store is doing, as far as its server tells: for metrics."""

from kvd.store.api import Vitals
from kvd.store.redis.channel import Channel
from kvd.store.redis.clock import Clock
from kvd.store.redis.connection import TTL, command, info_of


async def ask_vitals(channel: Channel, clock: Clock) -> Vitals:
    """Ask for them.  Raises Unavailable."""
    info = info_of(await channel.call(command("INFO")))
    backlog = await channel.call(command("ZCOUNT", TTL, "-inf", clock.now))
    first = await channel.call(command("ZRANGE", TTL, 0, 0, "WITHSCORES"))
    lag = max(0, clock.now - int(float(first[1]))) if backlog and first else 0
    return Vitals(int(info.get("used_memory_rss", 0)), int(backlog), lag, int(info.get("aof_delayed_fsync", 0)))
