"""Where there are users, each may do what its rules allow, and nothing else."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain, combinations
from pathlib import Path

import pytest

from kvd.access import attempts
from kvd.access.users import Users
from kvd.errors import Denied, NotAuthenticated
from kvd.requests import Put, Transaction
from kvd.session.auth import HASHES
from kvd.verbs import VERBS
from tests.support.access import PASSWORD, users_of
from tests.support.memory import MemoryPeer, MemoryService, serving
from tests.support.rights_table import FREE, NEEDS

ALL = "read,write,watch"
FIRST = "ERR auth say who you are first: AUTH user password"
SUBSETS = [
    frozenset(some) for some in chain.from_iterable(combinations(("read", "write", "watch"), n) for n in range(4))
]
QUEUED = [line for line in NEEDS if line.split(" ")[0] in ("SET", "PUT", "DEL", "TOUCH", "INCR", "CHECK")]
"""Lines of the table that may stand in a transaction, and
NOT_QUEUED: what does not, of the same verbs."""
NOT_QUEUED = [line for line in QUEUED if line.startswith("DEL k*")]


@asynccontextmanager
async def with_users(tmp_path: Path, **rules: dict[str, str]) -> AsyncIterator[MemoryService]:
    """A service whose users are these, and root, who may do everything."""
    async with serving(tmp_path / "data", users=users_of({"root": {"*": ALL}} | rules)) as service:
        yield service


def each_subset() -> dict[str, dict[str, str]]:
    """A user for each set of rights, which it has for k* and o."""
    rules = {name_of(subset): {"k*": ",".join(subset), "o": ",".join(subset)} for subset in SUBSETS if subset}
    return rules | {name_of(frozenset()): {"other*": ALL}}


def name_of(subset: frozenset[str]) -> str:
    return "-".join(["has", *sorted(subset)])


def is_allowed(line: str, subset: frozenset[str]) -> bool:
    return {need.right.value for need in NEEDS[line]} <= subset


async def login(service: MemoryService, name: str, password: str = PASSWORD) -> MemoryPeer:
    peer = service.connect()
    assert await peer.ask(f"AUTH {name} {password}") == "OK"
    return peer


async def answers(peer: MemoryPeer, *lines: str) -> list[str]:
    """All that comes for lines that are sent in one piece."""
    peer.send("".join(f"{line}\n" for line in lines) + "PING the end\n")
    found = []
    while (line := await peer.line()) != "OK the end":
        found.append(line)
    return found


async def where(service: MemoryService) -> str:
    """The store's id."""
    return (await service.store.history())[0].store.decode()


# ---- the table


async def test_every_request_needs_its_rights_and_no_more(tmp_path: Path) -> None:
    """Every verb and option, with every set of rights."""
    async with with_users(tmp_path, **each_subset()) as service:
        root = await login(service, "root")
        store = await where(service)
        assert await root.ask("SET k 1") == "OK 1"
        for line in NEEDS:
            # j is no key of theirs.
            request = line.removesuffix(" j").replace("7@", "1@").replace("=7", "=1").replace("@s", f"@{store}")
            for subset in SUBSETS:
                peer = await login(service, name_of(subset))
                before = await service.store.history()
                # CHECK is for transactions.
                said = [] if line.startswith("CHECK") else await answers(peer, request)
                if said:
                    is_denied = any(answer.startswith("ERR denied ") for answer in said)
                    assert is_denied != is_allowed(line, subset), (request, subset, said)
                    assert not is_denied or (len(said) == 1 and before == await service.store.history())
                await service.lose(peer)


async def test_in_a_transaction_they_need_the_same(tmp_path: Path) -> None:
    async with with_users(tmp_path, **each_subset()) as service:
        store = await where(service)
        for line in QUEUED:
            request = line.replace("since=7", "since=0").replace("@s", f"@{store}")
            for subset in SUBSETS:
                peer = await login(service, name_of(subset))
                begun, queued, done = await answers(peer, "BEGIN", request, "COMMIT")
                assert begun == "OK"
                if not is_allowed(line, subset):
                    assert queued.startswith("ERR denied "), (request, subset)
                    assert done.startswith("ERR aborted ")
                elif line not in NOT_QUEUED:
                    assert queued == "OK queued"
                    assert done.split(" ")[0] in ("OK", "CONFLICT")
                await service.lose(peer)


async def test_the_rights_for_a_part_of_a_pattern_are_none_for_all_of_it(tmp_path: Path) -> None:
    async with with_users(tmp_path, alice={"k": ALL, "ka*": ALL, "k/*": ALL}) as service:
        peer = await login(service, "alice")
        for line in ("WATCH k*", "WATCH k", "WATCH ka* kb", "SYNC k*", "FOLLOW - k*", "PUT k* = v", "DEL k*", "WATCH"):
            wanted = "OK" if line == "WATCH k" else "ERR denied"
            assert [answer[: len(wanted)] for answer in await answers(peer, line)] == [wanted], line


# ---- before AUTH


async def test_before_auth_nothing_is_done_that_is_not_for_anybody(tmp_path: Path) -> None:
    """As etcd's CVE-2026-33413, whose rules did not go for some calls."""
    async with with_users(tmp_path) as service:
        store = await where(service)
        for line in [*NEEDS, "BEGIN", "COMMIT", "ABORT", "PROGRESS 5", "UNWATCH"]:
            peer = service.connect()
            assert await answers(peer, line.replace("@s", f"@{store}")) == [FIRST], line
            assert await answers(peer, line.lower().replace("@s", f"@{store}").replace("kEYS", "keys")) == [FIRST]
            await service.lose(peer)
        assert (await service.store.history())[0].revision == 0
        peer = service.connect()
        told = await answers(peer, "INFO")
        names = [line.split(" ")[1] for line in told[:-1]]
        assert names == ["protocol", "version", "features", "max-key", "max-value", "max-line"]
        assert await answers(peer, "PING x") == ["OK x"]
        assert (await answers(peer, "HELP AUTH"))[-1] == "OK"
        assert {line.partition(" ")[0] for line in (*NEEDS, *FREE)} == {name.decode() for name in VERBS}
        peer.send("QUIT\n")
        assert await peer.line() == "OK bye"


async def test_default_says_what_anybody_may(tmp_path: Path) -> None:
    async with with_users(tmp_path, default={"pub/*": "read"}) as service:
        peer = service.connect()
        assert await peer.ask("GET pub/x") == "NONE"
        assert await peer.ask("GET priv") == "ERR denied default may not read this key"
        assert "INFO revision 0" in await answers(peer, "INFO")
        assert (await peer.ask("AUTH default x")).startswith("ERR auth ")
        assert await peer.ask(f"AUTH root {PASSWORD}") == "OK"
        assert await peer.ask("GET priv") == "NONE"


# ---- AUTH


async def test_the_password_is_the_rest_of_the_line(tmp_path: Path) -> None:
    async with with_users(tmp_path, alice={"*": "read"}) as service:
        peer = service.connect()
        for wrong in (PASSWORD[:-1], PASSWORD + " ", " " + PASSWORD, PASSWORD.upper()):
            assert await peer.ask(f"AUTH alice {wrong}") == "ERR auth the user or the password is wrong"
            # The next one would have to wait, on any connection.
            service._access._failures._pairs.clear()  # type: ignore[union-attr]
        for line in ("AUTH", "AUTH alice", "AUTH a*b x", "AUTH  x", f"AUTH {'a' * 65} x"):
            assert (await peer.ask(line)).startswith("ERR usage "), line
        for line in ("AUTH alice ", "AUTH alice a\x01b", f"AUTH alice {'x' * 1025}"):
            assert (await peer.ask(line)).startswith("ERR bad-value "), line
        assert await peer.ask("GET a") == FIRST
        assert await peer.ask(f"auth alice {PASSWORD}\r") == "OK"
        assert await peer.ask("GET a") == "NONE"
        assert (await peer.ask("AUTH alice wrong")).startswith("ERR auth ")
        assert await peer.ask("GET a") == "NONE"


async def test_it_is_refused_while_something_is_open(tmp_path: Path) -> None:
    async with with_users(tmp_path) as service:
        peer = await login(service, "root")
        assert (await peer.ask("WATCH a")).startswith("OK ")
        assert await peer.ask(f"AUTH root {PASSWORD}") == "ERR usage AUTH while a watch is open: UNWATCH first"
        assert [(await peer.ask(line))[:2] for line in ("UNWATCH", "BEGIN")] == ["OK", "OK"]
        assert (await peer.ask(f"AUTH root {PASSWORD}")).startswith("ERR usage AUTH is not allowed in a transaction")
        assert (await peer.ask("COMMIT")).startswith("ERR aborted ")
        assert await peer.ask(f"AUTH root {PASSWORD}") == "OK"


async def test_requests_are_judged_by_who_sends_them_in_their_order(tmp_path: Path) -> None:
    async with with_users(tmp_path, alice={"a": "read"}, bob={"b": "read"}) as service:
        peer = service.connect()
        lines = ["GET a", f"AUTH alice {PASSWORD}", "GET a", "GET b", f"AUTH bob {PASSWORD}", "GET b", "GET a"]
        assert await answers(peer, *lines) == [
            FIRST, "OK", "NONE", "ERR denied alice may not read this key", "OK", "NONE",
            "ERR denied bob may not read this key",
        ]  # fmt: skip


async def test_without_users_auth_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path / "data") as service:
        peer = service.connect()
        assert await peer.ask("AUTH alice x") == "ERR auth there are no users here (kvd --users)"
        assert await peer.ask("GET a") == "NONE"


# ---- the key that is checked is the one that is used


async def test_no_form_of_a_request_goes_around_the_rules(tmp_path: Path) -> None:
    async with with_users(tmp_path, alice={"ok*": ALL, "\u00e9*": ALL}) as service:
        root, peer = await login(service, "root"), await login(service, "alice")
        await answers(root, "SET no secret", "SET ok fine", "PUT \u00ea = secret")
        denied = "ERR denied alice may not"
        for line in ("GET no", "get no", "gEt no", "GETS no", "TTL no", "GET no\r", "GET \u00ea"):
            for chunk in ([line], ["GET ok", line], [line, "GET ok"], [line] * 3, ["get ok", line]):
                said = await answers(peer, *chunk)
                wanted = ["OK fine" if "ok" in one else f"{denied} read this key" for one in chunk]
                assert said == wanted, chunk
        for line in ("SET no x", "set no x", "sEt no x", "PUT no = x", "put no = x", "SET no x\r", "PUT no ttl=5 = x"):
            for chunk in ([line], ["SET ok fine", line], [line, "SET ok fine"], [line] * 3):
                said = await answers(peer, *chunk)
                assert [one[:5] for one in said] == [
                    "OK " + one[3:5] if one.startswith("OK") else "ERR d" for one in said
                ]
                assert [one.startswith("OK") for one in said] == ["ok" in one for one in chunk], chunk
        # A key that begins with an allowed one's beginning is another key.
        assert (await peer.ask("GET o")).startswith(denied)
        assert await answers(root, "GET no", "GET \u00ea") == ["OK secret", "OK secret"]


async def test_keys_that_put_numbers_stay_in_their_pattern(tmp_path: Path) -> None:
    async with with_users(tmp_path, alice={"q/*": "write", "p/1*": "write"}) as service:
        peer = await login(service, "alice")
        assert await peer.ask("PUT q/* = x") == "OK 1"
        assert await peer.ask("PUT p/1* = x") == "OK 2"
        for line in ("PUT q* = x", "PUT * = x", "PUT p/* = x"):
            assert (await peer.ask(line)).startswith("ERR denied ")


# ---- listings show what may be read

FILLED = ["a/1", "a/2", "a/b/1", "b", "b/1", "b/2", "c/1", "c/d/1", "c/d/2", "caf\u00e9"]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("KEYS", ["a/1", "b", "b/2", "c/d/1", "c/d/2"]),
        ("KEYS * reverse", ["c/d/2", "c/d/1", "b/2", "b", "a/1"]),
        ("KEYS * limit=2", ["a/1", "b"]),
        ("KEYS * after=b limit=2", ["b/2", "c/d/1"]),
        ("KEYS * after=a/1 before=c", ["b", "b/2"]),
        ("KEYS * before=c/d/2 reverse limit=2", ["c/d/1", "b/2"]),
        ("KEYS * fold=/", ["a/", "b", "b/", "c/"]),
        ("KEYS * fold=/ reverse", ["c/", "b/", "b", "a/"]),
        ("KEYS * fold=/ after=a/", ["b", "b/", "c/"]),
        ("KEYS * fold=/ limit=3", ["a/", "b", "b/"]),
        ("KEYS c/* fold=/", ["c/d/"]),
        ("KEYS b*", ["b", "b/2"]),
        ("KEYS a/1", ["a/1"]),
        ("KEYS c/d/* after=c/d/1", ["c/d/2"]),
        ("KEYS * after=z", []),
    ],
)
async def test_a_listing_shows_what_may_be_read(line: str, shown: list[str], tmp_path: Path) -> None:
    async with with_users(tmp_path, alice={"a/1": "read", "b": "read", "b/2*": "read", "c/d/*": "read"}) as service:
        root, peer = await login(service, "root"), await login(service, "alice")
        await answers(root, *(f"SET {key} v" for key in FILLED))
        assert await answers(peer, line) == [*(f"KEY {key}" for key in shown), f"OK {len(shown)}"]
        listed = await answers(peer, line.replace("KEYS", "LIST"))
        assert [one.split(" ")[-2 if one.startswith("PAIR") else -1] for one in listed[:-1]] == shown
        assert listed[-1].startswith("OK ")
        assert "@" in listed[-1]


async def test_what_is_counted_copied_and_followed_is_what_may_be_read(tmp_path: Path) -> None:
    rules = {"*": "watch", "a/*": "read", "c/d/1": "read"}
    async with with_users(tmp_path, alice=rules) as service:
        root, peer, other = await login(service, "root"), await login(service, "alice"), await login(service, "alice")
        await answers(root, *(f"SET {key} v" for key in FILLED))
        assert await answers(peer, "COUNT") == ["OK 4"]
        assert await answers(peer, "COUNT c/*") == ["OK 1"]
        for begin in ("SYNC *", "FOLLOW - *"):
            copied = await answers(peer, begin)
            keys = [line.split(" ")[2] for line in copied if line.startswith("PAIR")]
            assert keys == ["a/1", "a/2", "a/b/1", "c/d/1"]
        await answers(root, "SET b x", "SET a/9 x", "SET c/d/2 x", "SET c/d/1 x")
        assert [(await peer.line()).split(" ")[3] for _ in range(2)] == ["a/9", "c/d/1"]
        position = f"{len(FILLED)}@{await where(service)}"
        assert await other.ask(f"FOLLOW {position} *") == f"OK {position}"
        assert [(await other.line()).split(" ")[3] for _ in range(2)] == ["a/9", "c/d/1"]
        for line in ("KEYS b*", "LIST b", "COUNT b/*", "SYNC b*", "FOLLOW - b"):
            assert (await peer.ask(line)).startswith("ERR denied "), line


# ---- watches, as etcd's GHSA-xg4h-6gfc-h4m8 and ZooKeeper's CVE-2024-23944 leaked


async def test_a_watch_has_no_more_than_was_allowed_when_it_was_asked_for(tmp_path: Path) -> None:
    async with with_users(tmp_path, alice={"app/*": "watch", "app": "watch", "b": "watch"}) as service:
        root, peer = await login(service, "root"), await login(service, "alice")
        for line in ("WATCH", "WATCH *", "WATCH app*", "WATCH app/* b*", "WATCH b c", "WATCH app/x b/x"):
            assert (await peer.ask(line)).startswith("ERR denied "), line
            assert (await peer.ask(line.replace("WATCH", f"RESUME 0@{await where(service)}"))).startswith("ERR denied ")
            assert (await peer.ask(line.replace("WATCH", f"CHANGES 0@{await where(service)}"))).startswith(
                "ERR denied "
            )
        assert (await peer.ask("WATCH app/* app b")).startswith("OK ")
        # A refused one leaves it as it was.
        assert (await peer.ask("WATCH *")).startswith("ERR denied ")
        await answers(root, "SET app/x 1", "SET apple 1", "SET app 1", "SET a 1", "SET b/x 1", "SET b 1", "DEL apple")
        assert [(await peer.line()).split(" ")[3] for _ in range(3)] == ["app/x", "app", "b"]
        assert (await answers(peer, "UNWATCH"))[0].startswith("OK 7@")


# ---- transactions, as etcd's CVE-2026-33343 let nested ones around the rules


async def test_no_transaction_goes_around_the_rules(tmp_path: Path) -> None:
    async with with_users(tmp_path, alice={"ok*": ALL}) as service:
        root, peer = await login(service, "root"), await login(service, "alice")
        assert await root.ask("SET no 1") == "OK 1"
        for inner in ("SET no x", "CHECK no if=1", "CHECK no", "INCR no", "DEL no", "CHECK * if=0", "BEGIN", "GET no"):
            said = await answers(peer, "BEGIN", "SET ok 1", inner, "SET ok 2", "COMMIT")
            assert said[0] == "OK"
            assert said[2].startswith("ERR ")
            assert said[-1].startswith("ERR aborted "), inner
        # What was refused is not remembered for the next one.
        assert await answers(peer, "BEGIN", "SET ok 1", "COMMIT") == ["OK", "OK queued", "OK 2"]
        assert await root.ask("GET no") == "OK 1"


# ---- changes of the users


async def test_a_watch_that_lost_its_right_ends_there(tmp_path: Path) -> None:
    rules = {"alice": {"a*": ALL}, "bob": {"*": ALL}, "eve": {"a*": "watch,read"}}
    async with with_users(tmp_path, **rules) as service:
        root = await login(service, "root")
        alice, bob, eve = [await login(service, name) for name in rules]
        for peer, line in ((alice, "WATCH a*"), (bob, "WATCH a b"), (eve, "SYNC a*")):
            assert (await answers(peer, line))[0].startswith("OK ")
        assert await root.ask("SET a 1") == "OK 1"
        for peer in (alice, bob, eve):
            assert (await peer.line()).startswith("CHANGE 1@")
        store = await where(service)
        service.change_users(
            users_of(
                {"root": {"*": ALL}, "alice": {"a": ALL}, "bob": {"a*": ALL, "b": "watch"}, "eve": {"a*": "watch"}}
            )
        )
        assert await root.ask("SET a 2") == "OK 2"
        assert await alice.line() == f"END 1@{store} denied alice may not watch all keys of this pattern"
        assert await eve.line() == f"END 1@{store} denied eve may not read all keys of this pattern"
        assert await bob.line() == f"CHANGE 2@{store} SET a 2"
        assert await answers(alice, "PROGRESS 5", "UNWATCH") == ["OK", f"OK 2@{store}"]
        assert (await alice.ask("WATCH a*")).startswith("ERR denied ")
        assert (await alice.ask("WATCH a")).startswith("OK ")


async def test_a_login_lasts_as_long_as_its_password(tmp_path: Path) -> None:
    async with with_users(tmp_path, alice={"*": ALL}) as service:
        peer, gone = await login(service, "alice"), await login(service, "alice")
        assert (await gone.ask("WATCH a")).startswith("OK ")
        assert await gone.ask("BEGIN") == "OK"
        service.change_users(users_of({"alice": {"*": ALL, "b": "read"}}))
        assert await peer.ask("SET a 1") == "OK 1"
        assert (await gone.line()).startswith("CHANGE 1@")
        service.change_users(users_of({"alice": {"*": ALL}}, "another password"))
        assert await peer.ask("SET a 2") == FIRST
        assert (await gone.line()).startswith("END 1@")
        assert await answers(gone, "SET a 3", "COMMIT") == [
            FIRST,
            "ERR aborted a request of this transaction was refused; nothing was done",
        ]
        assert await gone.ask("GET a") == FIRST
        assert await peer.ask("AUTH alice another password") == "OK"
        assert await peer.ask("GET a") == "OK 1"


async def test_what_is_queued_is_judged_at_commit(tmp_path: Path) -> None:
    async with with_users(tmp_path, alice={"*": ALL}) as service:
        peer = await login(service, "alice")
        assert [await peer.ask(line) for line in ("BEGIN", "SET a 1", "CHECK b if=0")][1:] == ["OK queued"] * 2
        service.change_users(users_of({"alice": {"a": ALL}}))
        assert await peer.ask("COMMIT") == "ERR denied alice may not read this key"
        assert await answers(peer, "BEGIN", "SET a 1", "COMMIT") == ["OK", "OK queued", "OK 1"]
        assert await answers(peer, "BEGIN", "ABORT") == ["OK", "OK"]
        assert [await peer.ask(line) for line in ("BEGIN", "SET a 1")] == ["OK", "OK queued"]
        service.change_users(users_of({}))
        assert await peer.ask("COMMIT") == FIRST
        assert await peer.ask("BEGIN") == FIRST


async def test_what_goes_on_for_long_is_judged_all_along(tmp_path: Path) -> None:
    """A listing, a copy and large values, of which the peer has not read all when the rules change."""
    big = "x" * 200_000
    async with with_users(tmp_path, alice={"*": ALL}) as service:
        root = await login(service, "root")
        for number in range(8):
            assert (await root.ask(f"SET big{number} {big}")).startswith("OK ")
        requests = ["LIST", "SYNC", "FOLLOW -", "\n".join(f"GET big{number}" for number in range(8))]
        for request in requests:
            peer = await login(service, "alice")
            peer.transport.stop_reading()
            peer.send(f"{request}\nPING the end\n")
            async with asyncio.timeout(30):
                while not peer.transport.is_full:  # noqa: ASYNC110  # nothing tells
                    await asyncio.sleep(0.001)
            service.change_users(users_of({"root": {"*": ALL}, "alice": {"big0": ALL}}))
            peer.transport.go_on_reading()
            said = []
            while (line := await peer.line()) != "OK the end":
                said.append(line)
            assert said[-1].startswith("ERR denied "), request
            assert len(said) <= 8
            assert sum(len(line) > 100_000 for line in said) < 8
            service.change_users(users_of({"root": {"*": ALL}, "alice": {"*": ALL}}))
            await service.lose(peer)


async def test_a_range_that_is_being_deleted_stops_with_the_right(tmp_path: Path) -> None:
    async with with_users(tmp_path, alice={"*": ALL}) as service:
        root, peer = await login(service, "root"), await login(service, "alice")
        await answers(root, *(f"SET k{number} v" for number in range(2000)))
        peer.send("DEL k*\n")
        async with asyncio.timeout(30):
            while (await service.store.history())[0].revision == 2000:  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0)
        service.change_users(users_of({"root": {"*": ALL}, "alice": {"k1": ALL}}))
        said = await peer.line()
        assert said.startswith("ERR uncertain ")
        assert int(said.split(" ")[2]) < 2000
        assert int((await root.ask("COUNT")).split(" ")[1]) == 2000 - int(said.split(" ")[2])


# ---- logins


async def test_equal_logins_share_a_hash_and_later_ones_need_none(tmp_path: Path) -> None:
    async with with_users(tmp_path, alice={"*": ALL}) as service:
        access = service._access
        assert access
        hashed = 0
        submit = access._threads.submit

        def count(*args: object, **options: object) -> object:
            nonlocal hashed
            hashed += 1
            return submit(*args, **options)  # type: ignore[arg-type]

        access._threads.submit = count  # type: ignore[method-assign,assignment]
        peers = [service.connect() for _ in range(20)]
        for peer in peers:
            peer.send(f"AUTH alice {PASSWORD}\n")
        assert [await peer.line() for peer in peers] == ["OK"] * 20
        assert await (await login(service, "alice")).ask("PING") == "OK"
        assert hashed == 1
        service.change_users(users_of({"alice": {"*": ALL}}))
        await login(service, "alice")
        assert hashed == 2


async def test_failures_slow_down_the_same_user_at_the_same_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with with_users(tmp_path, alice={"*": ALL}) as service:
        loop = asyncio.get_running_loop()
        peer = service.connect()
        began = loop.time()
        for _ in range(3):
            assert (await peer.ask("AUTH alice wrong")).startswith("ERR auth ")
        # A quarter of a second after the first, half a second after the second, and
        assert await peer.ask(f"AUTH alice {PASSWORD}") == "OK"
        # a second after the third.
        assert loop.time() - began >= 1.75
        # One that was right makes up for it.
        monkeypatch.setattr(attempts, "FIRST_DELAY", 1e6)
        monkeypatch.setattr(attempts, "LONGEST_DELAY", 1e6)
        await login(service, "alice")


async def test_only_a_few_wait_after_a_failure_and_nobody_else_waits_with_them(tmp_path: Path) -> None:
    async with with_users(tmp_path, alice={"*": ALL}, bob={"*": ALL}) as service:
        assert service._access
        assert (await service.connect().ask("AUTH alice wrong")).startswith("ERR auth ")
        (failed,) = service._access._failures._pairs.values()
        waiting = [service.connect() for _ in range(8)]
        # Nobody's turn comes meanwhile.
        async with failed.turn:
            for one in waiting:
                one.send(f"AUTH alice {PASSWORD}\n")
            # Neither others nor what is no login wait for those.
            await login(service, "bob")
            assert await service.connect().ask("PING") == "OK"
            said = [await one.line() for one in waiting[4:]]
        assert said == ["ERR limit too many logins of this user from this address have failed; try again later"] * 4
        assert [await one.line() for one in waiting[:4]] == ["OK"] * 4


async def test_guesses_that_come_at_once_are_slowed_down_as_others_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them has failed yet when they come."""
    monkeypatch.setattr(attempts, "LONGEST_DELAY", 0.01)
    async with with_users(tmp_path, alice={"*": ALL}) as service:
        guessing = [service.connect() for _ in range(12)]
        for number, peer in enumerate(guessing):
            peer.send(f"AUTH alice guess{number}\n")
        said = Counter([(await peer.line()).split(" ")[1] for peer in guessing])
        # One is looked at, four more wait for their turns.
        assert said == {"auth": 5, "limit": 7}
        assert service._access
        assert not service._access._at_work


async def test_many_names_from_one_address_do_not_delay_the_first_login_from_another(tmp_path: Path) -> None:
    async with with_users(tmp_path, alice={"*": ALL}) as service:
        access = service._access
        assert access
        looked_at: list[bytes] = []
        submit = access._threads.submit

        def note(function: object, hashes: object, password: bytes) -> object:
            looked_at.append(password)
            return submit(function, hashes, password)  # type: ignore[arg-type]

        access._threads.submit = note  # type: ignore[method-assign,assignment]
        guesses = [access.log_in(f"name{number}", b"guess", "10.0.0.1") for number in range(20)]
        guessing = asyncio.gather(*guesses, return_exceptions=True)
        await asyncio.sleep(0)
        await access.log_in("alice", PASSWORD.encode(), "10.0.0.2")
        # Those that were being looked at, and the next of them.
        assert looked_at.index(PASSWORD.encode()) <= HASHES + 1
        assert {type(said) for said in await guessing} == {NotAuthenticated}


async def test_both_passwords_of_a_user_may_come_at_once(tmp_path: Path) -> None:
    old = users_of({"alice": {"*": ALL}}, "old").get("alice")
    new = users_of({"alice": {"*": ALL}}, "new").get("alice")
    assert old
    assert new
    both = Users({"alice": old._replace(hashes=new.hashes + old.hashes)})
    async with with_users(tmp_path) as service:
        service.change_users(both)
        peers = [service.connect() for _ in range(40)]
        for number, peer in enumerate(peers):
            peer.send(f"AUTH alice {'new' if number % 2 else 'old'}\n")
        assert [await peer.line() for peer in peers] == ["OK"] * 40


async def test_what_is_nobody_fails_as_a_wrong_password_does(tmp_path: Path) -> None:
    async with with_users(tmp_path, certified={"*": ALL}) as service:
        peer = service.connect()
        said = {await peer.ask(f"AUTH {name} {PASSWORD}x") for name in ("root", "nobody", "certified")}
        assert said == {"ERR auth the user or the password is wrong"}


async def test_to_let_a_key_live_with_another_needs_the_right_to_write_that(tmp_path: Path) -> None:
    async with with_users(tmp_path, alice={"k*": ALL, "o": "read,watch"}) as service:
        root, peer = await login(service, "root"), await login(service, "alice")
        await answers(root, "SET o 1", "PUT k1 with=o = 1", "SET secret 1", "PUT k2 with=secret = 1")
        for line in ("PUT k with=o = v", "PUT k* with=o = v", "PUT k with=absent = v"):
            assert await peer.ask(line) == "ERR denied alice may not write this key", line
        assert await answers(peer, "BEGIN", "PUT k with=o = v", "ABORT") == [
            "OK", "ERR denied alice may not write this key", "OK"
        ]  # fmt: skip
        assert await answers(peer, "KEYS * with=o") == ["KEY k1", "OK 1"]
        assert await answers(peer, "KEYS * with=secret") == ["ERR denied alice may not read this key"]
        assert await peer.ask("SET k1 free") == "OK 5"


async def test_a_commit_in_flight_is_judged_at_each_attempt(tmp_path: Path) -> None:
    """It may wait for what its CHECKs need, and the rules be changed meanwhile."""
    async with with_users(tmp_path) as service:

        def deny(_: Transaction) -> Transaction:
            raise Denied("the rules were changed")

        with pytest.raises(Denied):
            await service._committing.commit(Transaction((Put(b"a", b"t", b"1"),)), 1, deny, lambda: None)
        assert (await service.store.history())[0].revision == 0
