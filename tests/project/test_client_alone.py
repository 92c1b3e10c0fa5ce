"""The Python client can be had without the daemon: small, with nothing to compile and no other package."""

import compileall
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import PATIENCE, ROOT, Daemon

LARGEST = 2_000_000
"""Bytes, with what Python makes of the modules."""

BUILDING = "import setuptools; setuptools.setup()"
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import kvd.client
from kvd.client.sync import connect
with connect(sys.argv[2]) as kv:
    kv.set("k", b"\\x00")
    print(kv.get("k"), kv.info()["protocol"])
loaded = {name.partition(".")[0] for name in sys.modules}
print(*sorted(loaded - set(sys.stdlib_module_names) - {"__main__", "kvd"}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that an installation would put its files into."""
    pytest.importorskip("setuptools")
    room = tmp_path_factory.mktemp("alone")
    checkout = room / "checkout"
    shutil.copytree(ROOT / "kvd", checkout / "kvd", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "clients" / "python", checkout / "clients" / "python")
    words = ["-q", "build", "--build-base", str(room / "base"), "--build-lib", str(room / "lib")]
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BUILDING, *words], cwd=checkout / "clients" / "python", check=True
    )
    return room / "lib"


def test_it_is_small_and_nothing_is_compiled(installed: Path) -> None:
    assert {path.suffix for path in installed.rglob("*") if path.is_file()} == {".py", ".typed"}
    assert compileall.compile_dir(installed, quiet=2)
    assert sum(path.stat().st_size for path in installed.rglob("*")) < LARGEST


def test_it_works_without_any_other_package(installed: Path, daemon: Daemon) -> None:
    command = [sys.executable, "-I", "-S", "-c", PROGRAM, str(installed), daemon.addr]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.stdout, done.stderr) == ("b'\\x00' 1\n\n", "")
