"""Rules with max-keys and max-bytes: what would be more is refused, and nothing is done."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from kvd.access.users import Users
from tests.support.access import PASSWORD, users_of
from tests.support.memory import MemoryPeer, MemoryService, serving

ALL = "read,write,watch"
KEYS = "ERR limit there may be {} keys at the most of {} (max-keys); delete some first"
BYTES = "ERR limit there may be {} bytes at the most of {} (max-bytes); delete some first"


@asynccontextmanager
async def with_quota(tmp_path: Path, *words: str, **others: str) -> AsyncIterator[tuple[MemoryService, MemoryPeer]]:
    """A service, and a peer that is ada, who has a quota for app/*."""
    async with serving(tmp_path / "data", users=users(*words, **others)) as service:
        yield service, await login(service, "ada")


def users(*words: str, **others: str) -> Users:
    rules = {"app/*": ",".join((ALL, *words)), "b*": ALL}
    return users_of({"root": {"*": ALL}, "ada": rules, **{name: {"app/*": given} for name, given in others.items()}})


async def login(service: MemoryService, name: str) -> MemoryPeer:
    peer = service.connect()
    assert await peer.ask(f"AUTH {name} {PASSWORD}") == "OK"
    return peer


async def statuses(peer: MemoryPeer, *lines: str) -> list[str]:
    """The first word of each reply, and of errors the code."""
    replies = [await peer.ask(line) for line in lines]
    return [" ".join(reply.split(" ")[: 2 if reply.startswith("ERR") else 1]) for reply in replies]


GROWS = (
    "SET app/x 1", "PUT app/x = 1", "PUT app/x if=0 = 1", "PUT app/x ttl=100 = 1", "PUT app/* = 1", "INCR app/x",
    "PUT app/x base64 = AA==", "PUT app/x base64=1 = AA==", "PUT app/x with=app/1 = v",
    "PUT app/* with=app/1 = v", "PUT app/x = " + "y" * 6000,
)  # fmt: skip
"""Each makes one key more."""


async def test_whatever_makes_one_key_more_is_refused(tmp_path: Path) -> None:
    async with with_quota(tmp_path, "max-keys=2") as (service, ada):
        assert await statuses(ada, "SET app/1 1", "SET app/2 1") == ["OK", "OK"]
        before = await ada.ask("GETS app/1"), await ada.ask("COUNT app/*")
        for line in GROWS:
            assert await ada.ask(line) == KEYS.format(2, "app/*"), line
            assert await statuses(ada, "BEGIN", "SET bb 1", line, "COMMIT") == ["OK", "OK", "OK", "ERR limit"], line
        assert (await ada.ask("GETS app/1"), await ada.ask("COUNT app/*")) == before
        assert await ada.ask("GET bb") == "NONE"
        # What is there may be written, elsewhere there may be more, and others have no quota.
        assert await statuses(ada, "SET app/1 22", "INCR app/2", "TOUCH app/1 ttl=100", "SET b/1 1") == ["OK"] * 4
        root = await login(service, "root")
        assert await statuses(root, "SET app/x 1", "SET app/y 1") == ["OK", "OK"]
        # They count all the same.
        assert await statuses(ada, "DEL app/x", "SET app/z 1", "DEL app/y", "DEL app/1") == [
            "OK", "ERR limit", "OK", "OK"
        ]  # fmt: skip
        assert await statuses(ada, "SET app/z 1", "SET app/zz 1") == ["OK", "ERR limit"]
        assert service.counts.limited_quota == len(GROWS) * 2 + 2


async def test_bytes_are_those_of_keys_and_values(tmp_path: Path) -> None:
    async with with_quota(tmp_path, "max-bytes=100") as (_, ada):
        # 5 and 90 bytes.
        assert await ada.ask("SET app/1 " + "x" * 90) == "OK 1"
        assert await ada.ask("SET app/2 1") == BYTES.format(100, "app/*")
        assert await statuses(ada, "SET app/1 " + "x" * 96, "SET app/1 " + "x" * 95) == ["ERR limit", "OK"]
        assert await statuses(ada, "SET app/1 " + "y" * 95, "PUT app/1 base64 = AAAA", "SET app/2 1") == ["OK"] * 3
        # 8, 6, 86: a large value counts as a small one.
        assert await statuses(ada, "SET app/3 " + "x" * 82, "SET app/3 " + "x" * 81) == ["ERR limit", "OK"]
        assert await statuses(ada, "INCR app/2 9", "INCR app/2 -1", "INCR app/2 -1") == ["ERR limit", "OK", "ERR limit"]


async def test_a_transaction_is_judged_by_what_it_comes_to(tmp_path: Path) -> None:
    async with with_quota(tmp_path, "max-keys=2", "max-bytes=1000") as (_, ada):
        await statuses(ada, "SET app/1 1", "SET app/2 1")
        for lines in (
            ["SET app/3 1", "DEL app/1"], ["DEL app/3", "SET app/1 1"], ["PUT app/* = 1", "DEL app/1"],
            ["SET app/2 " + "x" * 2000, "SET app/2 1"],
        ):  # fmt: skip
            assert await statuses(ada, "BEGIN", *lines, "COMMIT") == ["OK"] * 4, lines
        assert await statuses(ada, "BEGIN", "DEL app/2", "SET app/8 1", "SET app/9 1", "COMMIT") == [
            "OK", "OK", "OK", "OK", "ERR limit"
        ]  # fmt: skip
        assert await ada.ask("GET app/2") == "OK 1"
        assert await statuses(ada, "BEGIN", "SET app/2 " + "x" * 2000, "COMMIT") == ["OK", "OK", "ERR limit"]


async def test_less_is_never_refused_also_beyond_a_limit_that_came_later(tmp_path: Path) -> None:
    async with with_quota(tmp_path) as (service, ada):
        await statuses(ada, *(f"SET app/{number} 12345" for number in range(5)))
        service.change_users(users("max-keys=2", "max-bytes=20"))
        assert await statuses(ada, "SET app/1 12345", "SET app/1 1234", "SET app/1 12345") == ["OK", "OK", "ERR limit"]
        assert await statuses(ada, "BEGIN", "DEL app/4", "SET app/5 1", "SET app/0 1", "COMMIT") == ["OK"] * 5
        assert await statuses(ada, "SET app/9 1", "DEL app/*", "SET app/1 1", "SET app/2 1", "SET app/3 1") == [
            "ERR limit", "OK", "OK", "OK", "ERR limit"
        ]  # fmt: skip
        service.change_users(users("max-keys=3"))
        assert await statuses(ada, "SET app/3 1", "SET app/4 1") == ["OK", "ERR limit"]
        service.change_users(users())
        assert await statuses(ada, "SET app/4 1") == ["OK"]


async def test_what_has_ended_takes_no_room(tmp_path: Path) -> None:
    """Also before it is swept, with what lives with it, and in the middle of a transaction."""
    async with with_quota(tmp_path, "max-keys=3") as (_, ada):
        for _ in range(3):
            lines = ["SET app/o 1", "PUT app/1 with=app/o = 1", "PUT app/2 with=app/o = 1"]
            assert await statuses(ada, *lines, "SET app/3 1") == ["OK", "OK", "OK", "ERR limit"]
            assert await ada.ask("TOUCH app/o ttl=0.001") == "OK"
            while await ada.ask("COUNT app/*") != "OK 0":  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.001)
            lines = ["BEGIN", "SET app/4 1", "SET app/5 1", "COMMIT", "SET app/6 1", "SET app/7 1"]
            assert await statuses(ada, *lines) == ["OK"] * 5 + ["ERR limit"]
            assert await statuses(ada, "DEL app/*") == ["OK"]
        # An owner takes along what lives with it.
        lines = ["SET app/o 1", "PUT app/1 with=app/o = 1", "PUT app/2 with=app/o = 1", "DEL app/o"]
        assert await statuses(ada, *lines, "SET app/3 1", "SET app/4 1", "SET app/5 1", "SET app/6 1") == [
            "OK", "OK", "OK", "OK", "OK", "OK", "OK", "ERR limit"
        ]  # fmt: skip


async def test_of_many_at_once_exactly_as_many_are_done(tmp_path: Path) -> None:
    """Of several users with limits of their own for the same pattern, and one without."""
    async with with_quota(tmp_path, "max-keys=50", bob="write,max-keys=40") as (service, _):
        peers = [await login(service, name) for name in ("ada", "bob") * 4]
        for number, peer in enumerate(peers):
            peer.send("".join(f"SET app/{number}-{one} 1\nPUT app/* = 1\n" for one in range(40)))
        found = [(await peer.line())[:5] for peer in peers for _ in range(80)]
        assert found.count("ERR l") == len(found) - 50
        assert await (await login(service, "root")).ask("COUNT app/*") == "OK 50"


async def test_each_rule_with_a_quota_that_a_key_matches_limits_it(tmp_path: Path) -> None:
    rules = {"*": "write,max-keys=4", "app/*": "write,max-keys=2", "app/one": "write,read,max-bytes=8"}
    async with serving(tmp_path / "data", users=users_of({"ada": rules})) as service:
        ada = await login(service, "ada")
        assert await statuses(ada, "SET app/one 12", "SET app/one 1", "SET app/2 1", "SET app/3 1") == [
            "ERR limit", "OK", "OK", "ERR limit"
        ]  # fmt: skip
        assert await statuses(ada, "SET b 1", "SET c 1", "SET d 1", "SET b 2") == ["OK", "OK", "ERR limit", "OK"]


async def test_who_administers_sees_how_much_is_taken(tmp_path: Path) -> None:
    rules = {"app/*": f"{ALL},max-keys=9,max-bytes=1KB", "new/*": f"{ALL},max-keys=2"}
    given = users_of({"root": {"*": f"{ALL},admin"}, "ada": rules, "bob": {"app/*": f"{ALL},max-keys=3"}})
    async with serving(tmp_path / "data", users=given) as service:
        root, ada = await login(service, "root"), await login(service, "ada")
        not_counted = "INFO quota.1 user=ada pattern=app/* keys=- max-keys=9 bytes=- max-bytes=1000"
        assert await quotas(root) == [
            not_counted,
            "INFO quota.2 user=ada pattern=new/* keys=- max-keys=2 bytes=- max-bytes=-",
            "INFO quota.3 user=bob pattern=app/* keys=- max-keys=3 bytes=- max-bytes=-",
        ]
        assert await statuses(ada, "SET app/1 12", "SET app/2 " + "x" * 5000) == ["OK", "ERR limit"]
        # What others write, and where there is no quota, counts and goes on counting.
        assert await statuses(root, "SET app/3 123", "SET other 1", "DEL app/1") == ["OK"] * 3
        assert await quotas(root) == [
            "INFO quota.1 user=ada pattern=app/* keys=1 max-keys=9 bytes=8 max-bytes=1000",
            "INFO quota.2 user=ada pattern=new/* keys=0 max-keys=2 bytes=0 max-bytes=-",
            "INFO quota.3 user=bob pattern=app/* keys=1 max-keys=3 bytes=8 max-bytes=-",
        ]
        assert await statuses(ada, "INFO quotas", "INFO store") == ["ERR denied", "INFO"]
        assert await statuses(service.connect(), "INFO quotas") == ["ERR auth"]


async def test_without_users_there_are_no_quotas(tmp_path: Path) -> None:
    async with serving(tmp_path / "data") as service:
        assert await quotas(service.connect()) == []


async def quotas(peer: MemoryPeer) -> list[str]:
    """The lines of INFO quotas."""
    first = await peer.ask("INFO quotas")
    lines = [first]
    while lines[-1] != "OK":
        lines.append(await peer.line())
    return lines[:-1]
