"""What tests rely on of the daemons that they start: the log up to now, and a port that stays theirs."""

import os
import socket
import sys
import threading

import pytest

from tests.support.lines import Lines
from tests.support.ports import kept_port


def test_what_was_written_is_seen_though_the_thread_that_reads_was_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    given, writing = os.pipe()
    lines = Lines()
    with monkeypatch.context() as patch, os.fdopen(given, "rb") as source:
        patch.setattr(threading.Thread, "start", lambda _: None)
        lines.read(source)
        for written, seen in ((b"one\ntw", "one\n"), (b"o\n\xc3", "one\ntwo\n"), (b"\xa4", "one\ntwo\n")):
            os.write(writing, written)
            assert lines.text == seen
        os.close(writing)
        assert lines.text == "one\ntwo\nä"


def test_a_writer_waits_for_nobody_who_asks() -> None:
    given, writing = os.pipe()
    lines = Lines()
    with os.fdopen(given, "rb") as source:
        lines.read(source)
        with os.fdopen(writing, "wb") as end:
            end.write(b"x" * (1 << 22))
        lines.join(30)
    assert lines.text == "x" * (1 << 22)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a port so")
def test_a_port_is_kept_for_who_asks_for_it_by_its_number() -> None:
    class Owner:
        pass

    owner = Owner()
    port = kept_port(owner)
    for _ in range(2):
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind(("127.0.0.1", port))
        with socket.create_server(("127.0.0.1", port)) as server, socket.create_connection(server.getsockname()):
            pass
