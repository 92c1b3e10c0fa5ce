"""`./kvctl.py` in a checkout, started by any Python, finds the .venv beside it, or says what to do."""

import os
import subprocess
import venv
from pathlib import Path

import docopt
import pytest

from kvd.cli.status import ABSENT, REFUSED
from tests.support.kvctl import ENVIRONMENT, PATIENCE, PROGRAM, complaint
from tests.support.processes import ROOT, Daemon

Result = subprocess.CompletedProcess[bytes]


def make_environment(path: Path, *, complete: bool) -> None:
    """A virtual environment; complete: it has the library that kvctl needs."""
    venv.create(path, symlinks=True)
    if complete:
        (site_packages,) = path.glob("lib/python*/site-packages")
        (site_packages / "kvctl.pth").write_text(f"{Path(docopt.__file__).parent.parent}\n")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout without a .venv; the first Python on the path, in `bare`, has no library."""
    make_environment(tmp_path / "bare", complete=False)
    path = tmp_path / "a checkout"
    path.mkdir()
    (path / "kvctl.py").write_bytes(PROGRAM.read_bytes())
    (path / "kvctl.py").chmod(0o755)
    (path / "kvd").symlink_to(ROOT / "kvd")
    return path


def run(program: Path, *words: str, **variables: str) -> Result:
    """Run it by its name, as a person does, from another directory."""
    bare = program.parent.parent / "bare"
    environment = ENVIRONMENT | {"PATH": f"{bare / 'bin'}:{os.environ['PATH']}"} | variables
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        [program, *words], env=environment, cwd="/", capture_output=True, timeout=PATIENCE, check=False
    )


@pytest.mark.slow
def test_it_runs_with_the_venv_beside_it(checkout: Path, daemon: Daemon) -> None:
    make_environment(checkout / ".venv", complete=True)
    program = checkout / "kvctl.py"
    done = run(program, "set", "x", "two  words", KVCTL_ADDR=daemon.addr)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"1\n", b"")
    done = run(program, "get", "x", KVCTL_ADDR=daemon.addr)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"two  words", b"")
    assert run(program, "get", "y", KVCTL_ADDR=daemon.addr).returncode == ABSENT


def test_a_link_to_it_finds_the_same_venv(checkout: Path, tmp_path: Path) -> None:
    make_environment(checkout / ".venv", complete=True)
    (tmp_path / "programs").mkdir()
    link = tmp_path / "programs" / "kvctl"
    link.symlink_to(checkout / "kvctl.py")
    assert run(link, "--version").stdout.startswith(b"kvctl ")


def test_without_a_venv_it_says_what_to_do(checkout: Path) -> None:
    text = complaint(run(checkout / "kvctl.py", "get", "x"), REFUSED)
    assert "No module named 'docopt'" in text
    command = text.partition("run: ")[2]
    assert command == f"cd '{checkout}' && python3 -m venv .venv && .venv/bin/pip install -q .\n"
    assert command.partition("&& ")[2].strip() in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("python", ["incomplete", "gone", "another"])
def test_a_venv_that_does_not_help_is_tried_once(python: str, checkout: Path) -> None:
    if python == "incomplete":
        make_environment(checkout / ".venv", complete=False)
    else:
        (checkout / ".venv" / "bin").mkdir(parents=True)
        target = checkout.parent / ("bare/bin/python" if python == "another" else "nowhere")
        (checkout / ".venv" / "bin" / "python").symlink_to(target)
    assert "python3 -m venv .venv" in complaint(run(checkout / "kvctl.py", "get", "x"), REFUSED)
