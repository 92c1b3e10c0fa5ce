"""What a daemon says that does not start."""

import subprocess
import sys

from tests.support.processes import PATIENCE, ROOT


def refusal(*options: str) -> str:
    """Start a daemon, which must not start; the one line that it says."""
    done = subprocess.run(
        [sys.executable, "-m", "kvd", "--listen", "127.0.0.1:0", "--store-wait", "0", *options],
        cwd=ROOT, capture_output=True, text=True, timeout=2 * PATIENCE,
    )  # fmt: skip
    assert done.returncode != 0, done.stdout
    lines = [line for line in done.stderr.splitlines() if line.startswith("kvd: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]
