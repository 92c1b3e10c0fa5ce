"""What both faces of the library do: asyncio's and the synchronous one, whose calls run in threads here."""

import asyncio
import inspect
import itertools
import math
import os
import subprocess
import sys
from typing import Any

import pytest

from kvd import client
from kvd.client import (
    Conflict,
    Copy,
    Item,
    WatchOptions,
    requests,
    sync,
)
from kvd.errors import (
    BadKey,
    Future,
    KvdError,
    NotANumber,
    OtherStore,
    Uncertain,
    Usage,
)
from tests.support.faces import Connect
from tests.support.processes import Daemon

NAMES = map(str, itertools.count())
"""Of keys that no other test has."""


# Both are one library


def test_both_faces_have_the_same_names_with_the_same_arguments() -> None:
    for name in ("connect", "Client", "Watch", "Follow", "Mirror", "Lease", "Lock", "Election"):
        assert _calls(getattr(client, name)) == _calls(getattr(sync, name))
    assert set(sync.__all__) == {"Client", "Election", "Follow", "Lease", "Lock", "Mirror", "Watch", "connect"}


def _calls(one: Any) -> dict[str, list[tuple[str, Any]]]:
    named = {"": one} | {name: call for name, call in inspect.getmembers(one, inspect.isfunction) if name[0] != "_"}
    return {name: [(word.name, word.default) for word in inspect.signature(call).parameters.values()]
            for name, call in named.items()}  # fmt: skip


@pytest.mark.unmeasured
@pytest.mark.parametrize("module", ["kvd.client", "kvd.client.sync", "kvd.client.protocol"])
def test_it_needs_nothing_but_the_standard_library(module: str) -> None:
    program = f"import sys; import {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name for name in done.stdout.split() if not name.startswith("_")}
    assert "kvd" in loaded
    outside = loaded - set(sys.stdlib_module_names) - {"kvd", "sitecustomize"}
    assert {name for name in outside if "editable" not in name and "distutils" not in name} == set()


# Requests


BYTE_VALUES = [b"\x00\xff", b"two\nlines", b"cr\r", "\u2028".encode(), b"\xc3", b"", b" tab\t ", '{"ü": 1}'.encode()]


async def test_values_come_back(shared_daemon: Daemon, connect: Connect) -> None:
    async with await connect(shared_daemon.addr) as kv:
        for value in BYTE_VALUES:
            key = f"value/{next(NAMES)}"
            revision = await kv.set(key, value)
            assert await kv.get(key) == value
            assert await kv.gets(key) == Item(key, value, revision)
        await kv.set("json", '{"ü": [1, null]}')
        assert await kv.get_json("json") == {"ü": [1, None]}
        assert await kv.get_text("json") == '{"ü": [1, null]}'
        await kv.set("json", b"\xff")
        with pytest.raises(UnicodeDecodeError):
            await kv.get_text("json")
        with pytest.raises(ValueError, match="decode"):
            await kv.get_json("json")
        assert (await kv.get("nope"), await kv.get_text("nope"), await kv.get_json("nope")) == (None, None, None)
        assert await kv.gets("nope") is None


async def test_conditions_and_times_to_live(shared_daemon: Daemon, connect: Connect) -> None:
    async with await connect(shared_daemon.addr) as kv:
        first = await kv.set("lock", "me", ttl=100, if_revision=0)
        with pytest.raises(Conflict) as caught:
            await kv.set("lock", "you", if_revision=0)
        assert (caught.value.revision, caught.value.key) == (first, "")
        assert 0 < await kv.ttl("lock") <= 100
        assert await kv.touch("lock", None, if_revision=first) is True
        assert await kv.ttl("lock") == math.inf
        with pytest.raises(Conflict):
            await kv.touch("lock", 5, if_revision=first - 1)
        assert await kv.touch("nope", 5) is False
        with pytest.raises(Conflict):
            await kv.delete("lock", if_revision=first - 1)
        assert await kv.delete("lock", if_revision=first) == first + 1
        assert await kv.delete("lock") is None
        hits = f"hits{next(NAMES)}"
        assert await kv.incr(hits, 5) == 5
        await kv.set(hits, "many")
        with pytest.raises(NotANumber):
            await kv.incr(hits)


async def test_new_keys_of_a_prefix(shared_daemon: Daemon, connect: Connect) -> None:
    prefix = f"queue{next(NAMES)}/"
    async with await connect(shared_daemon.addr) as kv:
        items = [await kv.append(prefix, value, ttl=60) for value in ("a", b"\xff")]
        assert [item async for item in kv.list(prefix + "*")] == items
        assert [item.value for item in items] == [b"a", b"\xff"]
        with pytest.raises(BadKey):
            await kv.append("a b", "v")


async def test_listings(shared_daemon: Daemon, connect: Connect) -> None:
    async with await connect(shared_daemon.addr) as kv:
        names = [f"dir/{first}/{second}" for first in "ab" for second in "xyz"]
        revisions = {name: await kv.set(name, name.upper()) for name in names}
        assert [key async for key in kv.keys("dir/*")] == names
        assert [key async for key in kv.keys("dir/*", after="dir/a/x", before="dir/b/y")] == names[1:4]
        assert [key async for key in kv.keys("dir/*", reverse=True, limit=2)] == names[:-3:-1]
        assert [key async for key in kv.keys("dir/*", fold="/")] == ["dir/a/", "dir/b/"]
        assert [key async for key in kv.keys("dir/*", fold="/", after="dir/a/")] == ["dir/b/"]
        assert [item async for item in kv.list("dir/a/*")] == [
            Item(name, name.upper().encode(), revisions[name]) for name in names[:3]
        ]
        assert [item async for item in kv.list("dir/*", fold="/")] == [Item("dir/a/", b"", 0), Item("dir/b/", b"", 0)]
        assert await kv.count("dir/*") == 6
        assert await kv.delete_all("dir/a/*") == 3
        assert await kv.delete_all("dir/*", limit=2) == 2
        assert await kv.delete_all("nothing/*") == 0
        with pytest.raises(BadKey, match="a prefix and"):
            await kv.delete_all("dir/b/z")


async def test_listings_of_several_pages_in_both_directions(shared_daemon: Daemon, connect: Connect) -> None:
    prefix = f"many{next(NAMES)}/"
    names = [f"{prefix}{number:04}" for number in range(1100)]
    async with await connect(shared_daemon.addr) as kv:
        for start in range(0, len(names), 100):
            async with kv.transaction() as together:
                for name in names[start : start + 100]:
                    together.set(name, "")
        assert [key async for key in kv.keys(prefix + "*")] == names
        assert [key async for key in kv.keys(prefix + "*", reverse=True)] == names[::-1]
        assert [item.key async for item in kv.list(prefix + "*", reverse=True, limit=1050)] == names[:49:-1]


async def test_the_daemon_says_what_it_is(shared_daemon: Daemon, connect: Connect) -> None:
    async with await connect(shared_daemon.addr) as kv:
        assert (await kv.info())["protocol"] == "1"
        assert await kv.ping(" hello ") == " hello "
        assert any(line.startswith("GET key") for line in await kv.help())
        assert len(await kv.help("get")) < 5
        with pytest.raises(Usage):
            await kv.help("GET a")


async def test_many_callers_share_a_connection(shared_daemon: Daemon, connect: Connect) -> None:
    key = f"shared/{next(NAMES)}"
    async with await connect(shared_daemon.addr) as kv:
        sums = await asyncio.gather(*(kv.incr(key) for _ in range(300)))
        assert sorted(sums) == list(range(1, 301))
        big = os.urandom(1 << 20)
        await asyncio.gather(*(kv.set(f"{key}/{number}", big) for number in range(12)))
        assert await asyncio.gather(*(kv.get(f"{key}/{number}") for number in range(12))) == [big] * 12


# Transactions


async def test_a_transaction_is_done_or_not(shared_daemon: Daemon, connect: Connect) -> None:
    async with await connect(shared_daemon.addr) as kv, kv.watch("t/*") as changes:
        async with kv.transaction() as together:
            together.set("t/a", "1", ttl=60)
            together.incr("t/n", 5)
            together.append("t/q/", b"\xff")
        assert [(await anext(changes)).key for _ in range(3)] == ["t/a", "t/n", f"t/q/{together.revision:016}"]
        found = await kv.gets("t/a")
        with pytest.raises(Conflict) as caught:  # noqa: PT012
            async with kv.transaction() as together:
                together.check("t/a", if_revision=found.revision + 1)
                together.delete("t/n")
        assert (caught.value.revision, caught.value.key) == (found.revision, "t/a")
        assert together.revision == 0
        with pytest.raises(NotANumber):  # noqa: PT012
            async with kv.transaction() as together:
                together.set("t/n", "x")
                together.incr("t/n")
        with pytest.raises(RuntimeError, match="of the program"):  # noqa: PT012
            async with kv.transaction() as together:
                together.set("t/a", "3")
                raise RuntimeError("of the program")
        assert await kv.get("t/a") == b"1"


async def test_the_checks_of_a_transaction(shared_daemon: Daemon, connect: Connect) -> None:
    root = f"checks{next(NAMES)}"
    async with await connect(shared_daemon.addr) as kv:
        async with kv.sync(f"{root}/*") as copy:
            position = copy.position
        revision = await kv.set(f"{root}/a", "1", ttl=60)
        async with kv.transaction() as together:
            together.check(f"{root}/a")
            together.check(f"{root}/a", if_revision=revision)
            together.check(f"{root}/b/*", if_revision=0)
            together.touch(f"{root}/a", None, if_revision=revision)
        assert await kv.ttl(f"{root}/a") == math.inf
        with pytest.raises(Conflict) as caught:
            async with kv.transaction() as together:
                together.check(f"{root}/*", since=position)
        assert (caught.value.revision, caught.value.key) == (revision, f"{root}/a")
        with pytest.raises(Usage, match="not both"):
            async with kv.transaction() as together:
                together.check("a", if_revision=1, since=position)


async def test_what_is_refused_in_a_transaction_is_told(shared_daemon: Daemon, connect: Connect) -> None:
    async with await connect(shared_daemon.addr) as kv:
        with pytest.raises(KvdError) as caught:  # noqa: PT012
            async with kv.transaction() as together:
                for number in range(129):
                    together.set(f"over/{number}", "")
        assert "128" in str(caught.value)
        assert await kv.count("over/*") == 0
        with pytest.raises(BadKey):
            async with kv.transaction() as together:
                together.set("a b", "")
        assert await kv.ping("still here") == "still here"


# The past, and watches on one connection


async def test_the_past_in_parts(shared_daemon: Daemon, connect: Connect) -> None:
    async with await connect(shared_daemon.addr) as kv, kv.watch("past/*") as changes:
        begin = changes.position
        for number in range(5):
            await kv.set(f"past/{number % 2}", str(number))
        await kv.delete("past/0")
        expected = [await anext(changes) for _ in range(6)]
        part = await kv.changes(begin, "past/*", limit=4)
        assert part.events == expected[:4]
        rest = await kv.changes(part.position, "past/*")
        assert rest.events == expected[4:]
        assert (await kv.changes(rest.position, "past/*")).events == []
        with pytest.raises(OtherStore):
            await kv.changes("1@00000000")
        with pytest.raises(Future):
            await kv.changes(f"{2**53 - 1}@{begin.partition('@')[2]}")
        with pytest.raises(Usage, match="invalid position"):
            await kv.changes("1")


async def test_a_watch_goes_on_from_a_position_or_begins_with_a_copy(shared_daemon: Daemon, connect: Connect) -> None:
    root = f"w{next(NAMES)}"
    async with await connect(shared_daemon.addr) as kv:
        async with kv.watch(f"{root}/*") as changes:
            begin = changes.position
            assert changes.copy is None
            revision = await kv.set(f"{root}/a", "1")
            assert (await anext(changes)).revision == revision
            assert changes.position.startswith(f"{revision}@")
            with pytest.raises(TimeoutError):
                await changes.next(0.05)
        async with kv.resume(begin, f"{root}/*") as changes:
            assert changes.position == begin
            assert (await anext(changes)).revision == revision
        async with kv.sync(f"{root}/*") as changes:
            assert changes.copy == Copy(
                changes.position, int(changes.position.partition("@")[0]), "new",
                {f"{root}/a": Item(f"{root}/a", b"1", revision)},
            )  # fmt: skip
            await kv.delete(f"{root}/a")
            assert (await anext(changes)).verb == "DEL"
        with pytest.raises(OtherStore):
            async with kv.resume("1@00000000"):
                pass


# Owners, and what a watch gets beside changes


async def test_keys_that_live_with_another(shared_daemon: Daemon, connect: Connect) -> None:
    root = f"own{next(NAMES)}"
    async with await connect(shared_daemon.addr) as kv:
        await kv.set(f"{root}/owner", "", ttl=60)
        await kv.set(f"{root}/a", "1", owner=f"{root}/owner")
        added = await kv.append(f"{root}/q/", "2", owner=f"{root}/owner")
        async with kv.transaction() as together:
            together.set(f"{root}/b", "3", owner=f"{root}/owner")
        names = [f"{root}/a", f"{root}/b", added.key]
        assert [key async for key in kv.keys(f"{root}/*", owner=f"{root}/owner")] == names
        assert [item.key async for item in kv.list(f"{root}/*", owner=f"{root}/owner", limit=2)] == names[:2]
        assert 0 < await kv.ttl(f"{root}/a") <= 60
        with pytest.raises(Conflict) as caught:
            await kv.set(f"{root}/c", "", owner=f"{root}/nobody")
        assert (caught.value.revision, caught.value.key) == (0, f"{root}/nobody")
        with pytest.raises(Usage, match="not both"):
            await kv.set(f"{root}/c", "", owner=f"{root}/owner", ttl=5)
        await kv.delete(f"{root}/owner")
        assert await kv.count(f"{root}/*") == 0


async def test_a_watch_may_get_more_or_less(shared_daemon: Daemon, connect: Connect) -> None:
    root = f"opt{next(NAMES)}"
    options = WatchOptions(values=False, lifetimes=True, batches=True, times=True)
    async with await connect(shared_daemon.addr) as kv:
        await kv.set(f"{root}/lease", "old", ttl=60)
        await kv.set(f"{root}/kept", "12345", owner=f"{root}/lease")
        async with kv.sync(f"{root}/*", options=options) as changes:
            lease, kept = changes.copy.items[f"{root}/lease"], changes.copy.items[f"{root}/kept"]
            assert (lease.value, lease.size, lease.owner) == (b"", 3, None)
            assert 0 < lease.ttl <= 60
            assert (kept.size, kept.ttl, kept.owner) == (5, None, f"{root}/lease")
            position = changes.position
            async with kv.transaction() as together:
                together.set(f"{root}/x", "123456", ttl=60)
                together.delete(f"{root}/kept")
            events = [await anext(changes) for _ in range(3)]
        said = [(event.verb, event.key.rpartition("/")[2], event.value, event.size, event.left) for event in events]
        assert said == [("SET", "x", None, 6, 1), ("TTL", "x", None, None, None), ("DEL", "kept", None, None, 0)]
        assert events[0].time == events[2].time > 1e9
        assert 0 < events[1].ttl <= 60
        assert events[1].revision == events[0].revision
        part = await kv.changes(position, f"{root}/*", options=options)
        assert [event._replace(ttl=None) for event in part.events] == [event._replace(ttl=None) for event in events]
        async with kv.follow(f"{root}/*", position=position, options=WatchOptions(only=["DEL"])) as follow:
            event = await anext(follow)
            assert (event.verb, event.left, event.time) == ("DEL", None, None)
        async with kv.resume(position, f"{root}/*", options=WatchOptions(only=("SET",), batches=True)) as changes:
            assert (await anext(changes))[:5] == (*events[0][:4], b"123456")
        for wrong in (WatchOptions(only=["SIZE"]), WatchOptions(only="SET")):
            with pytest.raises(Usage, match="invalid only"):
                kv.watch(options=wrong)


# Many requests


async def test_many_requests_without_waiting_for_each(shared_daemon: Daemon, connect: Connect) -> None:
    root = f"all{next(NAMES)}"
    async with await connect(shared_daemon.addr) as kv:
        asked = (requests.set(f"{root}/{number % 200}", str(number), None, None, 0) for number in range(1000))
        outcomes = [outcome async for outcome in kv.ask_all(asked)]
        assert [type(outcome) for outcome in outcomes] == [int] * 200 + [Conflict] * 800
        values = [value async for value in kv.ask_all(map(requests.get, (f"{root}/{number}" for number in range(201))))]
        assert values == [*(str(number).encode() for number in range(200)), None]
        big = os.urandom(1 << 20)
        asked = (requests.set(f"{root}/{number}", big) for number in range(40))
        assert all([isinstance(outcome, int) async for outcome in kv.ask_all(asked)])
        assert [outcome async for outcome in kv.ask_all([])] == []


async def test_what_many_requests_come_to_when_the_connection_is_lost(connect: Connect) -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"PING\n"
        writer.write(b"OK\n")
        for _ in range(3):
            asked.append(await reader.readline())
            if len(asked) in (1, 4):
                writer.write(b"OK 1\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        async with await connect(f"{host}:{port}") as kv:
            both = [requests.get("a"), requests.set("a", "1"), requests.get("b")]
            outcomes = [outcome async for outcome in kv.ask_all(both)]
    assert outcomes[0] == b"1"
    assert type(outcomes[1]) is Uncertain
    assert outcomes[2] == b"1"  # it was asked again
    assert asked.count(b"SET a 1\n") == 1
