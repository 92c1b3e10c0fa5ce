"""kvd.session over in-memory streams, on a real store: order, pipelines, pushed lines, ends."""

import asyncio
import gc
import logging
import tracemalloc
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from kvd.errors import KvdError, Refusal, Unavailable, Uncertain
from kvd.model import Change, Outcome, Position, Record
from kvd.requests import AnyWrite, KeyRange, Simple
from kvd.session import watching
from kvd.session.kept_input import READ_BYTES
from kvd.session.output import FLUSH_BYTES, PUSH_ALLOWANCE
from kvd.store.api import Page
from kvd.store.redis.batching import BATCH_BYTES, BATCH_ITEMS
from kvd.store.redis.cache import Cache, LocalCache
from kvd.store.redis.maintenance import Retention
from kvd.store.redis.store import Store
from tests.support.memory import FULL, MemoryPeer, MemoryService, serving
from tests.support.processes import PATIENCE
from tests.support.text import without_retry


class Gate:
    """Where a call of the store waits until it is let through."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()


class ObservedStore(Store):
    """The real store, which notes what it is asked, and waits or refuses when it is told to."""

    def __init__(self, url: str, cache: Cache | None = None) -> None:
        super().__init__(url, cache=cache)
        self.calls: list[str] = []
        self.gates: dict[str, Gate] = {}
        self.refusals: dict[str, Refusal] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def stop_at(self, name: str) -> Gate:
        """Let the next calls of that name wait."""
        self.gates[name] = Gate()
        return self.gates[name]

    async def _called(self, name: str, count: int) -> None:
        self.calls.append(f"{name} {count}")
        if name in self.refusals:
            raise self.refusals[name]
        if name in self.gates:
            self.gates[name].reached.set()
            await self.gates[name].open.wait()

    def ask_then(
        self, keys: Sequence[bytes], done: Callable[[tuple[list[Record | None], int] | KvdError], None], *,
        fetch: bool = False,
    ) -> None:  # fmt: skip
        self._later("read", len(keys), partial(super().ask_then, keys, done, fetch=fetch), done)

    async def fetch(self, key: bytes) -> Record | None:
        await self._called("fetch", 1)
        return await super().fetch(key)

    def write_then(
        self, writes: Sequence[AnyWrite] | Simple, size: int, done: Callable[[Sequence[Outcome] | KvdError], None]
    ) -> None:
        count = len(writes.keys) if isinstance(writes, Simple) else len(writes)
        self._later("write", count, partial(super().write_then, writes, size, done), done)

    def _later(self, name: str, count: int, call: Callable[[], None], done: Callable[[Refusal], None]) -> None:
        async def run() -> None:
            try:
                await self._called(name, count)
            except Refusal as error:
                done(error)
            else:
                call()

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def pages(self, wanted: KeyRange, *, records: bool) -> AsyncIterator[Page]:
        """Waits after the first page."""
        async for page in super().pages(wanted, records=records):
            yield page
            await self._called("pages", 1)

    async def history(self) -> tuple[Position, int]:
        await self._called("history", 1)
        return await super().history()


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[MemoryService]:
    async with serving(tmp_path / "data", ObservedStore) as service:
        yield service


@pytest.fixture
def store(service: MemoryService) -> ObservedStore:
    assert isinstance(service.store, ObservedStore)
    return service.store


@pytest.fixture
async def peer(service: MemoryService) -> MemoryPeer:
    return service.connect()


@pytest.fixture
async def other(service: MemoryService) -> MemoryPeer:
    return service.connect()


async def reached(gate: Gate) -> None:
    async with asyncio.timeout(PATIENCE):
        await gate.reached.wait()


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until it is so."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # what changes has no event
            await asyncio.sleep(0)


def shown(position: str) -> str:
    """A status or pushed line without the store's id."""
    return " ".join(word.partition("@")[0] for word in position.split(" "))


# ---- pipelines


async def test_neighbours_that_read_and_neighbours_that_write_go_to_the_store_together(
    peer: MemoryPeer, store: ObservedStore
) -> None:
    peer.send(
        "GET a\nGETS b\nTTL c\nSET a 1\nINCR n\nDEL a\nPUT a = 2\nTOUCH a ttl=5\nGET a\nKEYS\nGET n\nPING\nGET a\n"
    )
    assert await peer.lines(15) == [
        "NONE", "NONE", "NONE", "OK 1", "OK 1", "OK 3", "OK 4", "OK", "OK 2", "KEY a", "KEY n", "OK 2", "OK 1", "OK",
        "OK 2",
    ]  # fmt: skip
    assert store.calls == ["read 3", "write 5", "read 1", "pages 1", "read 1", "read 1"]


async def test_replies_keep_their_order_around_errors(peer: MemoryPeer, store: ObservedStore) -> None:
    peer.send("SET a 1\nFROB\nSET b 2\nSET c\nGET a*\nGET b\nINCR b x\nINCR b\nGET b\n\n")
    assert [line.split(" ")[:2] for line in await peer.lines(10)] == [
        ["OK", "1"], ["ERR", "unknown-verb"], ["OK", "2"], ["ERR", "usage"], ["ERR", "bad-key"], ["OK", "2"],
        ["ERR", "not-a-number"], ["OK", "3"], ["OK", "3"], ["ERR", "unknown-verb"],
    ]  # fmt: skip
    assert store.calls == ["write 1", "write 1", "read 1", "write 1", "read 1"]


async def test_a_request_sees_the_effects_of_those_before_it(peer: MemoryPeer) -> None:
    peer.send("".join(f"SET k {n}\nGET k\nINCR k\nGETS k\n" for n in range(50)))
    for n in range(50):
        assert await peer.lines(4) == [f"OK {2 * n + 1}", f"OK {n}", f"OK {n + 1}", f"OK {2 * n + 2} {n + 1}"]


async def test_a_request_is_done_before_a_later_one_of_another_key_begins(
    peer: MemoryPeer, store: ObservedStore
) -> None:
    """The later one may let go of a lock under which the earlier one reads or writes."""
    gate = store.stop_at("read")
    peer.send("GET a\nPUT lock = free\nGET b\nPUT c ttl=60 = v\n")
    await reached(gate)
    assert store.calls == ["read 1"]
    gate.open.set()
    assert await peer.lines(4) == ["NONE", "OK 1", "NONE", "OK 2"]
    assert store.calls == ["read 1", "write 1", "read 1", "write 1"]


async def test_a_group_has_no_more_requests_than_a_batch(peer: MemoryPeer, store: ObservedStore) -> None:
    peer.send("GET a\n" * (2 * BATCH_ITEMS + 5))
    assert await peer.lines(2 * BATCH_ITEMS + 5) == ["NONE"] * (2 * BATCH_ITEMS + 5)
    assert store.calls == [f"read {BATCH_ITEMS}", f"read {BATCH_ITEMS}", "read 5"]


@pytest.mark.parametrize("between", ["", "FROB\n"])
async def test_a_group_has_no_more_bytes_than_a_batch(between: str, peer: MemoryPeer, store: ObservedStore) -> None:
    """What was too much for one group does not count for the next."""
    peer.send("SET big " + "x" * (BATCH_BYTES + 5000) + f"\n{between}SET a 1\nSET b 2\n")
    assert [await peer.line() for _ in range(3 + bool(between))][-1] == "OK 3"
    assert store.calls == ["write 1", "write 2"]


async def test_large_and_small_values_are_answered_in_order(peer: MemoryPeer, store: ObservedStore) -> None:
    large = "x" * 100_000
    peer.send(f"SET large {large}\nSET small s\nGET large\nGET small\nGETS large\nTTL large\nGET none\nGET large\n")
    assert await peer.lines(8) == [
        "OK 1", "OK 2", f"OK {large}", "OK s", f"OK 1 {large}", "OK -", "NONE", f"OK {large}",
    ]  # fmt: skip
    # The time to live of a large record needs no value.
    assert store.calls.count("fetch 1") == 3


async def test_a_large_value_that_is_gone_meanwhile_is_none(
    peer: MemoryPeer, other: MemoryPeer, store: ObservedStore
) -> None:
    assert await other.ask("SET large " + "x" * 100_000) == "OK 1"
    gate = store.stop_at("fetch")
    peer.send("GET none\nGET large\n")
    await reached(gate)
    assert await other.ask("DEL large") == "OK 2"
    gate.open.set()
    assert await peer.lines(2) == ["NONE", "NONE"]


async def test_a_time_to_live_is_never_more_than_was_asked_for(peer: MemoryPeer) -> None:
    peer.send("PUT k ttl=90.5 = v\nTTL k\nTOUCH k ttl=1000000000\nTTL k\n")
    _, left, _, longest = await peer.lines(4)
    assert 0 < float(left.removeprefix("OK ")) <= 90.5
    assert 999_999_000 < float(longest.removeprefix("OK ")) <= 1_000_000_000


@pytest.mark.slow
async def test_a_listing_of_many_pages_is_whole_and_in_order(peer: MemoryPeer) -> None:
    names = [f"k/{n:04}" for n in range(2500)]
    peer.send("".join(f"SET {name} v\n" for name in names))
    await peer.lines(len(names))
    for request, listed in [
        ("KEYS", names), ("KEYS k/*", names), ("KEYS * limit=1000", names[:1000]), ("KEYS * limit=1001", names[:1001]),
        ("KEYS * limit=2500", names), ("KEYS * limit=9999", names), ("KEYS * after=k/0099 limit=2000", names[100:2100]),
        ("KEYS k/2* after=k/2399", names[2400:]),
    ]:  # fmt: skip
        peer.send(request + "\n")
        assert await peer.lines(len(listed) + 1) == [*(f"KEY {name}" for name in listed), f"OK {len(listed)}"], request
    peer.send("LIST\n")
    assert await peer.lines(2500) == [f"PAIR {n + 1} {name} v" for n, name in enumerate(names)]
    assert shown(await peer.line()) == "OK 2500"
    assert await peer.ask("COUNT") == "OK 2500"


# ---- plain requests, which wake no task


@pytest.fixture
async def begun(peer: MemoryPeer) -> MemoryPeer:
    """A connection whose first line has come: from then on, plain chunks are answered as they arrive."""
    assert await peer.ask("PING") == "OK"
    return peer


async def test_plain_chunks_are_answered_in_their_order(begun: MemoryPeer, store: ObservedStore) -> None:
    begun.send("SET a 1\nSET b  two \r\nSET c \n")
    begun.send("GET a\nGET b\nGET none\nGET c\r\n")
    assert await begun.lines(7) == ["OK 1", "OK 2", "OK 3", "OK 1", "OK  two ", "NONE", "OK "]
    assert store.calls == ["write 3", "read 4"]
    assert await begun.ask("GET a") == "OK 1"
    assert await begun.ask("SET a \u00e9") == "OK 4"
    assert await begun.ask("GET a") == "OK \u00e9"
    assert store.calls[2:] == ["read 1", "write 1", "read 1"]


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [
    "GET a\n", "GET a\r\n", "GET a\nGET b\n", "GET a\r\nGET b\r\n", "GET a\nb\nGET a\n", "GET a\nGET none\n", "XET a\n",
    "get a\n", "GET  a\n", "GET a \n", "GET é\nGET a\n", "GET a\nPING\n", "GET ax", "GET a\nGET b", "GET a\r",
    "PING a\n", "\n\n\n\na\n", "GETS a\n", "GETSxa\n", "GETS ax", "gets a\r\nGETS b\n",
    "TTL a\nTTL b\n", "GET", "GET \n",
])  # fmt: skip
async def test_what_is_kept_is_answered_as_the_store_would(chunk: str, tmp_path: Path) -> None:
    answers = []
    for cache in (0, 1 << 20):
        async with serving(tmp_path / str(cache), partial(Store, cache=LocalCache(cache))) as service:
            peer = service.connect()
            peer.send("SET a 1\nSET ax 2\nSET b 3\nSET é 4\n")
            await peer.lines(4)
            for key in ("a", "ax", "b", "é"):
                # The first read has it kept, the second one gives what is kept.
                assert await peer.ask(f"GET {key}") == await peer.ask(f"GET {key}")
            assert all(map(service.store.kept, [b"a", b"ax", b"b", "é".encode()])) == bool(cache)
            peer.send(chunk)
            await asyncio.sleep(0)
            peer.send("\nPING end\nQUIT\n")
            answers.append(await peer.rest())
    assert answers[0] == answers[1]
    assert answers[0][-2:] == ["OK end", "OK bye"]


async def test_what_is_kept_is_not_asked_for(tmp_path: Path) -> None:
    async with serving(tmp_path / "data", partial(ObservedStore, cache=LocalCache(1 << 20))) as service:
        assert isinstance(service.store, ObservedStore)
        peer = service.connect()
        peer.send("SET a 1\nSET b 2\nGET a\nGET b\n")
        assert await peer.lines(4) == ["OK 1", "OK 2", "OK 1", "OK 2"]
        await asyncio.sleep(0)
        service.store.calls.clear()
        assert await peer.ask("GET a") == "OK 1"
        assert await peer.ask("GET a\r") == "OK 1"
        peer.send("GET a\nGET b\n")
        assert await peer.lines(2) == ["OK 1", "OK 2"]
        peer.send("GET a\n" * BATCH_ITEMS)
        assert await peer.lines(BATCH_ITEMS) == ["OK 1"] * BATCH_ITEMS
        assert not service.store.calls
        peer.send("get a\n" * (BATCH_ITEMS + 1) + "GETS a\nTTL a\n")
        assert await peer.lines(BATCH_ITEMS + 3) == [*["OK 1"] * (BATCH_ITEMS + 1), "OK 1 1", "OK -"]
        assert not service.store.calls


async def test_a_kept_text_does_not_overtake_a_write_before_it(tmp_path: Path) -> None:
    async with serving(tmp_path / "data", partial(Store, cache=LocalCache(1 << 20))) as service:
        peer = service.connect()
        assert await peer.ask("SET a 0") == "OK 1"
        for number in range(2, 100):
            assert await peer.ask("GET a") == f"OK {number - 2}"
            assert await peer.ask("GET a") == f"OK {number - 2}"
            peer.send(f"SET a {number - 1}\n")
            peer.send("GET a\n")
            assert await peer.lines(2) == [f"OK {number}", f"OK {number - 1}"]


async def test_what_comes_while_a_plain_chunk_is_answered_waits_for_it(begun: MemoryPeer, store: ObservedStore) -> None:
    gate = store.stop_at("write")
    begun.send("SET a 1\n")
    await reached(gate)
    begun.send("GET a\n")
    begun.send("INCR a\nGET")
    begun.send(" a\nQUIT\n")
    gate.open.set()
    assert await begun.rest() == ["OK 1", "OK 1", "OK 2", "OK 2", "OK bye"]


@pytest.mark.parametrize("behind", ["", "PING\n"])
async def test_plain_reads_of_what_is_not_plain_are_answered_line_by_line(
    behind: str, begun: MemoryPeer, store: ObservedStore
) -> None:
    large = "x" * 100_000
    begun.send(f"PUT bytes base64 = AAA=\nSET large {large}\nPUT dying ttl=100 = d\nPUT dead ttl=0.001 = d\n")
    await begun.lines(4)
    await asyncio.sleep(0.01)
    gate = store.stop_at("read")
    begun.send("GET dying\nGET dead\nGET bytes\nGET large\n")
    await reached(gate)
    begun.send(behind)
    await asyncio.sleep(0)
    gate.open.set()
    assert await begun.lines(4 + bool(behind)) == ["OK d", "NONE", "OK64 AAA=", f"OK {large}", "OK"][: 4 + bool(behind)]
    assert await begun.ask("GET dying") == "OK d"
    assert await begun.ask("GET dead") == "NONE"


async def test_a_half_line_behind_a_plain_chunk_is_completed(begun: MemoryPeer) -> None:
    begun.send("SET a 1\nSET b 2")
    assert await begun.line() == "OK 1"
    begun.send("2\n")
    assert await begun.line() == "OK 2"
    begun.send("GET b\n")
    assert await begun.line() == "OK 22"


async def test_plain_requests_in_a_transaction_are_queued(begun: MemoryPeer) -> None:
    assert await begun.ask("BEGIN") == "OK"
    assert await begun.ask("SET a 1") == "OK queued"
    assert await begun.ask("ABORT") == "OK"
    assert await begun.ask("GET a") == "NONE"


async def test_each_request_of_a_refused_plain_chunk_is_answered(begun: MemoryPeer, store: ObservedStore) -> None:
    store.refusals = {"read": Unavailable("away"), "write": Uncertain("lost")}
    begun.send("GET a\nGET b\n")
    assert await begun.lines(2) == ["ERR unavailable away"] * 2
    begun.send("SET a 1\nSET b 1\n")
    assert await begun.lines(2) == ["ERR uncertain lost"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("end", ["the peer stops sending", "the daemon stops"])
@pytest.mark.parametrize(("request_", "call", "reply"), [("GET a", "read", "NONE"), ("SET a 1", "write", "OK 1")])
async def test_a_plain_chunk_is_answered_before_the_connection_ends(
    end: str, request_: str, call: str, reply: str, begun: MemoryPeer, store: ObservedStore
) -> None:
    gate = store.stop_at(call)
    begun.send(f"{request_}\n")
    if end == "the peer stops sending":
        begun.transport.receive_eof()
    else:
        begun.session.stop()
    await reached(gate)
    gate.open.set()
    assert await begun.rest() == [reply]


async def test_a_lost_connection_leaves_nothing_to_the_garbage_collector(service: MemoryService) -> None:
    """It would find an error that nobody has asked for, and log it."""
    gc.collect()
    gc.disable()
    try:
        peer = service.connect()
        assert [await peer.ask("GET a") for _ in range(2)] == ["NONE"] * 2
        protocol = weakref.ref(peer.transport.get_protocol())
        await service.lose(peer)
        del peer
        assert protocol() is None
    finally:
        gc.enable()


async def test_a_peer_that_is_gone_before_its_plain_reply_does_no_harm(begun: MemoryPeer, store: ObservedStore) -> None:
    gate = store.stop_at("read")
    begun.send("GET a\n")
    await reached(gate)
    begun.transport.lose()
    gate.open.set()
    await begun.close()


@pytest.mark.slow
async def test_plain_replies_wait_for_a_peer_that_does_not_read(begun: MemoryPeer, store: ObservedStore) -> None:
    assert await begun.ask("SET k " + "x" * 4000) == "OK 1"
    begun.transport.stop_reading()
    for _ in range(40):
        begun.send("GET k\n" * 100)
        await asyncio.sleep(0.01)
    # What was taken before the socket was full, and what the stream may hold back.
    assert sum(int(call.split(" ")[1]) for call in store.calls if call.startswith("read")) < 1000
    begun.transport.go_on_reading()
    assert await begun.lines(4000) == ["OK " + "x" * 4000] * 4000


# ---- a store that does not serve


async def test_each_request_of_a_refused_group_is_answered(peer: MemoryPeer, store: ObservedStore) -> None:
    store.refusals = {"read": Unavailable("away"), "write": Uncertain("lost"), "pages": Unavailable("away")}
    peer.send("GET a\nGETS b\nPING\nSET a 1\nINCR b\nKEYS\nPING x\n")
    assert await peer.lines(7) == [
        "ERR unavailable away", "ERR unavailable away", "OK", "ERR uncertain lost", "ERR uncertain lost",
        "ERR unavailable away", "OK x",
    ]  # fmt: skip


async def test_a_large_value_that_cannot_be_fetched_is_one_error_among_replies(
    peer: MemoryPeer, store: ObservedStore
) -> None:
    peer.send("SET large " + "x" * 100_000 + "\nSET small s\n")
    await peer.lines(2)
    store.refusals = {"fetch": Unavailable("away")}
    peer.send("GET small\nGET large\nGET small\n")
    assert await peer.lines(3) == ["OK s", "ERR unavailable away", "OK s"]


# ---- the end of a connection


@pytest.mark.slow
@pytest.mark.parametrize(
    "behind", ["", "SET b 2\n", "FROB\nSET b 2\n", "\xff", "POST / HTTP/1.1\nSET b 2\n", "QUIT\n", "GET"]
)
async def test_nothing_after_quit_is_run_or_answered(behind: str, peer: MemoryPeer, other: MemoryPeer) -> None:
    peer.send(f"SET a 1\nQUIT\n{behind}".encode("latin-1"))
    assert await peer.rest() == ["OK 1", "OK bye"]
    assert await other.ask("COUNT") == "OK 1"


async def test_quit_ends_a_watch_without_a_word(peer: MemoryPeer, other: MemoryPeer, service: MemoryService) -> None:
    await peer.ask("WATCH")
    peer.send("QUIT\n")
    assert await peer.rest() == ["OK bye"]
    assert await other.ask("SET a 1") == "OK 1"
    assert len(service.hub) == 0


@pytest.mark.parametrize("half", ["SET b 2", "SET b 2\r", "DEL a", "Q"])
async def test_a_line_without_its_end_is_not_run(half: str, peer: MemoryPeer, other: MemoryPeer) -> None:
    peer.send(f"SET a 1\n{half}")
    peer.transport.receive_eof()
    assert await peer.rest() == ["OK 1", "ERR usage the last line has no line end and was not run"]
    assert await other.ask("KEYS") == "KEY a"


async def test_a_peer_that_only_stopped_sending_gets_all_its_replies(peer: MemoryPeer) -> None:
    peer.send("SET a 1\n" + "GET a\n" * 1000)
    peer.transport.receive_eof()
    assert await peer.rest() == ["OK 1"] + ["OK 1"] * 1000


async def test_a_watching_peer_that_stopped_sending_gets_changes_until_it_is_gone(
    peer: MemoryPeer, other: MemoryPeer, service: MemoryService
) -> None:
    peer.send("WATCH a\n")
    peer.transport.receive_eof()
    assert shown(await peer.line()) == "OK 0"
    for n in range(1, 4):
        assert await other.ask(f"SET a {n}") == f"OK {n}"
        assert shown(await peer.line()) == f"CHANGE {n} SET a {n}"
    await peer.close()
    assert len(service.hub) == 0


async def test_a_connection_that_can_only_watch_ends_with_its_watch(peer: MemoryPeer, service: MemoryService) -> None:
    peer.send("WATCH\n")
    peer.transport.receive_eof()
    assert shown(await peer.line()) == "OK 0"
    service.hub.end_all("store", "it was replaced")
    assert [shown(line) for line in await peer.rest()] == ["END 0 store it was replaced"]


async def test_a_peer_that_is_gone_leaves_nothing_behind(
    peer: MemoryPeer, other: MemoryPeer, service: MemoryService
) -> None:
    await peer.ask("WATCH")
    peer.transport.stop_reading()
    await other.ask("SET big " + "x" * 1_000_000)
    await other.ask("SET big " + "x" * 1_000_000)
    await peer.close()
    assert len(service.hub) == 0
    assert await other.ask("SET a 1") == "OK 3"


@pytest.mark.slow
@pytest.mark.parametrize(
    "odd", ["POST / HTTP/1.1\r\n", "host: x\r\n", "PROXY TCP4 a b c d\r\n", "\xff\xf4\xff\xfd\x06", "SET b 2\xff"]
)
async def test_what_no_client_sends_closes_after_the_replies_to_what_came_before(
    odd: str, peer: MemoryPeer, other: MemoryPeer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "kvd"):
        peer.send(f"SET a 1\nGET a\n{odd}SET b 2\n".encode("latin-1"))
        *replies, last = await peer.rest()
    assert replies == ["OK 1", "OK 1"]
    assert last.startswith("ERR usage ")
    assert await other.ask("COUNT") == "OK 1"
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["closed the connection of a peer"]


async def test_a_change_for_a_peer_that_has_just_gone_does_no_harm(
    peer: MemoryPeer, other: MemoryPeer, service: MemoryService
) -> None:
    await peer.ask("WATCH")
    peer.transport.lose()
    store = service.hub.position.store
    service.hub.publish(store, [Change(1, b"SET", b"k", b"t", b"v")])
    assert await other.ask("PING") == "OK"


# ---- the daemon stops


async def test_an_idle_session_ends_when_told(peer: MemoryPeer) -> None:
    assert await peer.ask("PING") == "OK"
    peer.session.stop()
    assert await peer.rest() == []


async def test_a_busy_session_answers_before_it_ends(peer: MemoryPeer, store: ObservedStore) -> None:
    gate = store.stop_at("write")
    peer.send("SET a 1\nGET a\n")
    await reached(gate)
    peer.session.stop()
    gate.open.set()
    assert await peer.rest() == ["OK 1", "OK 1"]


@pytest.mark.parametrize("half_closed", [False, True])
async def test_a_watcher_is_told_that_the_daemon_stops(half_closed: bool, peer: MemoryPeer, other: MemoryPeer) -> None:
    assert shown(await peer.ask("WATCH")) == "OK 0"
    if half_closed:
        peer.transport.receive_eof()
    await other.ask("SET a 1")
    assert shown(await peer.line()) == "CHANGE 1 SET a 1"
    peer.session.stop()
    assert [shown(without_retry(line)) for line in await peer.rest()] == ["END 1 shutdown the daemon stops"]


# ---- peers that do not read


@pytest.mark.slow
@pytest.mark.parametrize("request_", ["GET large", "GET small", "HELP", "KEYS", "LIST", "PING " + "x" * 100, ""])
async def test_a_peer_that_does_not_read_its_replies_is_not_read_from(
    request_: str, peer: MemoryPeer, store: ObservedStore
) -> None:
    largest = 5_000
    peer.send(f"SET large {'x' * largest}\nSET small {'x' * 100}\n")
    await peer.lines(2)
    peer.transport.stop_reading()
    # Several times as much as may wait.
    times, after = 500 if request_ in ("GET large", "HELP") else 5000, 3 * READ_BYTES // len("INCR n\n")
    peer.send(f"{request_}\n" * times + "INCR n\n" * after)
    await until(lambda: peer.transport.is_stopped)
    # What waits: what was collected when the socket was found full, and a group of small replies or a large one.
    assert len(peer.transport.waiting) < FULL + FLUSH_BYTES + largest + 256 * 110
    asked = len(store.calls)
    for _ in range(1000):
        await asyncio.sleep(0)
    assert len(store.calls) == asked
    peer.transport.go_on_reading()
    replies = [line for line in [await peer.line() for _ in range(times)] if line.startswith(("OK", "ERR"))]
    while len(replies) < times + after:
        line = await peer.line()
        replies += [line] if line.startswith(("OK", "ERR")) else []
    assert len(set(replies[:times])) == 1
    assert replies[times:] == [f"OK {n + 1}" for n in range(after)]


class NearStore(Store):
    """It answers reads of a key that is nowhere within a few turns of the loop, however busy the machine is."""

    def ask_then(
        self, keys: Sequence[bytes], done: Callable[[tuple[list[Record | None], int] | KvdError], None], *,
        fetch: bool = False,
    ) -> None:  # fmt: skip
        if keys != [b"nowhere"]:
            super().ask_then(keys, done, fetch=fetch)
            return

        async def answer() -> None:
            for _ in range(5):
                await asyncio.sleep(0)
            done(([None], 0))

        self.answering = asyncio.create_task(answer())


@pytest.mark.slow
@pytest.mark.parametrize("request_", ["", "x", "PING", "HELP GET", "QUIT x", "COMMIT", "get kept"])
async def test_a_flood_of_requests_that_need_no_store_holds_up_nobody(request_: str, tmp_path: Path) -> None:
    """One chunk of empty lines took half a second, and `yes | nc` made everybody wait for several at each request."""
    async with serving(tmp_path / "data", partial(NearStore, cache=LocalCache(1 << 20))) as service:
        peer, other = service.connect(), service.connect()
        peer.send("SET kept 1\nGET kept\nGET kept\n")
        await peer.lines(3)
        flood = READ_BYTES // len(request_ + "\n")
        peer.send(f"{request_}\n" * flood + "PING end\n")
        other.send("PING\n")
        other.send("GET nowhere\n")
        other.send("PING\n")
        answered = asyncio.create_task(other.lines(3))
        flooded = asyncio.create_task(_until_end(peer))
        done, _ = await asyncio.wait({answered, flooded}, return_when=asyncio.FIRST_COMPLETED)
        assert done == {answered}
        await flooded


@pytest.mark.parametrize("line", ["GET", "gets", "TTL", "SET", "set", "PUT", "INCR", "GET\r", "get \r"])
async def test_a_verb_alone_in_its_chunk_is_no_request(line: str, begun: MemoryPeer) -> None:
    assert (await begun.ask(line)).startswith("ERR ")


async def _until_end(peer: MemoryPeer) -> None:
    while await peer.line() != "OK end":
        pass


async def test_a_watcher_that_reads_late_misses_nothing(peer: MemoryPeer, other: MemoryPeer) -> None:
    await peer.ask("WATCH a/*")
    peer.transport.stop_reading()
    for n in range(60):
        other.send(f"SET a/{n} {'x' * 100_000}\nSET b {n}\n")
    await other.lines(120)
    assert len(peer.transport.waiting) < 3 << 20
    peer.transport.go_on_reading()
    for n in range(60):
        assert (await peer.line()).split(" ", 4)[2:4] == ["SET", f"a/{n}"]
    assert await other.ask("SET a/last 1") == "OK 121"
    assert shown(await peer.line()) == "CHANGE 121 SET a/last 1"


async def test_a_watcher_that_falls_behind_what_memory_keeps_catches_up_from_the_log(
    peer: MemoryPeer, other: MemoryPeer, service: MemoryService
) -> None:
    await peer.ask("WATCH")
    peer.transport.stop_reading()
    for n in range(1, 21):
        assert await other.ask(f"SET k {'x' * 1_000_000}") == f"OK {n}"
    assert len(peer.transport.waiting) < 4 << 20
    peer.transport.go_on_reading()
    for n in range(1, 21):
        assert shown((await peer.line())[:40]).startswith(f"CHANGE {n} SET k ")
    assert await other.ask("SET k v") == "OK 21"
    assert shown(await peer.line()) == "CHANGE 21 SET k v"
    assert len(service.hub) == 1


async def test_pushed_lines_wait_within_a_limit(tmp_path: Path) -> None:
    async with serving(tmp_path / "data", push_limit=300_000) as service:
        peer, other = service.connect(), service.connect()
        await peer.ask("WATCH")
        peer.transport.stop_reading()
        for n in range(100):
            await other.ask(f"SET k {n} {'x' * 30_000}")
        assert PUSH_ALLOWANCE < 300_000 - 31_000 < len(peer.transport.waiting) <= 300_000
        peer.transport.go_on_reading()
        for n in range(100):
            assert (await peer.line()).split(" ")[4] == str(n)


async def test_a_line_longer_than_the_limit_passes_an_empty_socket(tmp_path: Path) -> None:
    async with serving(tmp_path / "data", push_limit=1000) as service:
        peer, other = service.connect(), service.connect()
        await peer.ask("WATCH")
        peer.transport.stop_reading()
        for n in range(3):
            await other.ask(f"SET k {n} {'x' * 200_000}")
        assert len(peer.transport.waiting) < 201_000
        peer.transport.go_on_reading()
        for n in range(3):
            assert (await peer.line()).split(" ")[4] == str(n)


async def test_an_ended_connection_leaves_nothing_large_behind(tmp_path: Path) -> None:
    """Not even until the garbage collector comes: many that come and go would take much."""
    async with serving(tmp_path / "data", Store) as service:
        peer, other = service.connect(), service.connect()
        other.send("".join(f"SET k{n} {'x' * 400_000}\n" for n in range(20)))
        await other.lines(20)
        gc.collect()
        gc.disable()
        tracemalloc.start()
        try:
            peer.transport.stop_reading()
            peer.send("SYNC\n")
            await until(lambda: peer.transport.is_full)
            assert tracemalloc.get_traced_memory()[0] > 400_000
            await peer.close()
            await until(lambda: tracemalloc.get_traced_memory()[0] < 200_000)
        finally:
            tracemalloc.stop()
            gc.enable()


async def test_a_copy_goes_on_where_the_history_has_left_its_beginning_behind(tmp_path: Path) -> None:
    """The reader sleeps in the middle of the copy for longer than the history reaches."""
    async with serving(tmp_path / "data", lambda url: Store(url, Retention(changes=10))) as service:
        peer, other = service.connect(), service.connect()
        other.send("".join(f"SET k{n} {'x' * 100_000}\n" for n in range(50)))
        await other.lines(50)
        peer.transport.stop_reading()
        peer.send("SYNC\n")
        # The next page is asked for only when this one is read.
        await until(lambda: peer.transport.is_full)
        assert [await other.ask(f"SET k{n % 4} {n}") for n in range(20)] == [f"OK {n + 51}" for n in range(20)]
        async with asyncio.timeout(PATIENCE):
            while (await service.store.history())[1] <= 50:  # noqa: ASYNC110  # a trim has no event
                await asyncio.sleep(0.01)
        peer.transport.go_on_reading()
        copy = {}
        while (line := await peer.line()).startswith("PAIR "):
            _, revision, key, value = line.split(" ")
            copy[key] = (int(revision), value)
        assert line.startswith("OK 70@")
        assert copy == {f"k{n}": (n + 1, "x" * 100_000) for n in range(4, 50)} | {
            f"k{n}": (67 + n, str(16 + n)) for n in range(4)
        }
        assert await peer.ask("PING goes on") == "OK goes on"


# ---- pushed lines and replies


async def test_no_change_stands_inside_a_listing(
    peer: MemoryPeer, other: MemoryPeer, store: ObservedStore, service: MemoryService
) -> None:
    value = "x" * 1000
    other.send("".join(f"SET k{n:03} {value}\n" for n in range(90)))
    await other.lines(90)
    assert shown(await peer.ask("WATCH")) == "OK 90"
    gate = store.stop_at("pages")
    peer.send("LIST\n")
    await reached(gate)
    # A part of the reply is out.
    assert shown((await peer.line())[:20]).startswith("PAIR 1 k000 ")
    assert await other.ask("SET new 1") == "OK 91"
    await until(lambda: service.hub.position.revision == 91)
    gate.open.set()
    listed = await peer.lines(89)
    assert [line.split(" ")[2] for line in listed] == [f"k{n:03}" for n in range(1, 90)]
    assert shown(await peer.line()) == "OK 90"
    assert shown(await peer.line()) == "CHANGE 91 SET new 1"


async def test_a_listing_says_the_position_of_its_first_page(
    peer: MemoryPeer, other: MemoryPeer, store: ObservedStore
) -> None:
    other.send("".join(f"SET k/{n:04} v\n" for n in range(1500)))
    await other.lines(1500)
    gate = store.stop_at("pages")
    peer.send("LIST\n")
    await reached(gate)
    assert await other.ask("SET k/0000 w") == "OK 1501"
    assert await other.ask("SET k/1400 w") == "OK 1502"
    gate.open.set()
    listed = await peer.lines(1500)
    assert (listed[0], listed[1400]) == ("PAIR 1 k/0000 v", "PAIR 1502 k/1400 w")
    assert shown(await peer.line()) == "OK 1500"


async def test_the_end_of_a_watch_waits_for_the_end_of_a_listing(
    peer: MemoryPeer, other: MemoryPeer, store: ObservedStore, service: MemoryService
) -> None:
    await other.ask("SET k v")
    await peer.ask("WATCH")
    gate = store.stop_at("pages")
    peer.send("KEYS\n")
    await reached(gate)
    service.hub.end_all("store", "it was replaced")
    gate.open.set()
    assert [shown(line) for line in await peer.lines(3)] == ["KEY k", "OK 1", "END 1 store it was replaced"]
    # There is no watch any more, and the position is the store's.
    assert await other.ask("SET k w") == "OK 2"
    assert shown(await peer.ask("UNWATCH")) == "OK 2"


async def test_a_refused_listing_releases_what_waited(
    peer: MemoryPeer, other: MemoryPeer, store: ObservedStore
) -> None:
    await other.ask("SET k v")
    await peer.ask("WATCH")
    store.refusals["pages"] = Unavailable("away")
    peer.send("KEYS\n")
    assert await peer.lines(2) == ["KEY k", "ERR unavailable away"]
    await other.ask("SET k w")
    assert shown(await peer.line()) == "CHANGE 2 SET k w"


@pytest.mark.slow
async def test_listings_and_changes_together_keep_each_reply_whole(peer: MemoryPeer, other: MemoryPeer) -> None:
    other.send("".join(f"SET k{n:03} {'x' * 500}\n" for n in range(300)))
    await other.lines(300)
    await peer.ask("WATCH")
    rounds = 30
    peer.send("LIST\nKEYS\nCOUNT\n" * rounds + "PING end\n")
    other.send("".join(f"SET n {n}\n" for n in range(1000)))
    within, changes, statuses = "", 0, 0
    while (line := await peer.line()) != "OK end":
        word = line.split(" ")[0]
        if word == "CHANGE":
            assert not within
            changes += 1
        elif word == "OK":
            within = ""
            statuses += 1
        else:
            assert within in ("", word)
            within = word
    assert statuses == 3 * rounds
    while changes < 1000:
        assert (await peer.line()).startswith("CHANGE ")
        changes += 1


# ---- one watch a connection


async def test_no_line_of_a_replaced_watch_follows_the_new_ok(
    peer: MemoryPeer, other: MemoryPeer, store: ObservedStore, service: MemoryService
) -> None:
    assert shown(await peer.ask("WATCH a")) == "OK 0"
    gate = store.stop_at("history")
    peer.send("WATCH b\n")
    await reached(gate)
    # Until then the old one goes on.
    await other.ask("SET a 1")
    assert shown(await peer.line()) == "CHANGE 1 SET a 1"
    gate.open.set()
    assert shown(await peer.line()) == "OK 1"
    other.send("SET a 2\nSET b 3\n")
    assert shown(await peer.line()) == "CHANGE 3 SET b 3"
    assert len(service.hub) == 1


async def test_no_line_of_a_replaced_watch_that_was_behind_follows_the_new_ok(
    peer: MemoryPeer, other: MemoryPeer
) -> None:
    await peer.ask("WATCH a")
    peer.transport.stop_reading()
    for _ in range(4):
        await other.ask("SET a " + "x" * 1_000_000)
    peer.send("WATCH b\n")
    await until(lambda: b"OK 4@" in peer.transport.waiting)
    peer.transport.go_on_reading()
    await other.ask("SET b 5")
    lines = [shown((await peer.line())[:60])]
    while not lines[-1].startswith("CHANGE 5 SET b"):
        lines.append(shown((await peer.line())[:60]))
    assert [line for line in lines if line.startswith("CHANGE")][-1] == lines[-1]
    assert lines[-2] == "OK 4"


async def test_a_watch_that_cannot_begin_leaves_the_old_one(
    peer: MemoryPeer, other: MemoryPeer, store: ObservedStore
) -> None:
    await peer.ask("WATCH a")
    store.refusals["history"] = Unavailable("away")
    assert await peer.ask("WATCH b") == "ERR unavailable away"
    other.send("SET b 1\nSET a 2\n")
    assert shown(await peer.line()) == "CHANGE 2 SET a 2"


async def test_a_copy_that_is_given_up_leaves_the_old_watch(
    peer: MemoryPeer, other: MemoryPeer, store: ObservedStore, service: MemoryService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after its first PAIR; lines that came due meanwhile follow its ERR."""
    read, gate = store.page, Gate()

    async def page(pattern: bytes, after: bytes, *, values: bool = True) -> tuple[Page, bytes]:
        if pattern == b"y":
            gate.reached.set()
            await gate.open.wait()
            raise Unavailable("away")
        return await read(pattern, after, values=values)

    monkeypatch.setattr(store, "page", page)
    assert await other.ask("SET x/1 1") == "OK 1"
    await peer.ask("WATCH a")
    peer.send("SYNC x/* y\n")
    await reached(gate)
    assert await other.ask("SET a 2") == "OK 2"
    await until(lambda: service.hub.position.revision == 2)
    gate.open.set()
    assert [shown(line) for line in await peer.lines(3)] == ["PAIR 1 x/1 1", "ERR unavailable away", "CHANGE 2 SET a 2"]
    assert await other.ask("SET a 3") == "OK 3"
    assert shown(await peer.line()) == "CHANGE 3 SET a 3"


async def test_a_watch_does_not_begin_while_the_log_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "JOIN_TIMEOUT", 0.01)
    async with serving(tmp_path / "data", follow=False) as service:
        peer = service.connect()
        for _ in range(2):
            assert (await peer.ask("WATCH")).startswith("ERR unavailable ")
        assert await peer.ask("SET a 1") == "OK 1"
        assert shown(await peer.ask("UNWATCH")) == "OK 1"


async def test_no_line_of_a_watch_stands_before_its_ok(
    peer: MemoryPeer, other: MemoryPeer, store: ObservedStore, service: MemoryService
) -> None:
    gate = store.stop_at("read")
    peer.send("WATCH\nGET a\n")
    await reached(gate)
    assert await other.ask("SET a 1") == "OK 1"
    await until(lambda: service.hub.position.revision == 1)
    gate.open.set()
    assert [shown(line) for line in await peer.lines(3)] == ["OK 0", "CHANGE 1 SET a 1", "OK 1"]


async def test_the_log_is_wanted_by_those_who_watch_and_nobody_else(
    peer: MemoryPeer, other: MemoryPeer, service: MemoryService
) -> None:
    assert service.follower._users == 0
    await peer.ask("WATCH")
    await peer.ask("WATCH a")
    await other.ask("WATCH")
    assert service.follower._users == 2
    await peer.close()
    assert service.follower._users == 1
    other.send("QUIT\n")
    assert await other.rest() == ["OK bye"]
    assert service.follower._users == 0


async def test_unwatch_stops_the_lines_and_says_up_to_where(peer: MemoryPeer, other: MemoryPeer) -> None:
    await peer.ask("WATCH")
    await other.ask("SET a 1")
    assert shown(await peer.line()) == "CHANGE 1 SET a 1"
    assert shown(await peer.ask("UNWATCH")) == "OK 1"
    await other.ask("SET a 2")
    assert shown(await peer.ask("UNWATCH")) == "OK 2"


async def test_a_watch_begins_behind_what_its_connection_wrote_before(peer: MemoryPeer) -> None:
    """Also while the hub has not yet heard of it."""
    peer.send("".join(f"SET a {n}\nWATCH\n" for n in range(1, 30)) + "PING end\n")
    for n in range(1, 30):
        line = shown(await peer.line())
        while line.startswith("CHANGE"):
            line = shown(await peer.line())
        assert line == f"OK {n}"
        # Of the watch before it, a write's change may stand on either side of the write's reply.
        line = shown(await peer.line())
        while line.startswith("CHANGE"):
            assert int(line.split(" ")[1]) <= n
            line = shown(await peer.line())
        assert line == f"OK {n}"
    assert await peer.line() == "OK end"


def test_the_socket_is_read_in_pieces_that_a_batch_can_hold() -> None:
    assert READ_BYTES <= BATCH_BYTES
    assert FLUSH_BYTES <= BATCH_BYTES
