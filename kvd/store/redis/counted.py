"""What the store has counted of the patterns for which users have quotas (lua/quotas.lua)."""

from kvd.store.redis.channel import Channel
from kvd.store.redis.connection import META, command

WHOLE = b"*"
"""Up to where there is a count, when it is of all."""


async def ask_counted(channel: Channel) -> dict[bytes, tuple[int, int]]:
    """Keys, and bytes of these and their values, by pattern, of those that are counted now.  Raises Unavailable."""
    revision, text = await channel.call(command("HMGET", META, "revision", "quotas"))
    right_for, *lines = (text or b"").split(b"\n")
    if right_for != revision:
        return {}
    counts = [line.split(b" ", 4) for line in lines]
    return {pattern: (int(keys), int(size)) for pattern, keys, size, _, reached in counts if reached == WHOLE}
