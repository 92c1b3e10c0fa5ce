"""What an edge promises, with daemons in the test's own loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from kvd.access.users_file import load
from kvd.daemon import Daemon
from kvd.edge.location import EdgeLocation
from kvd.edge.store import EdgeStore
from kvd.errors import StartError
from kvd.memory import MemoryPlan
from kvd.reloadable import Reloadable
from kvd.settings import OPTIONS, Settings, read
from tests.support.async_peers import AsyncPeer, connected
from tests.support.edges import edge, root, served, tree
from tests.support.processes import PATIENCE, Redis

USERS = Path(__file__).parents[1] / "vectors" / "users" / "users.toml"
SLOW = Settings(max_stale=PATIENCE)
"""A machine may be busy for longer than the default."""


async def items(peer: AsyncPeer, request: str) -> list[str]:
    """All lines of a reply."""
    lines = [await peer.ask(request)]
    while lines[-1].partition(" ")[0] not in ("OK", "ERR", "NONE"):
        lines.append(await peer.line())
    return lines


async def facts(peer: AsyncPeer) -> dict[str, str]:
    pairs = [line.split(" ", 2) for line in (await items(peer, "INFO"))[:-1]]
    return {name: value for _, name, value in pairs}


@asynccontextmanager
async def peers(*ports: int) -> AsyncIterator[list[AsyncPeer]]:
    contexts = [connected(port) for port in ports]
    try:
        yield [await context.__aenter__() for context in contexts]
    finally:
        for context in contexts:
            await context.__aexit__(None, None, None)


# ---- reads after one's own writes


async def test_a_client_of_an_edge_reads_its_own_writes(store_url: str) -> None:
    async with tree(store_url, SLOW, 2) as ports, peers(ports[-1], ports[-1]) as (one, other):

        async def count_up(peer: AsyncPeer, conflicts: list[int]) -> None:
            for _ in range(40):
                while True:
                    revision, value = (await peer.ask("GETS n")).split(" ")[1:]
                    reply = await peer.ask(f"PUT n if={revision} = {int(value) + 1}")
                    if reply.startswith("OK "):
                        assert int((await peer.ask("GET n")).split(" ")[1]) > int(value)
                        break
                    conflicts.append(int(reply.split(" ")[1]))
                    # What refused it is there to be read: the loop does not spin.
                    assert int((await peer.ask("GETS n")).split(" ")[1]) >= conflicts[-1]

        assert await one.ask("SET n 0") == "OK 1"
        conflicts: list[int] = []
        await asyncio.gather(count_up(one, conflicts), count_up(other, conflicts))
        assert await one.ask("GET n") == "OK 80"
        assert len(conflicts) <= 80, "each may lose to the other's write, and to nothing else"


async def test_replies_without_a_revision_wait_for_what_they_tell(store_url: str) -> None:
    async with tree(store_url, SLOW, 1) as ports, peers(*ports) as (writer, reader):
        for number in range(50):
            await writer.ask(f"SET k {number}")
            await writer.ask("DEL k")
            assert await reader.ask("DEL k") == "NONE"
            assert await reader.ask("GET k") == "NONE"
            await writer.ask(f"SET k {number}")
            assert (await reader.ask("PUT k if=0 = x")).startswith("CONFLICT ")
            assert await reader.ask("GET k") == f"OK {number}"
            assert await reader.ask("INCR k") == f"OK {number + 1}"
            assert await reader.ask("GET k") == f"OK {number + 1}"
            await writer.ask("PUT k ttl=900 = x")
            assert 800 < float((await reader.ask("TTL k")).split(" ")[1]) <= 900
            assert await reader.ask("GET k") == "OK x"


async def test_a_reader_elsewhere_sees_what_a_writer_was_told(store_url: str) -> None:
    async with tree(store_url, SLOW, 3) as ports, peers(ports[0], ports[-1]) as (writer, reader):
        store = (await facts(writer))["store"]
        for number in range(50):
            revision = (await writer.ask(f"SET a/{number} {number}")).removeprefix("OK ")
            assert await reader.ask(f"GET a/{number} min={revision}@{store}") == f"OK {number}"
            assert await reader.ask(f"COUNT a/* min={revision}@{store}") == f"OK {number + 1}"
        assert (await reader.ask("GET a/1 min=1@nostore")).startswith("ERR store ")


async def test_requests_in_a_row_are_answered_in_their_order(store_url: str) -> None:
    async with tree(store_url, SLOW, 1) as ports, peers(ports[-1]) as (peer,):
        peer.send("".join(f"SET k{n} {n}\nGET k{n}\nINCR c\nTTL k{n}\nGETS c\n" for n in range(100)))
        for n in range(100):
            assert await peer.lines(5) == [
                f"OK {2 * n + 1}",
                f"OK {n}",
                f"OK {n + 1}",
                "OK -",
                f"OK {2 * n + 2} {n + 1}",
            ]


# ---- transactions


async def test_no_transaction_is_halved(store_url: str) -> None:
    async with tree(store_url, SLOW, 2) as ports, peers(ports[0], ports[-1], ports[-1]) as (writer, reader, watcher):
        assert (await watcher.ask("WATCH *batches t/*")).startswith("OK ")

        async def write() -> None:
            for number in range(100):
                values = "".join(f"SET t/{place} {number}\n" for place in range(20))
                writer.send(f"BEGIN\n{values}COMMIT\n")
                assert (await writer.lines(22))[-1].startswith("OK ")

        async def look() -> None:
            for _ in range(100):
                values = {line.rpartition(" ")[2] for line in (await items(reader, "LIST t/*"))[:-1]}
                assert len(values) <= 1, values

        async def watch() -> None:
            for number in range(100):
                assert await watcher.line() == "BATCH 20"
                assert {line.rpartition(" ")[2] for line in await watcher.lines(20)} == {f"{number}"}

        await asyncio.gather(write(), look(), watch())


# ---- positions


async def test_positions_are_the_same_everywhere(store_url: str) -> None:
    async with tree(store_url, SLOW, 2) as ports, peers(*ports) as them:
        store = (await facts(them[0]))["store"]
        for number in range(1, 11):
            await them[number % 3].ask(f"SET k {number}")
        await asyncio.gather(*(peer.ask("UNWATCH") for peer in them))
        for peer in them:
            assert await peer.ask(f"RESUME 4@{store}") == f"OK 4@{store}"
            assert await peer.lines(6) == [f"CHANGE {n}@{store} SET k {n}" for n in range(5, 11)]
            assert (await peer.ask(f"RESUME 11@{store}")).startswith("ERR future ")
            assert (await peer.ask("RESUME 4@nostore")).startswith("ERR store ")
            assert await peer.ask("UNWATCH") == f"OK 10@{store}"


@pytest.mark.parametrize("options", ["", "*batches *ttl *time ", "*keys *ttl=all "])
async def test_what_an_edge_does_not_remember_comes_from_its_upstream(store_url: str, options: str) -> None:
    async with root(store_url, SLOW) as top:
        async with peers(top) as (writer,):
            store = (await facts(writer))["store"]
            for number in range(1, 301):
                writer.send(
                    f"PUT k/{number % 7} ttl=900 = {number}\n" if number % 3 else f"SET k/{number % 7} {number}\n"
                )
            await writer.lines(300)
            writer.send("BEGIN\nSET k/a 1\nSET b 2\nSET k/c 3\nCOMMIT\n")
            await writer.lines(5)
        async with edge(top, settings=SLOW) as port, peers(top, top, port) as (writer, above, below):
            for peer in (above, below):
                assert await peer.ask(f"RESUME 5@{store} {options}k/*") == f"OK 5@{store}"
            await writer.ask("SET k/last x")
            expected: list[str] = []
            while not (expected and "k/last" in expected[-1]):
                expected.append(await above.line())
            got = await below.lines(len(expected))
            assert [line for line in got if "TTL" not in line] == [line for line in expected if "TTL" not in line]
            assert sum("TTL" in line for line in got) == sum("TTL" in line for line in expected)
            # From now on it is as any other.
            await writer.ask("SET k/1 new")
            while "k/1 " not in (line := await below.line()) or "CHANGE " not in line:
                pass
            async with peers(port) as (other,):
                assert await other.ask(f"CHANGES 5@{store} *limit=1 k/*") == f"CHANGED 6@{store} SET k/6 6"


async def test_a_watch_that_comes_from_the_upstream_ends_as_any_other(store_url: str) -> None:
    async with root(store_url, SLOW) as top, peers(top) as (writer,):
        store = (await facts(writer))["store"]
        await writer.ask("SET a 1")
        async with edge(top, settings=SLOW) as port, peers(port) as (peer,):
            await writer.ask("SET a 2")
            assert await peer.ask(f"FOLLOW 0@{store} a") == f"OK 0@{store}"
            assert await peer.lines(2) == [f"CHANGE 1@{store} SET a 1", f"CHANGE 2@{store} SET a 2"]
            assert await peer.ask("UNWATCH") == f"OK 2@{store}"
            assert await peer.ask(f"RESUME 0@{store} quiet") == f"OK 0@{store}"
            assert await peer.ask("PROGRESS 0.05") == "OK"
            # It comes to the end, though nothing matches.
            while (line := await peer.line()) != f"PROGRESS 2@{store}":
                assert line.startswith("PROGRESS ")


async def test_a_history_that_was_replaced_ends_the_watches(store_url: str, redis_of_all: Redis) -> None:
    async with tree(store_url, SLOW, 2) as ports, peers(*ports) as them:
        await them[0].ask("SET a 1")
        for peer in them:
            assert (await peer.ask("UNWATCH")).startswith("OK 1@")
            assert (await peer.ask("WATCH")).startswith("OK 1@")
        await asyncio.to_thread(redis_of_all.cli, "HSET", "{kvd}:meta", "store", "another")
        for peer in them:
            assert " store " in await peer.line()
        assert (await facts(them[0]))["store"] == "another"
        while (line := await them[-1].ask("SYNC")) != "PAIR 1 a 1":
            # The copy is made anew at this moment.
            assert line.startswith("ERR unavailable "), line
        assert await them[-1].line() == "OK 1@another"


async def test_info_tells_of_the_edge(store_url: str) -> None:
    async with tree(store_url, SLOW, 2) as ports, peers(*ports) as (top, middle, bottom):
        assert "upstream" not in await facts(top)
        above, below = await facts(middle), await facts(bottom)
        assert above["upstream"] == f"127.0.0.1:{ports[0]}"
        assert below["upstream"] == f"127.0.0.1:{ports[1]}"
        assert below["path"].split()[1:] == above["path"].split()
        assert 0 <= int(below["behind-ms"]) <= 1000 * PATIENCE
        assert "follows" in below["features"].split()


# ---- users


async def test_rights_are_checked_at_the_edge(store_url: str) -> None:
    loaded = Reloadable(users=load(USERS, "--users"))
    async with (
        root(store_url, SLOW) as top, edge(top, settings=SLOW, loaded=loaded) as port,
        peers(top, port) as (above, below),
    ):  # fmt: skip
        await above.ask("SET secret 1")
        for request in ("GET secret", "TTL secret", "SET secret 2", "CHANGES 0@x", "DEL s*", "INCR secret"):
            assert (await below.ask(request)).split(" ")[:2] in (["ERR", "auth"], ["ERR", "denied"]), request
        assert await above.ask("GET secret") == "OK 1"


async def test_what_has_a_quota_is_refused_at_the_edge_where_nobody_counts(store_url: str) -> None:
    loaded = Reloadable(users=load(USERS, "--users"))
    async with (
        root(store_url, SLOW) as top, edge(top, settings=SLOW, loaded=loaded) as port,
        peers(top, port) as (above, carol),
    ):  # fmt: skip
        assert await above.ask("SET app/1 1") == "OK 1"
        assert await carol.ask("AUTH carol open sesame") == "OK"
        refused = "ERR denied an edge cannot hold to a quota: write to the root"
        for request in ("SET app/2 1", "PUT app/* = 1", "INCR app/1"):
            assert await carol.ask(request) == refused, request
        assert [await carol.ask(line) for line in ("BEGIN", "SET app/2 1", "COMMIT")][2] == refused
        # All in one piece, and the others of it in their places.
        assert await carol.ask("TOUCH app/1 ttl=-\nSET app/2 1\nDEL app/1\nSET app/3 1") == "OK"
        assert [await carol.line() for _ in range(3)] == [refused, "OK 2", refused]


# ---- what cannot be followed


async def test_a_loop_of_followers_is_refused(store_url: str) -> None:
    async with root(store_url, SLOW) as top, edge(top, settings=SLOW) as first, edge(first, settings=SLOW) as second:
        async with peers(second) as (peer,):
            assert len((await facts(peer))["path"].split()) == 2
        above = replace(SLOW, follow=(f"127.0.0.1:{second}",))
        store = EdgeStore(above)
        await store.start(wait=PATIENCE)
        try:
            async with served(EdgeLocation(store), above) as third, peers(third) as (peer,):
                path = (await facts(peer))["path"].split()
                assert len(path) == 3
                loop = EdgeStore(replace(SLOW, follow=(f"127.0.0.1:{third}",)))
                # As if it were the first of them.
                loop._upstream.id = path[-1]
                with pytest.raises(StartError, match="follows this daemon"):
                    await loop.start(wait=PATIENCE)
                await loop.close()
        finally:
            await store.close()


async def test_a_copy_takes_no_more_memory_than_it_may(store_url: str) -> None:
    small = replace(SLOW, memory=replace(MemoryPlan.of(Settings().memory.available, None), store=200_000))
    async with root(store_url, SLOW) as top, peers(top) as (writer,):
        async with edge(top, settings=small) as port, peers(port, port) as (peer, watcher):
            assert (await watcher.ask("WATCH")).startswith("OK ")
            writer.send("".join(f"SET k{number} {'x' * 1000}\n" for number in range(300)))
            await writer.lines(300)
            line = await watcher.line()
            while not line.startswith("END "):
                line = await watcher.line()
            assert " compacted " in line
            assert (await peer.ask("GET k1")).startswith("ERR unavailable ")
        store = EdgeStore(replace(small, follow=(f"127.0.0.1:{top}",)))
        with pytest.raises(StartError, match="--max-memory"):
            await store.start(wait=PATIENCE)
        await store.close()


async def test_a_copy_that_is_not_whole_in_time_is_no_upstream_that_does_not_answer() -> None:
    """Of a million keys on a busy machine it was said that `it does not answer`."""
    replies = {b"PING": b"OK\n", b"INFO": b"INFO features edges\nOK\n", b"PROGRESS": b"OK\n",
               b"FOLLOW": b"COPY first\nPAIR 1 a 1\nTTL -\nPAIR 2 b 2\nTTL -\n"}  # fmt: skip

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(replies.get(line.split()[0], b""))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        store = EdgeStore(replace(Settings(), follow=(f"{host}:{port}",)))
        with pytest.raises(StartError, match=r"not whole in time \(2 keys so far\).*--store-wait"):
            await store.start(wait=2)
        await store.close()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"--store": "redis://h"}, "--store and --follow"),
        ({"--data": "d"}, "--data and --follow"),
        ({"--workers": "2"}, "--workers and --follow"),
        ({"--fsync": "no"}, "--fsync and --follow"),
        ({"--listen": ["127.0.0.1:1"]}, "this daemon itself"),
        ({"--follow": "1234"}, "--follow: invalid address"),
        ({"--max-stale": "0.01"}, "--max-stale"),
        ({"--follow-user": "u"}, "--follow-user and --follow-password-file: one of them"),
        ({"--follow-ca": "/nowhere/ca"}, "/nowhere/ca"),
    ],
    ids=lambda one: None if isinstance(one, str) else " ".join(one),
)
def test_what_does_not_go_with_an_edge_is_refused(given: dict[str, object], text: str) -> None:
    options = {option.name: None for option in OPTIONS} | {"--follow": "127.0.0.1:1"} | given
    with pytest.raises(StartError, match=text):
        EdgeStore(read(options, {}))


def test_what_goes_with_following_alone_is_refused() -> None:
    with pytest.raises(StartError, match="--follow-user: expected --follow"):
        Daemon(replace(Settings(), follow_user="u"))
