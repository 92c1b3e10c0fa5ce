"""kvd.client: against a scripted daemon where the wire must be odd, against a real one elsewhere."""

import asyncio
import base64
import math
import re
import socket
from collections.abc import Awaitable
from pathlib import Path

import pytest

from kvd.client import (
    BadAddress,
    Conflict,
    Event,
    Item,
    Unreachable,
    Watch,
    WatchEnded,
    connect,
    is_text,
    parse_address,
)
from kvd.client.dialing import parse_target
from kvd.errors import (
    REFUSALS,
    BadKey,
    BadValue,
    ConnectionLost,
    NotANumber,
    Refusal,
    TooLong,
    Uncertain,
    Usage,
)
from tests.support.processes import Daemon
from tests.support.scripted import Peer, answering, serving, talking

BYTE_VALUES = [
    b"\x00\xff", b"two\nlines", b"cr\r", b"\x1b[2J", b"\x7f", "\x85".encode(), "\u2028".encode(), b"\xc3",
    b"\xed\xa0\x80",
]  # fmt: skip
TEXT_VALUES = [b"", b" ", b"tab\tand  two spaces ", '{"ü": [1, 2]}'.encode(), "\U0001f511\ufeff".encode()]


# Requests and replies


async def test_requests_are_sent_without_waiting_and_answered_in_order() -> None:
    async def script(peer: Peer) -> None:
        await peer.expect("GET a", "GETS b", "COUNT *")
        peer.say("OK one", "OK 7 two", "OK 3")

    async with talking(script) as kv:
        replies = await asyncio.gather(kv.get("a"), kv.gets("b"), kv.count())
        assert list(replies) == [b"one", Item("b", b"two", 7), 3]


async def test_a_cancelled_caller_does_not_shift_the_replies() -> None:
    asked = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.expect("GET a")
        asked.set()
        await peer.expect("GET b")
        peer.say("OK for a", "OK for b")

    async with talking(script) as kv:
        caller = asyncio.create_task(kv.get("a"))
        await asked.wait()
        caller.cancel()
        assert await kv.get("b") == b"for b"
        assert caller.cancelled()


@pytest.mark.slow
async def test_a_caller_cancelled_while_the_socket_is_full_has_sent_nothing() -> None:
    value = "x" * (1 << 25)  # more than the kernel buffers for a peer that does not read
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await go_on.wait()
        await peer.expect(f"SET big {value}", "GET b")
        peer.say("OK 1", "OK for b")

    async with talking(script) as kv:
        big = asyncio.create_task(kv.set("big", value))
        stuck = asyncio.create_task(kv.get("a"))
        await asyncio.sleep(0)  # both have begun
        stuck.cancel()
        go_on.set()
        assert await kv.get("b") == b"for b"
        assert await big == 1
        assert stuck.cancelled()


async def test_everybody_who_waits_learns_of_the_end_and_an_unended_line_is_no_reply() -> None:
    async def script(peer: Peer) -> None:
        await peer.expect("GET a", "GET limit", "SET c 1")
        peer.say("OK one")
        peer.writer.write(b"OK 10")

    async with talking(script) as kv:
        first, *others = await asyncio.gather(kv.get("a"), kv.get("limit"), kv.set("c", "1"), return_exceptions=True)
        assert first == b"one"
        assert [type(error) for error in others] == [ConnectionLost, Uncertain]
        assert ["may have been done, or not" in str(error) for error in others] == [False, True]
        with pytest.raises(ConnectionLost, match="lost kvd at "):
            await kv.ping()


async def test_a_reset_connection_is_lost() -> None:
    async def script(peer: Peer) -> None:
        await peer.expect("GET a")
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # on, 0 s: closing resets
        peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async with talking(script) as kv:
        with pytest.raises(ConnectionLost, match="reset by peer"):
            await kv.get("a")


async def test_closing_tells_who_waits() -> None:
    async def script(peer: Peer) -> None:
        await peer.expect("GET a")
        await peer.expect_end()

    async with talking(script) as kv:
        caller = asyncio.create_task(kv.get("a"))
        await asyncio.sleep(0)  # it has asked
        await kv.close()
        with pytest.raises(ConnectionLost, match="closed by this program"):
            await caller


async def test_lines_of_unknown_words_and_push_lines_are_skipped() -> None:
    push = ("CHANGE 7@c3d1a7f0 SET a OK", "END 9@c3d1a7f0 shutdown bye", "PROGRESS 9@c3d1a7f0", "", "OKAY no")
    async with talking(answering("GET a", *push, "OK yes")) as kv:
        assert await kv.get("a") == b"yes"


async def test_only_lf_ends_a_line() -> None:
    value = "a\x0b\x0c\x1c\r\x85\u2028"
    async with talking(answering("GET a", f"OK {value}")) as kv:
        assert await kv.get("a") == value.encode()


@pytest.mark.slow
async def test_replies_come_in_any_pieces() -> None:
    long = "x" * 300_000

    async def script(peer: Peer) -> None:
        await peer.expect("GET a", "GET b", "GET c")
        for octet in f"OK one\nOK {long}\nNO".encode():
            peer.writer.write(bytes((octet,)))
            if octet != ord("x"):
                await peer.writer.drain()
                await asyncio.sleep(0)
        peer.writer.write(b"NE\n")

    async with talking(script) as kv:
        replies = await asyncio.gather(kv.get("a"), kv.get("b"), kv.get("c"))
        assert list(replies) == [b"one", long.encode(), None]


@pytest.mark.parametrize("code", REFUSALS)
async def test_a_refusal_is_the_error_of_its_code(code: str) -> None:
    async with talking(answering("GET a", f"ERR {code} the text: of it")) as kv:
        with pytest.raises(Refusal, match=r"^the text: of it$") as caught:
            await kv.get("a")
        assert type(caught.value) is REFUSALS[code]
        assert caught.value.word == code


async def test_a_refusal_of_an_unknown_code_keeps_its_word() -> None:
    async with talking(answering("GET a", "ERR novel too many")) as kv:
        with pytest.raises(Refusal, match=r"^too many$") as caught:
            await kv.get("a")
        assert type(caught.value) is Refusal
        assert caught.value.word == "novel"


async def test_items_before_a_refusal_are_void() -> None:
    async def script(peer: Peer) -> None:
        await peer.expect("KEYS * limit=1000")
        peer.say("KEY a", "KEY b", "ERR unavailable later")
        await peer.expect("KEYS * limit=1000")
        peer.say("KEY c", "OK 1")

    async with talking(script) as kv:
        with pytest.raises(REFUSALS["unavailable"]):
            await anext(kv.keys())
        assert [key async for key in kv.keys("*")] == ["c"]


async def test_a_reply_that_nobody_asked_for_ends_the_connection() -> None:
    ended = asyncio.Event()

    async def script(peer: Peer) -> None:
        peer.say("OK stray")
        await peer.expect_end()
        ended.set()

    async with talking(script) as kv:
        await ended.wait()
        with pytest.raises(ConnectionLost, match="nothing had asked for"):
            await kv.get("a")


# What is sent


@pytest.mark.parametrize(
    "key", ["", "a b", "a\nSET b 1", "a\r", "tab\t", "a*", "*", "\x00", "\x85", "\u2028", "\u3000", "\ud800"]
)
async def test_what_is_no_key_is_never_sent(key: str) -> None:
    async with talking(answering("PING", "OK")) as kv:
        calls: list[Awaitable[object]] = [
            kv.get(key), kv.gets(key), kv.set(key, "v"), kv.set(key, b"\xff", ttl=1), kv.delete(key),
            kv.touch(key, 1), kv.ttl(key), kv.incr(key), anext(kv.keys(after=key)), anext(kv.list(after=key)),
        ]  # fmt: skip
        for call in calls:
            with pytest.raises(BadKey, match="invalid key"):
                await call
        await kv.ping()


@pytest.mark.parametrize("pattern", ["", "a b", "a\nSET b 1", "**", "*a", "a*b", "\ud800*"])
async def test_what_is_no_pattern_is_never_sent(pattern: str) -> None:
    async with talking(answering("PING", "OK")) as kv:
        calls: list[Awaitable[object]] = [
            kv.count(pattern), anext(kv.keys(pattern)), anext(kv.list(pattern))
        ]  # fmt: skip
        for call in calls:
            with pytest.raises(BadKey, match="invalid pattern"):
                await call
        with pytest.raises(BadKey, match="invalid pattern"):
            kv.watch("fine", pattern)
        await kv.ping()


@pytest.mark.parametrize("condition", ["7 = x", "", "-1", "7\n", "seven", "7@", "7@a b"])
async def test_what_is_no_revision_is_never_sent(condition: str) -> None:
    async with talking(answering("PING", "OK")) as kv:
        with pytest.raises(Usage, match="invalid "):
            await kv.set("k", "v", if_revision=condition)
        with pytest.raises(Usage, match="invalid "):
            await kv.delete("k", if_revision=condition)
        await kv.ping()


async def test_what_is_no_text_for_a_ping_is_never_sent() -> None:
    async with talking(answering("PING \tfine ", "OK \tfine ")) as kv:
        for text in ("a\nSET b 1", "\x00", "\ud800"):
            with pytest.raises(BadValue):
                await kv.ping(text)
        with pytest.raises(BadValue, match="surrogates"):
            await kv.set("k", "\ud800")
        assert await kv.ping("\tfine ") == "\tfine "


@pytest.mark.parametrize("value", TEXT_VALUES)
async def test_text_is_sent_as_it_is(value: bytes) -> None:
    assert is_text(value)
    async with talking(answering(f"SET k {value.decode()}", "OK 1")) as kv:
        assert await kv.set("k", value.decode()) == 1


@pytest.mark.parametrize("value", BYTE_VALUES)
async def test_bytes_are_sent_in_base64_with_their_length(value: bytes) -> None:
    assert not is_text(value)
    encoded = base64.b64encode(value).decode()
    async with talking(answering(f"PUT k base64={len(value)} = {encoded}", "OK 1")) as kv:
        assert await kv.set("k", value) == 1


async def test_options_are_sent_in_the_words_of_the_protocol() -> None:
    requests = [
        "PUT k if=0 ttl=30.000 =  x ",
        "PUT k if=7@c3d1a7f0 = ",
        "PUT k ttl=0.250 base64=1 = AA==",
        "DEL k if=7",
        "TOUCH k ttl=1.500",
        "TOUCH k ttl=- if=7",
        "INCR k -5",
    ]

    async def script(peer: Peer) -> None:
        await peer.expect(*requests)
        peer.say(*["OK 1"] * len(requests))

    async with talking(script) as kv:
        await asyncio.gather(
            kv.set("k", " x ", ttl=30, if_revision=0),
            kv.set("k", "", if_revision="7@c3d1a7f0"),
            kv.set("k", b"\x00", ttl=0.25),
            kv.delete("k", if_revision=7),
            kv.touch("k", 1.5),
            kv.touch("k", None, if_revision=7),
            kv.incr("k", -5),
        )


async def test_a_listing_goes_on_behind_the_last_key_of_a_page() -> None:
    first = [f"k{number:04}" for number in range(1000)]

    async def script(peer: Peer) -> None:
        await peer.expect("KEYS k* after=j limit=1000")
        peer.say(*(f"KEY {key}" for key in first), "OK 1000")
        await peer.expect("GET k0000")
        peer.say("OK between the pages")
        await peer.expect("KEYS k* after=k0999 limit=200")
        peer.say("KEY l", "OK 1")

    async with talking(script) as kv:
        keys = kv.keys("k*", after="j", limit=1200)
        assert [await anext(keys) for _ in first] == first
        assert await kv.get("k0000") == b"between the pages"
        assert [key async for key in keys] == ["l"]


async def test_a_listing_asks_for_no_more_than_its_limit() -> None:
    async with talking(answering("LIST * limit=2", "PAIR 3 a  x", "PAIR64 4 b AP8=", "OK 9@c3d1a7f0")) as kv:
        assert [item async for item in kv.list(limit=2)] == [Item("a", b" x", 3), Item("b", b"\x00\xff", 4)]


# Addresses and connecting


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("127.0.0.1:1234", "127.0.0.1", 1234),
        ("db.example", "db.example", 5830),
        ("[::1]:5831", "::1", 5831),
        ("[fe80::1%eth0]", "fe80::1%eth0", 5830),
    ],
)
def test_an_address(address: str, host: str, port: int) -> None:
    assert parse_address(address) == (host, port)


@pytest.mark.parametrize(
    "address",
    ["", ":5830", "host:", "host:0", "host:65536", "host:-1", "host:x", "::1", "[::1", "kvd://host", "a b", "a\n"],
)
async def test_what_is_no_address(address: str) -> None:
    with pytest.raises(BadAddress, match="HOST:PORT"):
        await connect(address)


async def test_nobody_listens() -> None:
    with socket.socket() as taken:  # bound, but not listening
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unreachable, match=rf"cannot reach kvd at {address} \(connection refused\)"):
            await connect(address)


@pytest.mark.parametrize("host", ["x" * 64, "[::zz]"])
async def test_a_name_that_is_no_hosts(host: str) -> None:
    with pytest.raises(Unreachable, match=rf"cannot reach kvd at {re.escape(host)}:5830 \([^()]+\)$") as missed:
        await connect(host)
    assert missed.value.address == f"{host}:5830"


@pytest.mark.parametrize(
    ("address", "whole"),
    [
        ("db", "db:5830"),
        ("db:1", "db:1"),
        ("[::1]", "[::1]:5830"),
        ("[fe80::1%eth0]:07", "[fe80::1%eth0]:7"),
        ("tls:db", "tls:db:5830"),
        ("tls:[::1]", "tls:[::1]:5830"),
        ("unix:/a:1", "unix:/a:1"),
    ],
)
def test_the_whole_of_an_address(address: str, whole: str) -> None:
    assert parse_target(address).address == whole
    assert parse_target(whole) == parse_target(address)


async def test_several_addresses_that_nobody_answers_are_all_told(tmp_path: Path) -> None:
    """And all were refused only where none says anything else."""
    strange, absent = "x" * 64, f"unix:{tmp_path}/none"
    with pytest.raises(Unreachable) as missed:
        await connect([strange, absent])
    text = rf"cannot reach kvd at {strange}:5830 \([^()]+\), nor at {absent} \(no such file or directory\)"
    assert re.fullmatch(text, str(missed.value))
    assert (missed.value.refused, missed.value.address) == (False, absent)
    with pytest.raises(Unreachable, match="cannot reach") as refused:
        await connect([absent, absent])
    assert refused.value.refused


async def test_what_accepts_and_says_nothing_is_not_waited_for() -> None:
    async def script(peer: Peer) -> None:
        await peer.expect_end()

    async with serving(script, greeting="+PONG\r") as address:
        with pytest.raises(Unreachable, match=r"no answer within 0\.2 s"):
            await connect(address, connect_timeout=0.2)


async def test_what_hangs_up_is_no_daemon() -> None:
    async def script(_: Peer) -> None:
        return

    async with serving(script, greeting="SSH-2.0-Open") as address:
        with pytest.raises(Unreachable, match="hangs up"):
            await connect(address)


async def test_a_daemon_that_refuses_the_greeting() -> None:
    async def script(peer: Peer) -> None:
        await peer.expect_end()

    async with serving(script, greeting="ERR auth who are you") as address:
        with pytest.raises(Refusal, match="who are you"):
            await connect(address)


# Watching


async def test_each_kind_of_change_and_the_end() -> None:
    async def script(peer: Peer) -> None:
        await peer.expect("WATCH lock/* hits")
        peer.say(
            "OK 3@c3d1a7f0",
            "CHANGE 4@c3d1a7f0 SET hits ",
            "PROGRESS 5@c3d1a7f0",
            "CHANGE 7@c3d1a7f0 SET64 lock/seal AAEC",
            "CHANGE 8@c3d1a7f0 DEL lock/seal",
            "CHANGE 9@c3d1a7f0 EXPIRE hits",
            "END 9@c3d1a7f0 store it was replaced",
        )
        await peer.expect("PROGRESS 10.000")
        await peer.expect_end()

    async with serving(script) as address, Watch(address, "lock/*", "hits") as changes:
        assert changes.position == "3@c3d1a7f0"
        assert [await anext(changes) for _ in range(4)] == [
            Event("4@c3d1a7f0", 4, "SET", "hits", b""),
            Event("7@c3d1a7f0", 7, "SET", "lock/seal", b"\x00\x01\x02"),
            Event("8@c3d1a7f0", 8, "DEL", "lock/seal", None),
            Event("9@c3d1a7f0", 9, "EXPIRE", "hits", None),
        ]
        with pytest.raises(WatchEnded, match="it was replaced") as caught:
            await anext(changes)
        ended = caught.value
        assert (ended.position, ended.code, ended.text) == ("9@c3d1a7f0", "store", "it was replaced")
        with pytest.raises(ConnectionLost):  # and no waiting for what never comes
            await anext(changes)


async def test_a_watch_whose_connection_ends_is_lost_and_an_unended_change_is_none() -> None:
    async def script(peer: Peer) -> None:
        await peer.expect("WATCH")
        peer.say("OK 3@c3d1a7f0")
        peer.writer.write(b"CHANGE 4@c3d1a7f0 SET limit 10")

    async with serving(script) as address, Watch(address) as changes:
        with pytest.raises(ConnectionLost, match="closed"):
            await anext(changes)


async def test_a_refused_watch_closes_its_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.expect("WATCH")
        peer.say("ERR unavailable later")
        await peer.expect_end()

    async with serving(script) as address:
        with pytest.raises(REFUSALS["unavailable"], match="later"):
            async with Watch(address):
                pass


async def test_a_cancelled_wait_for_a_change_loses_none() -> None:
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.expect("WATCH")
        peer.say("OK 3@c3d1a7f0")
        peer.writer.write(b"CHANGE 4@c3d1a7f0 S")
        await go_on.wait()
        peer.say("ET a 1")
        await peer.expect("PROGRESS 10.000")
        await peer.expect_end()

    async with serving(script) as address, Watch(address) as changes:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(changes)
        go_on.set()
        assert (await anext(changes)).value == b"1"
        await changes.__aexit__()


async def test_a_watch_reads_no_faster_than_its_changes_are_taken() -> None:
    """The peer, in the same thread, can send what the buffers hold, however often the loop runs."""
    change = b"CHANGE 4@c3d1a7f0 SET a " + b"x" * 65_000 + b"\n"
    endless = 1 << 27  # bytes, far more than any socket buffers

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        loop = asyncio.get_running_loop()
        watch = Watch(f"127.0.0.1:{server.getsockname()[1]}")
        entering = asyncio.create_task(watch.__aenter__())
        peer, _ = await loop.sock_accept(server)
        with peer:
            peer.setblocking(False)
            await loop.sock_sendall(peer, b"OK\nOK 3@c3d1a7f0\n" + change)
            await entering
            await anext(watch)
            sent = refused = 0
            while sent < endless and refused < 100:
                try:
                    sent += peer.send(change)
                    refused = 0
                except BlockingIOError:
                    refused += 1
                    await asyncio.sleep(0)
            assert 0 < sent < endless
            await watch.__aexit__()


# With a real daemon


@pytest.mark.slow
@pytest.mark.parametrize("value", [*TEXT_VALUES, *BYTE_VALUES])
async def test_every_value_comes_back(shared_daemon: Daemon, value: bytes) -> None:
    async with await connect(shared_daemon.addr) as kv, kv.watch("k") as changes:
        revision = await kv.set("k", value)
        assert await kv.get("k") == value
        assert await kv.gets("k") == Item("k", value, revision)
        assert [item async for item in kv.list()] == [Item("k", value, revision)]
        event = await anext(changes)
        assert (event.revision, event.verb, event.key, event.value) == (revision, "SET", "k", value)


@pytest.mark.slow
async def test_what_is_not_there(daemon: Daemon) -> None:
    async with await connect(daemon.addr) as kv:
        assert await kv.get("nope") is None
        assert await kv.gets("nope") is None
        assert await kv.delete("nope") is None
        assert await kv.ttl("nope") is None
        assert await kv.touch("nope", 1) is False
        assert await kv.count("nope") == 0
        assert [key async for key in kv.keys("*")] == []


@pytest.mark.slow
async def test_conditions(daemon: Daemon) -> None:
    async with await connect(daemon.addr) as kv, kv.watch() as changes:
        first = await kv.set("lock", "me", if_revision=0)
        with pytest.raises(Conflict, match=f"revision is {first}") as caught:
            await kv.set("lock", "you", if_revision=0)
        assert caught.value.revision == first
        position = (await anext(changes)).position
        second = await kv.set("lock", "still me", if_revision=position)
        assert second == first + 1
        with pytest.raises(Conflict):
            await kv.touch("lock", 60, if_revision=first)
        assert await kv.touch("lock", 60, if_revision=second)
        with pytest.raises(Conflict):
            await kv.delete("lock", if_revision=first)
        assert await kv.delete("lock", if_revision=second) == second + 1
        with pytest.raises(Conflict, match="no such key") as caught:
            await kv.delete("lock", if_revision=second)
        assert caught.value.revision == 0


@pytest.mark.slow
async def test_times_to_live(daemon: Daemon) -> None:
    async with await connect(daemon.addr) as kv:
        await kv.set("k", "v")
        assert await kv.ttl("k") == math.inf
        assert await kv.touch("k", 100)
        left = await kv.ttl("k")
        assert left is not None
        assert 0 < left <= 100
        assert await kv.touch("k", None)
        assert await kv.ttl("k") == math.inf
        with pytest.raises(Usage):
            await kv.touch("k", math.nan)


@pytest.mark.slow
async def test_a_key_expires(daemon: Daemon) -> None:
    async with await connect(daemon.addr) as kv, kv.watch() as changes:
        await kv.set("k", "v", ttl=0.01)
        verbs = [(await anext(changes)).verb for _ in range(2)]
        assert verbs == ["SET", "EXPIRE"]
        assert await kv.get("k") is None


@pytest.mark.slow
async def test_adding(daemon: Daemon) -> None:
    async with await connect(daemon.addr) as kv:
        sums = await asyncio.gather(*(kv.incr("hits") for _ in range(1000)))
        assert sorted(sums) == list(range(1, 1001))
        assert await kv.incr("hits", -1001) == -1
        await kv.set("hits", "many")
        with pytest.raises(NotANumber):
            await kv.incr("hits")


@pytest.mark.slow
async def test_listings_of_several_pages(daemon: Daemon) -> None:
    names = [f"k{number:04}" for number in range(2500)]
    async with await connect(daemon.addr) as kv:
        revisions = await asyncio.gather(*(kv.set(name, name.upper()) for name in names))
        await kv.set("other", "x")
        assert [key async for key in kv.keys("k*")] == names
        assert [key async for key in kv.keys(after="k2498")] == ["k2499", "other"]
        assert [key async for key in kv.keys(after="k0009", limit=1001)] == names[10:1011]
        items = [Item(name, name.upper().encode(), revision) for name, revision in zip(names, revisions, strict=True)]
        assert [item async for item in kv.list("k*")] == items
        assert [item async for item in kv.list(limit=200)] == items[:200]
        assert await kv.count("k*") == 2500
        assert await kv.count() == 2501


@pytest.mark.slow
async def test_the_daemons_own_limits_are_refusals(daemon: Daemon) -> None:
    async with await connect(daemon.addr) as kv:
        limits = await kv.info()
        with pytest.raises(BadKey):
            await kv.get("k" * (int(limits["max-key"]) + 1))
        with pytest.raises(TooLong):
            await kv.set("k", b"\x00" * (int(limits["max-value"]) + 1))
        largest = b"\x00" * int(limits["max-value"])
        await kv.set("k", largest)
        assert await kv.get("k") == largest


@pytest.mark.slow
async def test_info_and_ping(daemon: Daemon) -> None:
    async with await connect(daemon.addr) as kv:
        facts = await kv.info()
        assert facts["protocol"] == "1"
        assert {"version", "features", "store", "revision", "oldest", "max-line"} <= facts.keys()
        assert await kv.ping() == ""
        assert await kv.ping("") == ""
        assert await kv.ping(" hello ") == " hello "


@pytest.mark.slow
async def test_a_watch_sees_its_patterns_only_and_from_its_position_on(daemon: Daemon) -> None:
    async with await connect(daemon.addr) as kv:
        before = await kv.set("a/0", "before")
        async with kv.watch("a/*", "b") as changes:
            assert changes.position.startswith(f"{before}@")
            await kv.set("c", "other")
            await kv.set("a/1", "x")
            await kv.delete("a/0")
            await kv.set("b", b"\x00")
            seen = []
            async for event in changes:
                seen.append(event)
                if event.key == "b":
                    break
        assert [(event.verb, event.key, event.value) for event in seen] == [
            ("SET", "a/1", b"x"), ("DEL", "a/0", None), ("SET", "b", b"\x00"),
        ]  # fmt: skip
        assert [event.revision for event in seen] == [before + 2, before + 3, before + 4]


@pytest.mark.slow
async def test_many_tasks_share_a_connection_some_of_them_cancelled(daemon: Daemon) -> None:
    async with await connect(daemon.addr) as kv:

        async def one(number: int) -> None:
            await kv.set(f"k{number}", str(number))
            assert await kv.get(f"k{number}") == str(number).encode()

        tasks = [asyncio.create_task(one(number)) for number in range(300)]
        await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results[::3]] == [asyncio.CancelledError] * 100
        assert [result for number, result in enumerate(results) if number % 3] == [None] * 200


@pytest.mark.slow
async def test_a_daemon_that_stops_ends_the_watches_and_the_connections(daemon: Daemon) -> None:
    async with await connect(daemon.addr, reconnect=0) as kv, kv.watch("k*") as changes:
        revision = await kv.set("k", "v")
        await anext(changes)
        await asyncio.to_thread(daemon.stop)
        with pytest.raises(WatchEnded) as ended:
            await anext(changes)
        assert ended.value.code == "shutdown"
        assert ended.value.position.startswith(f"{revision}@")
        with pytest.raises(ConnectionLost):
            await kv.get("k")


@pytest.mark.slow
async def test_a_daemon_that_dies_is_lost_and_can_be_reached_again(daemon: Daemon) -> None:
    async with await connect(daemon.addr, reconnect=0) as kv, kv.watch() as changes:
        daemon.kill()
        daemon.wait()
        with pytest.raises(ConnectionLost):
            await anext(changes)
        with pytest.raises(ConnectionLost):
            await kv.get("k")
    with pytest.raises(Unreachable):
        await connect(daemon.addr)
    daemon.start()
    async with await connect(daemon.addr) as kv:
        assert await kv.get("k") is None
