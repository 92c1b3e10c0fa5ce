"""Both faces of the Python library are certified as every other client is."""

import sys

import pytest

from tests.support.certifying import certify, wrong
from tests.support.faces import FACES
from tests.support.processes import ROOT, Daemon

ADAPTER = ROOT / "tests" / "support" / "python_adapter.py"


@pytest.mark.slow
@pytest.mark.parametrize("face", FACES)
def test_a_face_is_certified(face: str, shared_daemon: Daemon) -> None:
    done = certify("--address", shared_daemon.addr, "--at-once", "12", sys.executable, ADAPTER, face)
    assert wrong(done) == [], done.stdout
    assert done.stdout.splitlines()[-1].startswith("certified: ")
    assert done.returncode == 0
