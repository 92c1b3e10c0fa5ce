"""A daemon that was stopped while it read a long append-only file went on until it had read all of it, and its note
might take the place of that of the end."""

import os
from pathlib import Path
from threading import Thread

import pytest

from kvd.embedded import seal as sealing
from kvd.embedded.aof import AppendOnlyFile
from kvd.embedded.seal import Seal
from tests.support.processes import wait_for

SIZE = 1 << 40
"""Bytes, of which none is on disk; to read them takes minutes."""


def test_the_last_look_ends_one_that_reads_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "LAST_TIME", 0.1)
    seal = Seal(tmp_path, AppendOnlyFile(tmp_path), os.open(tmp_path, os.O_RDONLY))
    file = tmp_path / "appendonly.aof"
    file.touch()
    os.truncate(file, SIZE)
    seal.extend()
    looking = Thread(target=seal.extend, daemon=True)
    looking.start()
    wait_for("it to read", lambda: seal.sync_time > 0)
    seal.extend(is_last=True)
    looking.join(10)
    assert not looking.is_alive()
    assert 0 < seal.unsealed() < SIZE
    seal.extend()  # one that was late
    assert Seal(tmp_path, AppendOnlyFile(tmp_path)).end == seal.end != ""
