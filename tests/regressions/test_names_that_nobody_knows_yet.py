"""Found: who had given up a daemon, or typed Ctrl-C, waited on for the name server that did not answer."""

import asyncio
import socket
import threading
from typing import NoReturn

import pytest

from kvd.client import Unreachable, connect
from tests.support.kvctl import PATIENCE


def test_the_end_of_a_program_that_has_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    is_over, was_told = threading.Event(), threading.Event()

    def getaddrinfo(*_: object, **__: object) -> NoReturn:
        is_over.wait(PATIENCE / 10)
        was_told.set()
        raise socket.gaierror(socket.EAI_AGAIN, "temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(Unreachable, match=r"no answer within 0\.1 s"):
        asyncio.run(connect("a-name", connect_timeout=0.1))
    assert not was_told.is_set()
    is_over.set()
    assert was_told.wait(PATIENCE)
