"""A file that was not written to its end stayed beside the one that it was to replace, when a signal ended kvctl."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import PATIENCE, ROOT

PROGRAM = """
import os, sys
from pathlib import Path
from kvd.cli import exporting, interrupts

interrupts.end_at_once()
with exporting._replacing(Path(sys.argv[1])) as file:
    file.write(b"half")
    os.kill(os.getpid(), int(sys.argv[2]))
"""


@pytest.mark.unmeasured
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_stays_of_what_a_signal_ends(number: signal.Signals, tmp_path: Path) -> None:
    kept = tmp_path / "export"
    kept.write_text("before")
    command = [sys.executable, "-c", PROGRAM, str(kept), str(int(number))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (130 if number == signal.SIGINT else -number, "")
    assert (list(tmp_path.iterdir()), kept.read_text()) == ([kept], "before")
