"""A FIFO in the place of a file that the daemon reads is read if somebody writes, and else refused.

Found: it waited for ever for a writer, and SIGTERM did not end it.
"""

import os
import threading
from pathlib import Path

import pytest

from kvd.errors import StartError
from kvd.opening import open_file
from kvd.reloadable import Reloadable
from kvd.settings import read


@pytest.mark.parametrize("option", ["--store-file", "--tls-cert"])
def test_one_that_nobody_writes_is_empty(tmp_path: Path, option: str) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    given = {option: str(fifo)} | ({"--tls-key": str(fifo)} if option == "--tls-cert" else {})
    with pytest.raises(StartError, match=option):
        Reloadable.read(read(given, {}))


def test_what_may_be_empty_is_so(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert Reloadable.read(read({"--config": str(fifo), "--users": str(fifo)}, {})).users is not None


def test_one_that_somebody_has_open_is_waited_for() -> None:
    reading, writing = os.pipe()
    began = threading.Event()

    def write() -> None:
        began.wait()
        with os.fdopen(writing, "wb") as end:
            end.write(b"text")

    writer = threading.Thread(target=write)
    writer.start()
    with open_file(f"/dev/fd/{reading}") as opened:
        began.set()
        assert opened.read() == b"text"
    writer.join()
    os.close(reading)
