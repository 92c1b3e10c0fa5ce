"""Requests that read and write, in one chunk: the same replies as one by one, for two waits for the store."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvd.errors import KvdError, Unavailable, Uncertain
from kvd.requests import AnyWrite, Simple
from kvd.store.api import ReadDone, WriteDone
from kvd.store.redis.store import Store
from tests.support.access import users_of
from tests.support.memory import MemoryPeer, MemoryService, serving

LARGE = "x" * 5000


class NotingStore(Store):
    """The real store, which notes what it is asked, and refuses what it is told to."""

    calls: list[str]
    refusals: dict[str, KvdError]

    def ask_then(self, keys: Sequence[bytes], done: ReadDone, *, fetch: bool = False) -> None:
        self.calls.append(f"read {len(keys)}")
        if "read" in self.refusals:
            done(self.refusals["read"])
        else:
            super().ask_then(keys, done, fetch=fetch)

    def write_then(self, writes: Sequence[AnyWrite] | Simple, size: int, done: WriteDone) -> None:
        self.calls.append(f"write {len(writes.keys) if isinstance(writes, Simple) else len(writes)}")
        if "write" in self.refusals:
            done(self.refusals["write"])
        else:
            super().write_then(writes, size, done)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[MemoryService]:
    NotingStore.calls, NotingStore.refusals = [], {}
    async with serving(tmp_path / "data", NotingStore) as service:
        yield service


@pytest.fixture
async def peer(service: MemoryService) -> MemoryPeer:
    return service.connect()


async def test_what_reads_and_writes_waits_for_the_store_twice(peer: MemoryPeer) -> None:
    peer.send("SET a 1\nGET b\nPUT c ttl=60 = 2\nGET a\nINCR n\nGETS c\nGET n\nSET d 4\n")
    assert await peer.lines(8) == ["OK 1", "NONE", "OK 2", "OK 1", "OK 1", "OK 2 2", "OK 1", "OK 4"]
    assert NotingStore.calls == ["write 4", "read 4"]


@pytest.mark.parametrize(
    ("chunk", "replies", "calls"),
    [
        ("SET a 1\nGET a\nSET a 2\nGET a\n", ["OK 3", "OK 1", "OK 4", "OK 2"], 2 * ["write 1", "read 1"]),
        ("GET o\nDEL o\nGET w\n", ["OK v", "OK 4", "NONE"], ["read 1", "write 1", "read 1"]),
        ("GET w\nDEL o\nGET w\n", ["OK v", "OK 4", "NONE"], ["read 1", "write 1", "read 1"]),
        ("TTL w\nPUT o ttl=60 = v\n", ["OK -", "OK 3"], ["read 1", "write 1"]),
        ("TTL w\nTOUCH o ttl=60\n", ["OK -", "OK"], ["read 1", "write 1"]),
        ("GET k/0000000000000003\nPUT k/* = v\n", ["NONE", "OK 3"], ["read 1", "write 1"]),
        ("GET w\nPUT x with=o = v\n", ["OK v", "OK 3"], ["read 1", "write 1"]),
        ("DEL o\nTOUCH o ttl=5\nGET w\n", ["OK 4", "NONE", "NONE"], ["write 2", "read 1"]),
    ],
)
async def test_what_comes_after_a_read_is_not_seen_by_it(
    chunk: str, replies: list[str], calls: list[str], peer: MemoryPeer
) -> None:
    assert await peer.ask("SET o v") == "OK 1"
    assert await peer.ask("PUT w with=o = v") == "OK 2"
    NotingStore.calls.clear()
    peer.send(chunk)
    assert await peer.lines(len(replies)) == replies
    # What reads and waits for nothing is not asked for.
    assert [call for call in NotingStore.calls if call in calls] == calls


async def test_each_request_of_a_refused_mixture_is_answered(peer: MemoryPeer) -> None:
    chunk = "SET a 1\nGET b\nSET c 2\nSET d 3\nGET a\nSET e 4\n"
    NotingStore.refusals = {"read": Unavailable("away")}
    peer.send(chunk)
    away = "ERR unavailable away"
    assert await peer.lines(6) == ["OK 1", away, "OK 2", "OK 3", away, "OK 4"]
    NotingStore.refusals = {"write": Uncertain("lost")}
    peer.send(chunk)
    lost = "ERR uncertain lost"
    assert await peer.lines(6) == [lost, "NONE", lost, lost, "OK 1", lost]
    NotingStore.refusals = {}
    assert await peer.ask("GET a") == "OK 1"


async def test_large_values_in_a_mixture_are_answered_in_their_places(peer: MemoryPeer) -> None:
    peer.send(f"SET a {LARGE}\nSET b 1\nGET a\nSET c 2\nSET d 3\nGET b\nGET a\nTTL a\nSET e 4\n")
    assert await peer.lines(9) == [
        "OK 1", "OK 2", f"OK {LARGE}", "OK 3", "OK 4", "OK 1", f"OK {LARGE}", "OK -", "OK 5"
    ]  # fmt: skip


async def test_rights_are_looked_at_again_when_the_writes_of_a_mixture_are_done(tmp_path: Path) -> None:
    class RevokingStore(Store):
        """Between the writes and the reads, the user loses a right."""

        def write_then(self, writes: Sequence[AnyWrite] | Simple, size: int, done: WriteDone) -> None:
            now.change_users(users_of({"default": {"a": "read,write", "b": "write"}}))
            super().write_then(writes, size, done)

    users = users_of({"default": {"*": "read,write"}})
    async with serving(tmp_path / "data", RevokingStore, users=users) as now:
        peer = now.connect()
        peer.send("SET a 1\nSET b 2\nGET b\nSET c 3\nGET a\n")
        assert await peer.lines(5) == [
            "OK 1", "OK 2", "ERR denied default may not read this key", "OK 3", "OK 1"
        ]  # fmt: skip


# ---- the same as one by one

names = st.sampled_from(["a", "b", "c"])
values = st.sampled_from(["v", "5", "two words", "", "y" * 70, LARGE])
requests = st.one_of(
    st.tuples(st.sampled_from(["GET {0}{1}", "GETS {0}{1}", "TTL {0}{1}", "DEL {0}{1}", "INCR {0}{1}"]), names),
    st.tuples(st.sampled_from(["GET {0}{1}", "GETS {0}{1}", "TOUCH {0}{1} ttl=99", "TOUCH {0}{1} ttl=-"]), names),
    st.tuples(
        st.sampled_from([
            "SET {0}{1} {2}", "PUT {0}{1} ttl=99 = {2}", "PUT {0}{1} if=0 = {2}", "PUT {0}{1} base64 = {2}",
            "PUT {0}{1} with={0}a = {2}", "PUT {0}* = {2}",
        ]),
        names, values,
    ),
    st.just(("FROB {0}",)),
)  # fmt: skip


def told(line: str, reply: str, start: int) -> str:
    """A reply, with revisions as what they are after the first; a time to live as that there is one."""
    words = reply.split(" ")
    if line.startswith("TTL") and words[0] == "OK":
        return "OK -" if words[1] == "-" else "OK left"
    at = {"GETS": 1, "SET": 1, "PUT": 1, "DEL": -1, "TOUCH": 1}.get(line.split(" ")[0])
    if at is not None and words[0] in ("OK", "CONFLICT") and len(words) > 1 and words[at].isdigit():
        words[at] = str(int(words[at]) - start) if words[at] != "0" else "0"
    return re.sub(r"[sg]\d+/(\d*)", "K", " ".join(words))


async def in_both_ways(peer: MemoryPeer, number: int, wanted: list[tuple[str, ...]]) -> None:
    seen = []
    for way in "sg":
        lines = [form.format(f"{way}{number}/", *rest) for form, *rest in wanted]
        start = int((await peer.ask("PUT begin = x")).split(" ")[1])
        if way == "s":
            replies = [await peer.ask(line) for line in lines]
        else:
            peer.send("".join(f"{line}\n" for line in lines))
            replies = await peer.lines(len(lines))
        seen.append([told(line, reply, start) for line, reply in zip(lines, replies, strict=True)])
    assert seen[0] == seen[1], [form for form, *_ in wanted]


async def test_a_chunk_comes_to_the_same_as_its_requests_one_by_one(peer: MemoryPeer) -> None:
    numbers = count()
    loop = asyncio.get_running_loop()

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
    @given(st.lists(requests, min_size=2, max_size=16))
    def check(wanted: list[tuple[str, ...]]) -> None:
        asyncio.run_coroutine_threadsafe(in_both_ways(peer, next(numbers), wanted), loop).result(60)

    await asyncio.to_thread(check)
