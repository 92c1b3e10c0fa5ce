"""Reported: malformed replies of a hostile or broken server were a traceback, and its texts were printed as they came.

Now they are one error of one kind, in one line, escaped and short; the connection is closed, and memory stays bounded.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from kvd.client import Client, ProtocolError, Unreachable, Watch, WatchEnded, connect
from kvd.client import connection as connection_module
from kvd.errors import ConnectionLost, KvdError, Refusal, Uncertain, Usage
from tests.support.scripted import Peer, serving

Call = Callable[[Client], Awaitable[object]]

once = partial(connect, reconnect=0)

HUGE = b"9" * 5000
"""Digits, more than int() takes."""
NO_REVISIONS = [
    b"OK", b"OK ", b"OK x", b"OK -1", b"OK 1.5", b"OK 7 8", b"OK \xff", b"OK 9007199254740992", b"OK " + HUGE,
    b"OK64 AA==", b"CONFLICT", b"CONFLICT x", b"CONFLICT \xff", b"CONFLICT " + HUGE, b"ERR", b"ERR ", b"ERR  text",
    b"ERR usage \xff", b"ERR \x1b[2J text", b"ERR \xff text", b"KEY a\nOK 1",
]  # fmt: skip
NO_VALUES = [
    b"OK", b"OK64", b"OK64 A", b"OK64 AA=", b"OK64 AA== ", b"OK64 \xff\xff==", b"OK64 A\nOK", b"CONFLICT 7",
]  # fmt: skip
NO_PAGES = [
    b"KEY a\nOK", b"KEY a\nOK x", b"KEY a\nOK 2", b"KEY\nOK 1", b"KEY \xff\nOK 1", b"KEY a b\nOK 1",
    b"KEY \x1b[2J\nOK 1", b"KEY b\nKEY a\nOK 2", b"KEY a\nKEY a\nOK 2", b"PAIR 1 a b\nOK 1", b"NONE",
    b"KEY " + b"k" * 513 + b"\nOK 1",
]  # fmt: skip
NO_LISTS = [
    b"PAIR\nOK 1@a", b"PAIR 1\nOK 1@a", b"PAIR 1 a\nOK 1@a", b"PAIR x a b\nOK 1@a", b"PAIR 1 \xff b\nOK 1@a",
    b"PAIR64 1 a ?\nOK 1@a", b"PAIR64 1 a\nOK 1@a", b"PAIR 1 a b\nOK", b"PAIR 1 a b\nOK 1", b"KEY a\nOK 1@a",
    b"PAIR 1 b x\nPAIR 1 a x\nOK 1@a", b"GONE 1 a\nOK 1@a",
]  # fmt: skip
MALFORMED: list[tuple[Call, list[bytes]]] = [
    (lambda kv: kv.set("k", "v"), NO_REVISIONS),
    (lambda kv: kv.delete("k"), [b"OK x", b"OK64 AA==", b"CONFLICT x"]),
    (lambda kv: kv.get("k"), NO_VALUES),
    (lambda kv: kv.gets("k"), [*NO_VALUES, b"OK 7", b"OK x y", b"OK  y", b"OK64 7 ?", b"OK64 x AA=="]),
    (lambda kv: kv.touch("k", 1), [b"OK64 AA==", b"CONFLICT 1"]),
    (lambda kv: kv.ttl("k"), [b"OK", b"OK x", b"OK nan", b"OK 1e3", b"OK -1", b"OK 1.2345", b"OK " + HUGE]),
    (lambda kv: kv.incr("k"), [b"OK", b"OK x", b"OK 1.0", b"OK 9223372036854775808", b"OK " + HUGE, b"NONE"]),
    (lambda kv: kv.count(), [b"OK", b"OK x", b"OK -1", b"OK " + HUGE, b"NONE"]),
    (lambda kv: anext(kv.keys()), NO_PAGES),
    (lambda kv: anext(kv.list()), NO_LISTS),
    (lambda kv: kv.info(), [b"INFO\nOK", b"INFO \xff 1\nOK", b"INFO a \xff\nOK", b"KEY a\nOK", b"NONE"]),
    (lambda kv: kv.info(), [b"INFO \x1b[2J 1\nOK"]),
    (lambda kv: kv.ping(), [b"OK \xff", b"OK64 AA==", b"NONE", b"KEY a\nOK"]),
]  # fmt: skip


def saying(data: bytes) -> Callable[[Peer], Awaitable[None]]:
    """Answers one request with these bytes."""

    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\n")
        peer.writer.write(data)
        await peer.rest()

    return script


def check_text(error: BaseException) -> None:
    text = str(error)
    assert text.isprintable()
    assert len(text) < 350


@pytest.mark.slow
@pytest.mark.parametrize(("call", "reply"), [(call, reply) for call, replies in MALFORMED for reply in replies])
async def test_a_malformed_reply_is_one_error_and_the_end_of_the_connection(call: Call, reply: bytes) -> None:
    async with serving(saying(reply + b"\n")) as address, await once(address) as kv:
        with pytest.raises((ProtocolError, Uncertain)) as caught:
            await call(kv)
        check_text(caught.value)
        assert isinstance(caught.value, ProtocolError) or isinstance(caught.value.__cause__, ProtocolError)
        with pytest.raises(ConnectionLost):
            await kv.ping()


async def test_all_that_wait_learn_of_a_malformed_reply() -> None:
    async with serving(saying(b"OK one\nOK 7x\nOK 8\n")) as address, await once(address) as kv:
        calls: list[Any] = [kv.get("a"), kv.set("b", "1"), kv.set("c", "1")]
        first, *others = await asyncio.gather(*calls, return_exceptions=True)
        assert first == b"one"
        assert [type(error) for error in others] == [Uncertain] * 2
        assert [type(error.__cause__) for error in others] == [ProtocolError] * 2
        assert "7x" in str(others[0])
        assert "may have been done, or not" in str(others[0])


@pytest.mark.parametrize(
    "line",
    [
        b"CHANGE", b"CHANGE 4@a", b"CHANGE 4@a SET", b"CHANGE 4@a SET k", b"CHANGE x@a SET k v", b"CHANGE 4 SET k v",
        b"CHANGE 4@ SET k v", b"CHANGE 4@\xff SET k v", b"CHANGE 4@\x1b[2J SET k v", b"CHANGE 4@a SET \xff v",
        b"CHANGE 4@a SET \x1b[2J v", b"CHANGE 4@a SET64 k ?", b"CHANGE 4@a SET64 k", b"CHANGE 4@a FROB k",
        b"CHANGE 4@a \xff k", b"CHANGE 4@a DEL k v", b"CHANGE " + HUGE + b"@a DEL k", b"END", b"END 4@a",
        b"END 4@a store", b"END x store text", b"END 4@a \x1b[2J text", b"END 4@a store \xff", b"OK 1\nOK 2",
        b"NONE", b"ERR",
    ],
)  # fmt: skip
async def test_a_malformed_line_ends_a_watch(line: bytes) -> None:
    async with serving(saying(b"OK 3@c3d1a7f0\n" + line + b"\n")) as address, Watch(address) as changes:
        with pytest.raises(ProtocolError) as caught:
            await anext(changes)
        check_text(caught.value)
        with pytest.raises(ConnectionLost):
            await anext(changes)


@pytest.mark.parametrize("reply", [b"OK", b"OK x", b"OK 3", b"OK 3@\x1b[2J", b"OK x@a", b"NONE", b"CONFLICT 3", b"ERR"])
async def test_a_malformed_answer_to_watch(reply: bytes) -> None:
    async with serving(saying(reply + b"\n")) as address:
        with pytest.raises(ProtocolError) as caught:
            async with Watch(address):
                pass
        check_text(caught.value)


async def test_texts_for_people_are_escaped_and_cut() -> None:
    hostile = "\x1b[2J\r\u202e\x85\u2028" + "x" * 100_000
    async with serving(saying(f"ERR usage {hostile}\n".encode())) as address, await once(address) as kv:
        with pytest.raises(Usage, match=r"^\\x1b\[2J\\r\\u202e\\x85\\u2028xxx") as refused:
            await kv.get("k")
        assert str(refused.value).isprintable()
        assert len(str(refused.value)) < 1100
    watching = saying(f"OK 3@c3d1a7f0\nEND 4@c3d1a7f0 store {hostile}\n".encode())
    async with serving(watching) as address, Watch(address) as changes:
        with pytest.raises(WatchEnded) as ended:
            await anext(changes)
        assert str(ended.value).isprintable()
        assert len(str(ended.value)) < 1100
    async with (
        serving(saying(f"INFO store {hostile}\nOK\n".encode())) as address,
        await once(address) as kv,
    ):
        assert (await kv.info())["store"].isprintable()
    async with serving(saying(b"ERR new-code grown\n")) as address, await once(address) as kv:
        with pytest.raises(Refusal, match="grown"):
            await kv.get("k")


async def flood(peer: Peer, data: bytes) -> None:
    """Answers one request with the same bytes again and again, as fast as they are read, until the end."""
    await peer.reader.readuntil(b"\n")
    try:
        while True:
            peer.writer.write(data)
            await peer.writer.drain()
    except ConnectionError:
        pass


@pytest.mark.parametrize(
    "call",
    [
        lambda kv: kv.get("k"), lambda kv: kv.info(), lambda kv: anext(kv.keys()), lambda kv: anext(kv.keys(limit=3)),
        lambda kv: anext(kv.list()), lambda kv: kv.set("k", "v"),
    ],
)  # fmt: skip
async def test_more_items_than_were_asked_for(call: Call) -> None:
    async with (
        serving(lambda peer: flood(peer, b"KEY k\n" * 1000)) as address,
        await once(address) as kv,
    ):
        with pytest.raises((ProtocolError, Uncertain), match="more items than were asked for"):
            await call(kv)


async def test_items_that_nothing_had_asked_for() -> None:
    ended = asyncio.Event()

    async def script(peer: Peer) -> None:
        peer.say("KEY a")
        await peer.expect_end()
        ended.set()

    async with serving(script) as address, await once(address) as kv:
        await ended.wait()
        with pytest.raises(ProtocolError, match="nothing had asked for"):
            await kv.ping()


async def test_a_line_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real limit is some 340 MiB: base64 of the largest value that any daemon can be set to take."""
    monkeypatch.setattr(connection_module, "LONGEST_LINE", 1 << 20)
    async with serving(lambda peer: flood(peer, b"x" * 100_000)) as address, await once(address) as kv:
        with pytest.raises(ProtocolError, match="a line of more than 1048576 bytes"):
            await kv.get("k")
    async with serving(lambda peer: flood(peer, b"x" * 100_000)) as address:
        with pytest.raises(ProtocolError, match="a line of more than 1048576 bytes"):
            async with Watch(address):
                pass


@pytest.mark.parametrize(
    "greeting", ["x" * 100_000, "OK64 AA==", "NONE", "CONFLICT x", "CONFLICT 7", "ERR", "OK \udcff"]
)
async def test_a_server_that_does_not_greet_as_kvd_does(greeting: str) -> None:
    data = greeting.encode(errors="surrogateescape") + (b"" if len(greeting) > 100 else b"\n")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        with pytest.raises(Unreachable, match="does not answer as kvd does") as caught:
            await connect(f"{host}:{port}")
        assert not caught.value.refused


async def test_every_error_of_a_server_is_one_of_kvds() -> None:
    assert issubclass(ProtocolError, ConnectionLost)
    assert issubclass(ConnectionLost, KvdError)
