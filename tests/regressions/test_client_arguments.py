"""Reported: `await kv.incr("n", "1\\nDEL victim")` ran the second line; `set("k", 5)` and `ttl="5"` failed deep inside.

An argument of any call is checked before anything is sent, and a wrong type is named.
"""

import asyncio
import enum
import math
from collections.abc import Awaitable, Callable
from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest

from kvd.client import Client, Watch, WatchOptions, connect
from kvd.errors import BadKey, BadValue, KvdError, Overflow, TooLong, Usage
from kvd.model import LARGEST_VALUE
from tests.support.processes import Daemon
from tests.support.scripted import answering, talking

Call = Callable[[Any], Awaitable[object]]

INJECTION = "1\nDEL victim"

connect_to: Any = connect  # without its types, which would tell all this beforehand
options_of: Any = WatchOptions
watch_at: Any = Watch

WRONG_TYPES: dict[str, list[Call]] = {
    "key": [
        lambda kv: kv.get(5), lambda kv: kv.gets(None), lambda kv: kv.set(b"k", "v"), lambda kv: kv.delete(["k"]),
        lambda kv: kv.touch(b"k", 1), lambda kv: kv.ttl(1.5), lambda kv: kv.incr(True),
    ],
    "value": [lambda kv: kv.set("k", 5), lambda kv: kv.set("k", None), lambda kv: kv.set("k", ["v"])],
    "ttl": [
        lambda kv: kv.set("k", "v", ttl="5"), lambda kv: kv.set("k", "v", ttl=INJECTION),
        lambda kv: kv.touch("k", "5"), lambda kv: kv.touch("k", True), lambda kv: kv.touch("k", Fraction(1, 2)),
    ],
    "if_revision": [
        lambda kv: kv.set("k", "v", if_revision=1.0), lambda kv: kv.set("k", "v", if_revision=True),
        lambda kv: kv.delete("k", if_revision=b"7"), lambda kv: kv.delete("k", if_revision=False),
    ],
    "n": [
        lambda kv: kv.incr("n", INJECTION), lambda kv: kv.incr("n", "1"), lambda kv: kv.incr("n", 1.0),
        lambda kv: kv.incr("n", True), lambda kv: kv.incr("n", None), lambda kv: kv.incr("n", b"1"),
    ],
    "pattern": [
        lambda kv: kv.count(5), lambda kv: kv.count(None), lambda kv: anext(kv.keys(b"*")),
        lambda kv: anext(kv.list(None)),
    ],
    "patterns": [lambda kv: _entered(kv.watch("a", b"b")), lambda kv: _entered(kv.watch(["a", "b"]))],
    "after": [
        lambda kv: anext(kv.keys(after=5)), lambda kv: anext(kv.list(after=b"k")),
        lambda kv: anext(kv.clients(after=5)),
    ],
    "limit": [
        lambda kv: anext(kv.keys(limit="5")), lambda kv: anext(kv.list(limit=5.0)),
        lambda kv: anext(kv.keys(limit=True)), lambda kv: anext(kv.list(limit=INJECTION)),
    ],
    "text": [lambda kv: kv.ping(5), lambda kv: kv.ping(b"text")],
    "position": [lambda kv: _entered(kv.resume(None)), lambda kv: _entered(kv.resume(7, "k"))],
    "lease": [lambda kv: _made(kv.lock("l", lease="lease/1")), lambda kv: _made(kv.election("l", "v", lease=30))],
    "lost": [
        lambda kv: _made(kv.lock("l", lost="told")), lambda kv: _made(kv.election("l", "v", lost=5)),
        lambda kv: _made(kv.lease(lost=True)),
    ],
    "retrying": [lambda kv: _made(kv.follow("k", retrying=5))],
    "place": [lambda kv: _made(kv.follow("k", place="position.txt"))],
    "only": [lambda kv: _made(kv.watch("k", options=options_of(only=5)))],
    "values": [lambda kv: _made(kv.watch("k", options=options_of(values="no")))],
    "lifetimes": [lambda kv: _made(kv.follow("k", options=options_of(lifetimes=1)))],
    "ca": [lambda _: connect_to(ca=5)],
    "cert": [lambda _: connect_to(cert=b"c", key="k")],
    "address": [lambda _: connect_to(5830), lambda _: _entered(watch_at(("127.0.0.1", 5830)))],
    "timeout": [
        lambda _: connect_to(timeout="5"), lambda _: connect_to(timeout=True),
        lambda _: _entered(watch_at("h", timeout="5")),
    ],
    "connect_timeout": [
        lambda _: connect_to(connect_timeout="5"), lambda _: connect_to(connect_timeout=None),
        lambda _: _entered(watch_at("h", connect_timeout="5")),
    ],
}  # fmt: skip

WRONG_VALUES: list[tuple[type[Exception], str, Call]] = [
    (BadKey, "512 bytes", lambda kv: kv.get("k" * 513)),
    (BadKey, "512 bytes", lambda kv: kv.set("\u20ac" * 171, "v")),
    (BadKey, "invalid key", lambda kv: kv.delete(INJECTION)),
    (BadKey, "invalid key", lambda kv: anext(kv.list(after=INJECTION))),
    (BadKey, "invalid pattern", lambda kv: kv.count(INJECTION)),
    (BadKey, "invalid pattern", lambda kv: _entered(kv.watch(INJECTION))),
    (BadKey, "invalid pattern", lambda kv: anext(kv.keys("k" * 513 + "*"))),
    (Usage, "1024 patterns", lambda kv: _entered(kv.watch(*["k"] * 1025))),
    (BadValue, "surrogates", lambda kv: kv.set("k", "\udcff")),
    (BadValue, "control characters", lambda kv: kv.ping(INJECTION)),
    (TooLong, "at most", lambda kv: kv.set("k", bytes(LARGEST_VALUE + 1))),
    (Overflow, "n is beyond", lambda kv: kv.incr("n", 2**63)),
    (Overflow, "n is beyond", lambda kv: kv.incr("n", -(10**5000))),
    (Usage, "invalid if_revision: expected", lambda kv: kv.delete("k", if_revision=-1)),
    (Usage, "invalid if_revision: expected", lambda kv: kv.delete("k", if_revision=2**53)),
    (Usage, "invalid if_revision: expected", lambda kv: kv.set("k", "v", if_revision=10**5000)),
    (Usage, "invalid revision", lambda kv: kv.set("k", "v", if_revision=f"{2**53}@c3d1a7f0")),
    (Usage, "invalid revision", lambda kv: kv.set("k", "v", if_revision="7@c3d1a7f0\nDEL victim")),
    (Usage, "invalid revision", lambda kv: kv.set("k", "v", if_revision="07")),
    (Usage, "invalid limit: expected", lambda kv: anext(kv.keys(limit=0))),
    (Usage, "invalid limit: expected", lambda kv: anext(kv.list(limit=-1))),
    (Usage, "invalid limit: expected", lambda kv: anext(kv.list(limit=2**53))),
    (ValueError, "invalid timeout .*: expected more than 0", lambda _: connect_to(timeout=0)),
    (ValueError, "invalid timeout .*: expected more than 0", lambda _: connect_to(timeout=-1)),
    (ValueError, "invalid timeout .*: expected more than 0", lambda _: connect_to(timeout=math.nan)),
    (ValueError, "invalid timeout .*: expected more than 0", lambda _: _entered(watch_at("h", timeout=math.inf))),
    (ValueError, "invalid connect_timeout .*: expected more", lambda _: connect_to(connect_timeout=timedelta(0))),
]

NO_TIMES = [
    0, -1, -0.001, 0.0001, 1e9 + 1, 10**400, math.nan, math.inf, -math.inf, timedelta(0), timedelta(seconds=-1),
    timedelta.max,
]  # fmt: skip


class Name(str, enum.Enum):  # noqa: UP042  # StrEnum is for whoever knows of this
    """Its text is `Name.LEADER`, and its value is not."""

    LEADER = "leader"


class Number(int):
    """An int whose text is another request."""

    def __format__(self, spec: str) -> str:
        return INJECTION

    __str__ = __repr__ = lambda _: INJECTION


async def _entered(watch: Watch) -> None:
    async with watch:
        pass


async def _made(_: object) -> None:
    """What is made is checked before it is used."""


async def _refused(kind: type[Exception], text: str, call: Call) -> None:
    """The call is refused, and the next thing the daemon reads is another request."""
    async with talking(answering("PING", "OK")) as kv:
        with pytest.raises(kind, match=text) as caught:
            await call(kv)
        assert len(str(caught.value)) < 300
        await kv.ping()


@pytest.mark.parametrize(("name", "call"), [(name, call) for name, calls in WRONG_TYPES.items() for call in calls])
async def test_a_wrong_type_is_named_and_nothing_is_sent(name: str, call: Call) -> None:
    await _refused(TypeError, rf"^{name} must be .*, not [A-Za-z]+$", call)


@pytest.mark.parametrize(("kind", "text", "call"), WRONG_VALUES)
async def test_a_wrong_value_is_refused_and_nothing_is_sent(kind: type[Exception], text: str, call: Call) -> None:
    await _refused(kind, text, call)


@pytest.mark.parametrize("ttl", NO_TIMES)
async def test_what_is_no_time_to_live_is_refused_and_nothing_is_sent(ttl: Any) -> None:
    await _refused(
        Usage, r"invalid ttl .*: expected 0\.001 to 1000000000 seconds", lambda kv: kv.set("k", "v", ttl=ttl)
    )
    await _refused(Usage, r"invalid ttl .*: expected 0\.001 to 1000000000 seconds", lambda kv: kv.touch("k", ttl))


async def test_what_is_checked_is_what_is_sent() -> None:
    async with talking(answering("PUT leader if=7 = leader", "OK 8")) as kv:
        assert await kv.set(Name.LEADER, Name.LEADER, if_revision=Number(7)) == 8
    async with talking(answering("INCR leader 7", "OK 7")) as kv:
        assert await kv.incr(Name.LEADER, Number(7)) == 7
    async with talking(answering("KEYS leader after=leader limit=7", "OK 0")) as kv:
        assert [key async for key in kv.keys(Name.LEADER, Name.LEADER, Number(7))] == []


async def test_bytes_that_change_while_the_socket_is_full_are_sent_as_they_were() -> None:
    """A bytearray is text when it is checked, and might be two requests when there is room."""
    big, data = "x" * (1 << 25), bytearray(b"1 SET victim 1")
    go_on = asyncio.Event()

    async def script(peer: Any) -> None:
        await go_on.wait()
        await peer.expect(f"SET big {big}", "SET k 1 SET victim 1")
        peer.say("OK 1", "OK 2")

    async with talking(script) as kv:
        first = asyncio.create_task(kv.set("big", big))
        second = asyncio.create_task(kv.set("k", data))
        await asyncio.sleep(0)  # both have begun
        data[1] = ord("\n")
        go_on.set()
        assert [await first, await second] == [1, 2]


async def test_every_time_may_be_a_timedelta() -> None:
    async with talking(answering("PUT k ttl=90.500 = v", "OK 1")) as kv:
        assert await kv.set("k", "v", ttl=timedelta(minutes=1, seconds=30.5)) == 1
    async with talking(answering("TOUCH k ttl=1000000000.000", "OK")) as kv:
        assert await kv.touch("k", timedelta(seconds=10**9))


@pytest.mark.slow
async def test_a_daemon_takes_what_the_client_lets_pass(daemon: Daemon) -> None:
    second = timedelta(seconds=1)
    async with await connect(daemon.addr, connect_timeout=30 * second, timeout=30 * second) as kv:
        await _at_the_limits(kv)


async def _at_the_limits(kv: Client) -> None:
    longest = "\u20ac" * 170 + "kk"
    revision = await kv.set(longest, memoryview(b"\x00v"), ttl=timedelta(days=1))
    assert await kv.get(longest) == b"\x00v"
    for ttl in (0.001, 10**9, timedelta(milliseconds=1), None):
        assert await kv.touch(longest, ttl) is True
        await kv.set(longest, "v")
    assert [key async for key in kv.keys(longest + "*", limit=2**53 - 1)] == [longest]
    assert await kv.delete(longest, if_revision=0 if await kv.get(longest) is None else None)
    assert await kv.incr("n", 2**63 - 1) == 2**63 - 1
    assert revision == 1
    for call in (kv.set("n", "v", if_revision=2**53 - 1), kv.delete("n", if_revision="9007199254740991@c3d1a7f0")):
        with pytest.raises(KvdError, match="revision is"):
            await call
