"""Workers without their parent."""

import subprocess
import sys

from kvd.workers.config import Task, code_on_disk
from tests.support.processes import ROOT


def start_worker(task: Task | None, code: bytes = code_on_disk()) -> subprocess.CompletedProcess[bytes]:
    """A worker without a parent that waits for it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "kvd.workers"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, pass_fds=dict(task.listeners) if task else (),
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    if task:
        task.give(process.stdin, code)
        said = process.stdout.readline()
    else:
        said = b""
    rest, error = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, said + rest, error)
