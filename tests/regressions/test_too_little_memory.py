"""A share of memory that is too little to begin with is refused, with the least that will do.

Reported: --max-memory 1 ended in "cannot reach the store: OOM its memory is full", `ulimit -d 20000` in a traceback.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from kvd.errors import StartError
from kvd.settings import read
from tests.support.daemons import one_line_error
from tests.support.processes import ROOT


@pytest.mark.parametrize("given", ["1", "100KiB", "1048575", "1023 KiB"])
def test_the_store_needs_some(given: str) -> None:
    expected = "is too little: expected at least 1 MiB, which the store takes before it holds anything, or 0 for no"
    with pytest.raises(StartError, match=f"--max-memory: '{given}' {expected}"):
        read({"--max-memory": given}, {})
    with pytest.raises(StartError, match=f"KVD_MAX_MEMORY: '{given}' {expected}"):
        read({}, {"KVD_MAX_MEMORY": given})


def test_so_do_connections() -> None:
    with pytest.raises(StartError, match="--connection-memory: '1' is too little: expected at least 64 KiB, so that"):
        read({"--connection-memory": "1"}, {})


def test_the_least_will_do() -> None:
    settings = read({"--max-memory": "1MiB", "--connection-memory": "64KiB"}, {})
    assert (settings.max_memory, settings.connection_memory) == (1 << 20, 1 << 16)
    assert read({"--max-memory": "0", "--connection-memory": "0"}, {}).max_memory == 0


def test_a_process_that_gets_no_threads_says_so_in_one_line(tmp_path: Path) -> None:
    """A thread would get a stack of 1 GiB here, and all together may have 256 MiB."""
    command = 'ulimit -s 1048576 -d 262144 && exec "$@"'
    words = [sys.executable, "-m", "kvd", "--listen", "127.0.0.1:0", "--data", str(tmp_path / "data")]
    done = subprocess.run(
        ["bash", "-c", command, "bash", *words], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert "the system gives this process no more threads: raise its limit of memory (ulimit -d" in one_line_error(done)
