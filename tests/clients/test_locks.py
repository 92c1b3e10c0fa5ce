"""Leases, locks and elections, with both faces of the library."""

import asyncio
import itertools
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from kvd import client
from kvd.client import Conflict, LeaseLost, leasing, sync
from tests.support.faces import Connect, connect_in_threads
from tests.support.processes import Daemon
from tests.support.proxy import Proxy

CLOCK = leasing.clock

NAMES = map(str, itertools.count())
"""Of keys that no other test has."""


LONG = 60
"""Seconds to live of what is not to end by itself, however busy the machine is."""


@pytest.fixture
def _renewing_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is lost is noticed at the next renewal: long before the time to live is over."""
    monkeypatch.setattr(leasing, "RENEWALS", 100)


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


async def queued(kv: Any, name: str, number: int) -> None:
    """Wait until so many stand in a lock's queue."""
    while await kv.count(f"{name}/*") < number:
        await kv.ping()


async def left(kv: Any, name: str, number: int) -> None:
    """Wait until no more than so many stand there."""
    while await kv.count(f"{name}/*") > number:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def test_a_lease_is_there_while_it_is_held(shared_daemon: Daemon, connect: Connect) -> None:
    root = f"lease{next(NAMES)}"
    async with await connect(shared_daemon.addr) as kv:
        # A renewal comes after a third of it; a busy machine may be late for as long again.
        async with kv.lease(6, key=f"{root}/me", value="it is me") as lease:
            assert (lease.key, await kv.get(lease.key)) == (f"{root}/me", b"it is me")
            await kv.set(f"{root}/here", "1", owner=lease.key)
            before = await kv.ttl(lease.key)
            while (left := await kv.ttl(lease.key)) <= before:
                before = left
                await asyncio.sleep(0.01)
            assert lease.is_held
            assert await kv.get(f"{root}/here") == b"1"
            with pytest.raises(Conflict):
                await kv.set(lease.key, "", if_revision=lease.revision + 1)
        assert not lease.is_held
        assert await kv.count(f"{root}/*") == 0


@pytest.mark.usefixtures("_renewing_often")
async def test_a_lost_lease_is_told(shared_daemon: Daemon, connect: Connect) -> None:
    told: list[LeaseLost] = []
    async with await connect(shared_daemon.addr) as kv:
        with pytest.raises(LeaseLost, match="is gone or another's"):  # noqa: PT012
            async with kv.lease(LONG, lost=told.append) as lease:
                await kv.delete(lease.key)
                await until(lambda: not lease.is_held)
                if connect is not connect_in_threads:
                    await asyncio.sleep(60)  # which is cancelled
    assert len(told) == 1


async def test_a_lock_is_held_by_one_at_a_time_in_order(shared_daemon: Daemon, connect: Connect) -> None:
    name = f"lock{next(NAMES)}"
    order: list[int] = []
    fences: list[int] = []
    holding = 0

    async def work(kv: Any, number: int) -> None:
        nonlocal holding
        async with kv.lock(name, LONG) as lock:
            holding += 1
            assert holding == 1
            assert lock.is_held
            order.append(number)
            fences.append(lock.revision)
            async with kv.transaction() as together:
                lock.fence(together)
                together.set(f"{name}.guarded", str(number))
            await asyncio.sleep(0.01)
            holding -= 1

    async with await connect(shared_daemon.addr) as kv:
        waiting = []
        async with kv.lock(name, LONG):
            for number in range(4):
                waiting.append(asyncio.create_task(work(kv, number)))
                await queued(kv, name, number + 2)
        await asyncio.gather(*waiting)
        assert order == list(range(4))
        assert fences == sorted(fences)
        assert await kv.count(f"{name}*") == 1


async def test_waiting_asks_nothing(shared_daemon: Daemon, connect: Connect) -> None:
    name = f"lock{next(NAMES)}"
    async with await connect(shared_daemon.addr) as kv:
        async with kv.lock(name, LONG):
            others = [asyncio.create_task(_entered(kv.lock(name, LONG))) for _ in range(4)]
            await queued(kv, name, 5)
            while await _asked_within(kv, 0.6) > 1:  # this question
                pass
        await asyncio.gather(*others)
        assert await kv.count(f"{name}/*") == 0


async def _asked_within(kv: Any, seconds: float) -> int:
    """How many requests come to the daemon."""
    before = int((await kv.info())["requests"])
    await asyncio.sleep(seconds)
    return int((await kv.info())["requests"]) - before


async def test_who_does_not_get_it_in_time_leaves_the_queue(shared_daemon: Daemon, connect: Connect) -> None:
    name = f"lock{next(NAMES)}"
    async with await connect(shared_daemon.addr) as kv, kv.lock(name, LONG):
        others = [_entered(kv.lock(name, LONG, timeout=0.3)) for _ in range(4)]
        results = await asyncio.gather(*others, return_exceptions=True)
        assert [type(result) for result in results] == [TimeoutError] * 4
        assert await kv.count(f"{name}/*") == 1


async def _entered(lock: Any) -> None:
    async with lock:
        pass


async def test_who_waits_stands_in_the_queue_again_after_an_outage(shared_daemon: Daemon, connect: Connect) -> None:
    """A lease that ends meanwhile is no lock that was lost; and to begin is tried as long as any call is."""
    name, proxy, has_had_it = f"lock{next(NAMES)}", Proxy(shared_daemon.port), False
    await proxy.start()

    async def wait_and_have(lock: Any) -> None:
        nonlocal has_had_it
        with suppress(LeaseLost):  # while it was held, by a pause of the machine
            async with lock:
                has_had_it = True

    async with await connect(shared_daemon.addr) as kv, await connect(f"127.0.0.1:{proxy.port}") as other:
        async with kv.lock(name, 60):
            proxy.refusing = True
            proxy.cut()
            waiting = asyncio.create_task(wait_and_have(other.lock(name, 0.6)))
            with pytest.raises(TimeoutError):
                await _entered(other.lock(name, 0.6, timeout=0.2))
            proxy.refusing = False
            await queued(kv, name, 2)
            proxy.refusing = True
            proxy.cut()
            await left(kv, name, 1)
            proxy.refusing = False
            await queued(kv, name, 2)
        await waiting
        assert has_had_it
        await left(kv, name, 0)
    await proxy.close()


async def test_a_fence_holds_before_a_broken_lock_is_told(shared_daemon: Daemon, connect: Connect) -> None:
    name = f"lock{next(NAMES)}"
    async with await connect(shared_daemon.addr) as kv:
        async with kv.lock(name, LONG) as lock:  # so that it is not noticed
            await kv.delete(lock.key)
            with pytest.raises(Conflict) as caught:  # noqa: PT012
                async with kv.transaction() as together:
                    lock.fence(together)
                    together.set(f"{name}.guarded", "too late")
            assert caught.value.key.startswith(f"{name}/")
        assert await kv.count(f"{name}*") == 0


@pytest.mark.usefixtures("_renewing_often")
async def test_a_lock_that_somebody_breaks_is_told(shared_daemon: Daemon, connect: Connect) -> None:
    name, told = f"lock{next(NAMES)}", list[LeaseLost]()
    async with await connect(shared_daemon.addr) as kv:
        with pytest.raises(LeaseLost):  # noqa: PT012
            async with kv.lock(name, LONG, lost=told.append) as lock:
                await kv.delete(lock.key)
                await until(lambda: not lock.is_held)
                with pytest.raises(LeaseLost):
                    lock.revision  # noqa: B018
                if connect is not connect_in_threads:
                    await asyncio.sleep(60)  # which is cancelled
        assert len(told) == 1
        assert await kv.count(f"{name}*") == 0


async def test_locks_may_share_a_lease(shared_daemon: Daemon, connect: Connect) -> None:
    name = f"lock{next(NAMES)}"
    async with await connect(shared_daemon.addr) as kv, kv.lease(LONG) as lease:
        given = lease._one if connect is connect_in_threads else lease
        async with kv.lock(f"{name}/a", lease=given) as first, kv.lock(f"{name}/b", lease=given) as second:
            assert [key async for key in kv.keys(f"{name}*", owner=lease.key)] == [first.key, second.key]
            with pytest.raises(TimeoutError):
                await _entered(kv.lock(f"{name}/a", lease=given, timeout=0.1))
            assert first.is_held
        assert await kv.count(f"{name}*") == 0
        assert lease.is_held


@pytest.mark.parametrize("what", ["lease", "lock", "election"])
async def test_a_body_that_ends_after_the_time_is_a_loss(
    shared_daemon: Daemon, connect: Connect, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a program that was stopped, and ends its body before it could see that the time is over."""
    name, told = f"late{next(NAMES)}", list[LeaseLost]()
    async with await connect(shared_daemon.addr) as kv:
        make: Callable[[], Any] = {
            "lease": lambda: kv.lease(LONG, key=name, lost=told.append),
            "lock": lambda: kv.lock(name, LONG, lost=told.append),
            "election": lambda: kv.election(name, "me", LONG, lost=told.append),
        }[what]
        with pytest.raises(LeaseLost, match="could not be renewed"):  # noqa: PT012
            async with make() as held:
                assert held.is_held
                monkeypatch.setattr(leasing, "clock", _in_an_hour)
        assert len(told) == 1
        assert await kv.delete_all(f"{name}*")


def _in_an_hour() -> float:
    return CLOCK() + 3600


@pytest.mark.usefixtures("_renewing_often")
async def test_all_are_told_of_a_loss_though_telling_one_of_them_fails(
    shared_daemon: Daemon, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, failed = list[LeaseLost](), list[object]()
    monkeypatch.setattr(threading, "excepthook", lambda what: failed.append(what.exc_value))
    asyncio.get_running_loop().set_exception_handler(lambda _, what: failed.append(what["exception"]))
    async with await connect(shared_daemon.addr) as kv:
        with pytest.raises(LeaseLost):  # noqa: PT012
            async with kv.lease(LONG, lost=told.append) as lease:
                given = lease._one if connect is connect_in_threads else lease
                async with kv.lock(f"lock{next(NAMES)}", lease=given, lost=_fail) as lock:
                    await kv.set(lock.key, "another's")
                    await kv.delete(lease.key)
                    await until(lambda: bool(failed))
                    if connect is not connect_in_threads:
                        await asyncio.sleep(60)  # which is cancelled
        await until(lambda: not lease.is_held)
    assert [str(error) for error in failed] == ["of the program"]


def _fail(_: LeaseLost) -> None:
    raise RuntimeError("of the program")


async def test_an_election_says_who_leads(shared_daemon: Daemon, connect: Connect) -> None:
    name = f"leader{next(NAMES)}"
    async with await connect(shared_daemon.addr) as kv:
        seen = kv.election(name, "an observer").holders()
        assert await anext(seen) is None
        async with kv.election(name, "node-1", LONG) as term:
            leader = await anext(seen)
            assert (leader.value, leader.revision) == (b"node-1", term.revision)
            assert await term.holder() == leader
            waiting = asyncio.create_task(_led(kv, name))
            await queued(kv, name, 2)
        assert (await anext(seen)).value == b"node-2"
        assert await waiting == b"node-2"
        assert await anext(seen) is None
        await seen.aclose()


async def _led(kv: Any, name: str) -> bytes:
    async with kv.election(name, "node-2", LONG) as term:
        value: bytes = (await term.holder()).value
        return value


async def test_a_body_that_is_cancelled_by_others_is_no_loss(shared_daemon: Daemon) -> None:
    name = f"lock{next(NAMES)}"
    async with await client.connect(shared_daemon.addr) as kv:
        with pytest.raises(TimeoutError):  # noqa: PT012
            async with asyncio.timeout(None) as limit, kv.lock(name, LONG):
                limit.reschedule(asyncio.get_running_loop().time() + 0.05)
                await asyncio.sleep(60)
        assert await kv.count(f"{name}*") == 0


def test_an_error_of_the_program_passes(shared_daemon: Daemon) -> None:
    with sync.connect(shared_daemon.addr) as kv:
        with pytest.raises(RuntimeError, match="of the program"), kv.lock(f"lock{next(NAMES)}", LONG):
            raise RuntimeError("of the program")
        lock = kv.lock(f"lock{next(NAMES)}", LONG)
        with pytest.raises(LeaseLost, match="not held"):
            lock.fence(kv.transaction())
