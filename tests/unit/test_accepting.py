"""A crowd that connects leaves others their turns, and a system that can give no connection is asked again."""

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from kvd.process import accepting
from kvd.process.accepting import PORTION, Acceptor
from tests.support.ports import quiet_port
from tests.support.processes import PATIENCE

CROWD = 5 * PORTION


class Made:
    """Makes protocols that close their transports, and tells how many have begun."""

    def __init__(self) -> None:
        self._begun = asyncio.Semaphore(0)

    def __call__(self) -> asyncio.Protocol:
        begun = self._begun

        class Closing(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                begun.release()
                transport.close()

        return Closing()

    async def wait(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            for _ in range(count):
                await self._begun.acquire()

    @property
    def is_none(self) -> bool:
        return self._begun.locked()


@pytest.fixture
def made() -> Made:
    return Made()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", quiet_port()), backlog=CROWD) as bound:
        yield bound


async def test_a_crowd_is_accepted_by_portions(listener: socket.socket, made: Made) -> None:
    accepted: list[int] = [0]

    class Listener:
        """The socket, which counts."""

        def setblocking(self, flag: bool) -> None:
            listener.setblocking(flag)

        def fileno(self) -> int:
            return listener.fileno()

        def close(self) -> None:
            listener.close()

        def accept(self) -> tuple[socket.socket, object]:
            found = listener.accept()
            accepted[-1] += 1
            return found

    with ExitStack() as stack:
        for _ in range(CROWD):
            stack.enter_context(socket.create_connection(listener.getsockname()))
        with closing(Acceptor(Listener(), made)):  # type: ignore[arg-type]
            async with asyncio.timeout(PATIENCE):
                while sum(accepted) < CROWD:
                    # One turn of the loop, in which others are served.
                    await asyncio.sleep(0)
                    accepted.append(0)
            await made.wait(CROWD)
    assert max(accepted) == PORTION


class Refusing(socket.socket):
    """A listener like another one, which tells errors first."""

    def __init__(self, listener: socket.socket, numbers: list[int]) -> None:
        super().__init__(fileno=os.dup(listener.fileno()))
        self.numbers = numbers

    def accept(self) -> tuple[socket.socket, object]:
        if self.numbers:
            number = self.numbers.pop()
            raise OSError(number, os.strerror(number))
        return super().accept()


async def test_it_goes_on_when_descriptors_are_free_again(
    listener: socket.socket, made: Made, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(accepting, "PAUSE", 0.05)
    refusing = Refusing(listener, [errno.EMFILE] * 2)
    with socket.create_connection(listener.getsockname()), closing(Acceptor(refusing, made)):
        await made.wait(1)
    assert not refusing.numbers
    assert [(record.levelno, "Too many open files" in record.message) for record in caplog.records] == [
        (logging.WARNING, True), (logging.WARNING, True)
    ]  # fmt: skip


async def test_one_who_is_gone_before_it_is_accepted_ends_nothing(listener: socket.socket, made: Made) -> None:
    gone = socket.create_connection(listener.getsockname())
    gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    gone.close()
    with closing(Acceptor(listener, made)), socket.create_connection(listener.getsockname()):
        await made.wait(1)


async def test_an_error_of_one_connection_keeps_no_other_waiting(
    listener: socket.socket, made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    refusing = Refusing(listener, [errno.EHOSTUNREACH, errno.ENETDOWN, errno.ECONNABORTED, errno.EPERM])
    with socket.create_connection(listener.getsockname()), closing(Acceptor(refusing, made)):
        await made.wait(1)
    assert not refusing.numbers
    assert not caplog.records


async def test_closed_it_accepts_no_more(listener: socket.socket, made: Made) -> None:
    where = listener.getsockname()
    Acceptor(listener, made).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(where)
    await asyncio.sleep(0)
    assert made.is_none
