"""Found by use: with PYTHONUNBUFFERED, as images set it, `kvctl get` into a full disk wrote a part and exited with 0.

A write that the system took in part was taken for done; and of one that failed `kvctl del` did not know in the end.
"""

import subprocess
import sys
from pathlib import Path

from tests.support.kvctl import ENVIRONMENT, PATIENCE, PROGRAM, Result, complaint, printed, run
from tests.support.processes import Daemon

LIMIT = 64 << 10
"""Bytes of the largest file."""


def run_into_file(daemon: Daemon, file: str, *words: str) -> Result:
    """Run kvctl into a file that cannot be as large as the value."""
    script = 'file=$1; shift; ulimit -f "$1"; shift; exec "$@" > "$file"'
    command = ["bash", "-c", script, "bash", file, str(LIMIT >> 10), sys.executable, str(PROGRAM), *words]
    return subprocess.run(
        command, capture_output=True, env=ENVIRONMENT | {"PYTHONUNBUFFERED": "1", "KVCTL_ADDR": daemon.addr},
        timeout=PATIENCE, check=False,
    )  # fmt: skip


def test_a_value_that_is_written_in_part_is_not_done(daemon: Daemon, tmp_path: Path) -> None:
    printed(run("--addr", daemon.addr, "set", "k", "-", stdin=b"x" * (LIMIT + 100)))
    for words in (["get", "k"], ["list"], ["export"]):
        said = complaint(run_into_file(daemon, str(tmp_path / "out"), *words), 5)
        assert "cannot write the output" in said


def test_del_says_that_its_revision_was_not_written(daemon: Daemon) -> None:
    printed(run("--addr", daemon.addr, "set", "k", "v"))
    assert "cannot write the output" in complaint(run_into_file(daemon, "/dev/full", "del", "k"), 5)
