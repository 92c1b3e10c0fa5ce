"""Reported: `NONE` of a key that was there all the time, without any fault.

Once of a value over 4 KiB whose GET waited after other large reads: the key was replaced, or its lease renewed by
TOUCH, before its deadline, and the deadline of the record that was found first passed before the answer.  And once of
any key, when a read's records and its clock arrived apart, and another daemon replaced the key between them.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.support.async_peers import AsyncPeer, connected
from tests.support.processes import Daemon, Redis, StartDaemon, wait_for
from tests.support.proxy import Pipe, Proxy

pytestmark = pytest.mark.slow

LARGE, OTHER = "1" * 5000, "2" * 5001
LARGE_READ = b"HGET\r\n$9\r\n{kvd}:big\r\n"


Connect = Callable[[Daemon], Awaitable[AsyncPeer]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Opens connections, which are closed at the end."""
    async with AsyncExitStack() as stack:

        async def connect(daemon: Daemon) -> AsyncPeer:
            peer = await stack.enter_async_context(connected(daemon.port))
            assert await peer.ask("PING") == "OK"
            return peer

        yield connect


@pytest.fixture
async def proxy(redis: Redis) -> AsyncIterator[Proxy]:
    proxy = Proxy(redis.port)
    await proxy.start()
    yield proxy
    await proxy.close()


@pytest.fixture
async def daemon(redis: Redis, proxy: Proxy, start_daemon: StartDaemon) -> AsyncIterator[Daemon]:
    url = redis.tcp_url.replace(str(redis.port), str(proxy.port))
    daemon = await asyncio.to_thread(start_daemon, "--store", url)
    yield daemon
    await asyncio.to_thread(daemon.stop)


LIVES = (2, 8, 32)
"""Seconds that keys live: the next one where a busy machine was not done in time."""


def is_past(redis: Redis, deadline: int) -> bool:
    """Whether the store's clock is past it."""
    seconds, micros = map(int, redis.cli("TIME").split())
    return seconds * 1000 + micros // 1000 > deadline


async def deadline_passes(redis: Redis, deadline: int) -> None:
    """Wait until the store's clock is past it."""
    await asyncio.to_thread(wait_for, "a deadline", lambda: is_past(redis, deadline))


def deadline_of(redis: Redis, key: str) -> int:
    """0 if the key is gone."""
    return int(([*redis.cli("HGET", "{kvd}:data", key).split(), "0", "0"])[1])


async def caught(proxy: Proxy, *readers: AsyncPeer) -> Pipe | None:
    """What the proxy has kept; None if all readers were answered without it: what they read is gone already."""
    keeping = asyncio.create_task(proxy.caught.get())
    answers = asyncio.gather(*(reader.line() for reader in readers))
    either: set[asyncio.Future[Any]] = {keeping, answers}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if keeping.done():
        answers.cancel()
        await asyncio.wait({answers})
        return keeping.result()
    keeping.cancel()
    return None


BEFORE_ITS_DEADLINE = {
    "touched": ("TOUCH touched ttl=60", {LARGE}),
    "kept": ("TOUCH kept ttl=-", {LARGE}),
    "large": (f"SET large {OTHER}", {OTHER}),
    "leased": (f"PUT leased ttl=60 = {OTHER}", {OTHER}),
    "small": ("SET small text", {"text"}),
    "bytes": ("PUT bytes base64 = AAE=", {"AAE="}),
}
"""By key, what is done to it, and what its readers may find then."""


async def large_reads(
    verb: str, ttl: int, redis: Redis, proxy: Proxy, daemon: Daemon, connect: Connect
) -> dict[str, str] | None:
    """What is answered, by key, to those who read before each change and are answered after the deadline.

    None if the changes were not done in time.
    """
    writer = await connect(daemon)
    readers = {key: await connect(daemon) for key in BEFORE_ITS_DEADLINE}
    for key in readers:
        assert (await writer.ask(f"PUT {key} ttl={ttl} = {LARGE}")).startswith("OK ")
    deadlines = [deadline_of(redis, key) for key in readers]
    proxy.caught = asyncio.Queue()
    proxy.holding = LARGE_READ
    for key, reader in readers.items():
        reader.send(f"{verb} {key}\n")
    pipe = await caught(proxy, *readers.values())
    if pipe is None:
        proxy.holding = None
        return None
    # What was sent before is read at the latest with this: the records are found.
    await writer.ask("TTL large")
    for change, _ in BEFORE_ITS_DEADLINE.values():
        await writer.ask(change)
    is_in_time = not is_past(redis, min(deadlines))
    await deadline_passes(redis, max(deadlines))
    proxy.holding = None
    pipe.release()
    answers = {key: await reader.line() for key, reader in readers.items()}
    return answers if is_in_time else None


@pytest.mark.parametrize("verb", ["GET", "GETS"])
async def test_a_large_read_that_waits_past_a_deadline_finds_what_came_in_time(
    verb: str, redis: Redis, proxy: Proxy, daemon: Daemon, connect: Connect
) -> None:
    for ttl in LIVES:
        if answers := await large_reads(verb, ttl, redis, proxy, daemon, connect):
            for key, answer in answers.items():
                assert answer.split(" ")[-1] in BEFORE_ITS_DEADLINE[key][1]
            return
    pytest.fail("never in time")


async def test_a_large_read_whose_lease_was_cut_short_finds_nothing(
    redis: Redis, proxy: Proxy, daemon: Daemon, connect: Connect
) -> None:
    """And so does one whose record is over without having been replaced."""
    writer, reader, other = [await connect(daemon) for _ in range(3)]
    assert await writer.ask(f"PUT cut ttl=60 = {LARGE}") == "OK 1"
    assert await writer.ask(f"PUT over ttl=2 = {LARGE}") == "OK 2"
    # If it is over before it is read, it is as much to be found absent.
    last = deadline_of(redis, "over")
    proxy.holding = LARGE_READ
    reader.send("GET cut\n")
    other.send("GET over\n")
    pipe = await proxy.caught.get()
    # What was sent before is read at the latest with this.
    await writer.ask("TTL over")
    assert await writer.ask("TOUCH cut ttl=0.001") == "OK"
    await deadline_passes(redis, last)
    proxy.holding = None
    pipe.release()
    assert await reader.line() == await other.line() == "NONE"


@pytest.mark.parametrize(
    ("value", "request_line", "change", "expected"),
    [
        ("old", "GET {key}", "SET {key} new", "OK new"),
        ("old", "GETS {key}", "SET {key} new", "OK {second} new"),
        ("old", "TTL {key}", "TOUCH {key} ttl=-", "OK -"),
        ("old", "GETS {key}", "TOUCH {key} ttl=60", "OK {first} old"),
        (LARGE, "GET {key}", "TOUCH {key} ttl=60", f"OK {LARGE}"),
        (LARGE, "GET {key}", "SET {key} new", f"OK {LARGE}"),
        (LARGE, "GETS {key}", f"PUT {{key}} ttl=60 = {OTHER}", f"OK {{first}} {LARGE}"),
    ],
    ids=lambda words: words if len(words) < 100 else "large",
)
async def test_a_read_whose_last_command_arrives_late_finds_a_key_that_was_replaced_in_time(
    value: str, request_line: str, change: str, expected: str,
    redis: Redis, proxy: Proxy, daemon: Daemon, start_daemon: StartDaemon, connect: Connect,
) -> None:  # fmt: skip
    """The commands of a read reach the store apart, and a second daemon writes between them.

    A large value is found by its record, which is older than the change; to answer with it is as right.
    """
    other = await asyncio.to_thread(start_daemon, "--store", redis.unix_url)
    writer, reader = await connect(other), await connect(daemon)
    for ttl in LIVES:
        key = f"k{ttl}"
        first = (await writer.ask(f"PUT {key} ttl={ttl} = {value}")).removeprefix("OK ")
        deadline = deadline_of(redis, key)
        last = f"{{kvd}}:data\r\n${len(key)}\r\n{key}\r\n".encode()
        proxy.splitting = LARGE_READ if value == LARGE else b"HMGET\r\n$10\r\n" + last
        reader.send(request_line.format(key=key) + "\n")
        pipe = await caught(proxy, reader)
        proxy.splitting = None
        if pipe is None:
            continue
        second = (await writer.ask(change.format(key=key))).removeprefix("OK ")
        is_in_time = not is_past(redis, deadline)
        await deadline_passes(redis, deadline)
        pipe.release()
        line = await reader.line()
        if is_in_time:
            assert line == expected.format(first=first, second=second)
            return
    pytest.fail("never in time")


async def test_the_time_that_a_lease_has_left_is_never_more_than_was_asked_for(
    redis: Redis, proxy: Proxy, daemon: Daemon, start_daemon: StartDaemon, connect: Connect
) -> None:
    """Not even of one that was renewed between the two commands of the read."""
    other = await asyncio.to_thread(start_daemon, "--store", redis.unix_url)
    writer, reader = await connect(other), await connect(daemon)
    assert await writer.ask("PUT k ttl=50 = v") == "OK 1"
    deadline = deadline_of(redis, "k")
    proxy.splitting = b"HMGET\r\n$10\r\n{kvd}:data\r\n$1\r\nk\r\n"
    reader.send("TTL k\n")
    pipe = await proxy.caught.get()
    proxy.splitting = None
    await deadline_passes(redis, deadline - 49_500)
    assert await writer.ask("TOUCH k ttl=50") == "OK"
    await deadline_passes(redis, deadline_of(redis, "k") - 49_990)
    pipe.release()
    word, left = (await reader.line()).split()
    assert word == "OK"
    assert float(left) <= 50
