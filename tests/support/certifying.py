"""Runs of the kit in clients/conformance."""

import subprocess
import sys
from pathlib import Path

from tests.support.processes import ROOT

KIT = ROOT / "clients" / "conformance"
REFERENCE = [sys.executable, str(KIT / "reference_adapter.py")]
LONGEST = 110  # seconds for a run of all rules on a busy machine


def certify(*words: str | Path, kit: Path = KIT, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the kit; python: options of the interpreter."""
    command = [sys.executable, *python, kit / "certify.py", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)


def wrong(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The names of the rules that did not hold."""
    return [line.split()[1].rstrip(":") for line in done.stdout.splitlines() if line.startswith("WRONG ")]
