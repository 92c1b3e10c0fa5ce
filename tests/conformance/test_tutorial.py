"""docs/writing-a-client.md: whoever copies its files and runs its commands has a certified client."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.certifying import KIT, LONGEST, certify
from tests.support.processes import ROOT, Daemon

PAGE = (ROOT / "docs" / "writing-a-client.md").read_text()


@pytest.mark.slow
def test_the_tutorial_ends_in_a_certified_client(shared_daemon: Daemon, tmp_path: Path) -> None:
    """The last command as it stands needs an installed kvd: it gets a daemon that is there."""
    shutil.copytree(KIT, tmp_path / "kit", ignore=shutil.ignore_patterns("__pycache__"))
    running = []
    for kind, text in re.findall(r"^```(python|sh)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
        if kind == "python":
            (tmp_path / text.split()[1]).write_text(text)
            continue
        words = text.replace("certify.py python3", f"certify.py --address {shared_daemon.addr} python3").split()
        command = [sys.executable if word == "python3" else word.strip("'") for word in words]
        running.append(subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True))
    ran = []
    for process in running:  # they run together, for they mostly wait
        report, _ = process.communicate(timeout=LONGEST)
        assert process.returncode == 0, report
        ran.append(report.splitlines()[-1])
    assert len(ran) == 3
    rules = len(certify("--list").stdout.splitlines()) // 2
    assert ran[-1] == f"certified: {rules} rules hold"
    assert f"`{ran[-1]}`" in PAGE
