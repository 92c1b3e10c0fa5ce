"""Every script refuses a store of another layout than the one that it was made for, and does nothing."""

import pytest

from kvd.store.redis import connection
from kvd.store.redis.connection import ALL, Argument, Connector, Rejected, command, script
from kvd.store.redis.scripts import LAYOUT, SCRIPTS
from tests.support.processes import Redis
from tests.support.scripts import LUA, header
from tests.support.stores import put, running, write

DAEMON, STORE = "aaaaaaaa", "abcd1234"
ARGUMENTS: dict[str, list[Argument]] = {
    "attach": [0, STORE, DAEMON, "run", 1, 2, 0, 0, "", 0, 1, 1],
    "clock": ["beginning", 1, 1, 1],
    "count": ["-", "+", "", 0, 1, "", "", 0, 0],
    "changes_at": [STORE, 1000, 1, 1],
    "history": [0, STORE, 1000, 1000, 1],
    "keys_before": [1, STORE, 10, 10, 1000],
    "leave": [DAEMON],
    "living": ["k"],
    "page": ["-", "+", 10, 1000, 1, 0, 0, 0, "", 0, 1, ""],
    "records": [1000, 1, "k"],
    "resolve": [DAEMON, 1, 1, 0],
    "rewind": [STORE, "other", "", 0],
    "set": [DAEMON, 1, 0, "c00000000", "k v\n"],
    "simple": [DAEMON, 1, 0, "1000 1 + 1 ", "", "k", "v", "n", "1"],
    "synced": ["run", 1],
    "sweep": [DAEMON, 2**52, 10],
    "trim": [0, 0, 0, DAEMON, 2**52, 10],
    "verify": ["data", 0, 10],
    "write": [DAEMON, 1, 0, 100, "d", "k", ""],
}


def keys_of(name: str) -> list[bytes]:
    names = header((LUA / f"{name}.lua").read_text())["KEYS"].split()
    return [key for key in ALL if key.decode().removeprefix(connection.PREFIX) in names]


@pytest.mark.parametrize("layout", ["1", "3", f"3 to {LAYOUT}", str(int(LAYOUT) + 1), "x"])
async def test_every_script_refuses_another_layout_and_changes_nothing(redis: Redis, layout: str) -> None:
    async with running(redis.unix_url) as store:
        await write(store, put(b"k", b"v" * 5000, ttl=60_000), put(b"l"))
    redis.cli("HSET", "{kvd}:meta", "layout", layout, "store", STORE)
    link = await Connector(redis.unix_url).open()
    try:
        before = [await link.call(command("DUMP", key)) for key in ALL]
        text = f"its layout is {layout}, and this kvd works on layout {LAYOUT}"
        for name in SCRIPTS:
            with pytest.raises(Rejected, match=text) as refused:
                await link.call(script(name, keys_of(name), ARGUMENTS[name]))
            assert refused.value.word == "LAYOUT", name
        assert [await link.call(command("DUMP", key)) for key in ALL] == before
    finally:
        await link.close()


async def test_of_the_same_layout_none_is_refused(redis: Redis) -> None:
    """So that it is the layout which the others were refused for."""
    async with running(redis.unix_url) as store:
        await write(store, put(b"k"))
    redis.cli("HSET", "{kvd}:meta", "store", STORE)
    link = await Connector(redis.unix_url).open()
    try:
        for name in SCRIPTS:
            # In that case it is this batch's number that was used.
            if name not in ("set", "simple", "write"):
                await link.call(script(name, keys_of(name), ARGUMENTS[name]))
    finally:
        await link.close()
