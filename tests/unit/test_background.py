"""Sockets that wait in the background are woken a few at a time, each once."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise

import pytest

from kvd.session.background import PORTION, Background
from tests.support.processes import PATIENCE

CROWD = 5 * PORTION

Pairs = list[tuple[socket.socket, socket.socket]]


@pytest.fixture
def pairs() -> Iterator[Pairs]:
    with ExitStack() as stack:
        found = [socket.socketpair() for _ in range(CROWD)]
        for pair in found:
            for end in pair:
                stack.enter_context(end)
        yield found


async def test_a_crowd_is_woken_by_portions(pairs: Pairs) -> None:
    background, woken = Background(), list[int]()
    for number, (here, there) in enumerate(pairs):
        assert background.wait(here.fileno(), lambda number=number: woken.append(number))  # type: ignore[misc]
        there.send(b"x")
    await asyncio.sleep(0)
    seen = [0]
    async with asyncio.timeout(PATIENCE):
        while len(woken) < CROWD:
            await asyncio.sleep(0)
            seen.append(len(woken))
    assert max(after - before for before, after in pairwise(seen)) == PORTION
    await asyncio.sleep(0.02)
    assert sorted(woken) == list(range(CROWD))
    background.close()


async def test_an_end_wakes_and_what_is_quiet_sleeps(pairs: Pairs) -> None:
    background, woken = Background(), asyncio.Event()
    (quiet, _), (ending, there) = pairs[:2]
    background.wait(quiet.fileno(), lambda: pytest.fail("it has nothing to read"))
    background.wait(ending.fileno(), woken.set)
    there.close()
    async with asyncio.timeout(PATIENCE):
        await woken.wait()
    background.close()


def never() -> None:
    """To be called for a socket that nobody waits for."""
    pytest.fail("nobody waits for it any more")


async def wakes(background: Background, here: socket.socket, there: socket.socket) -> None:
    """Wait until what comes on a socket wakes who waits for it."""
    woken = asyncio.Event()
    background.wait(here.fileno(), woken.set)
    there.send(b"x")
    async with asyncio.timeout(PATIENCE):
        await woken.wait()


async def test_who_was_forgotten_is_not_called(pairs: Pairs) -> None:
    background = Background()
    (here, there), another = pairs[:2]
    background.wait(here.fileno(), never)
    background.forget(here.fileno(), never)
    there.send(b"x")
    await wakes(background, *another)
    background.close()


async def test_the_next_owner_of_a_descriptor_is_not_forgotten_with_the_last(pairs: Pairs) -> None:
    background, woken = Background(), asyncio.Event()
    (here, _), (other, there) = pairs[:2]
    descriptor = here.fileno()
    background.wait(descriptor, never)
    here.close()
    # The kernel gives the lowest number that is free.
    with other.dup() as again:
        assert again.fileno() == descriptor
        background.wait(descriptor, woken.set)
        background.forget(descriptor, never)
        there.send(b"x")
        async with asyncio.timeout(PATIENCE):
            await woken.wait()
    background.close()


async def test_a_socket_that_another_process_has_still_stops_nobody(pairs: Pairs) -> None:
    """While a process begins it has all sockets: those that were closed here are told of then."""
    background = Background()
    (here, there), another = pairs[:2]
    descriptor = here.fileno()
    background.wait(descriptor, never)
    with here.dup():
        here.close()
        background.forget(descriptor, never)
        there.send(b"x")
        await wakes(background, *another)
    background.close()


async def test_closed_it_has_nobody_wait(pairs: Pairs) -> None:
    background = Background()
    (here, _), (other, _) = pairs[:2]
    background.wait(here.fileno(), never)
    background.close()
    background.forget(here.fileno(), never)
    assert not background.wait(other.fileno(), never)
