""".ci/run: its stages, what is left out, and how long each took."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import ROOT

BY_DEFAULT = ["install", "check", "other-python", "failover", "tests", "speed"]


class Checkout:
    """One with .ci/run, whose stages do nothing yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / ".ci" / "stages").mkdir(parents=True)
        shutil.copy(ROOT / ".ci" / "run", path / ".ci" / "run")
        for name in ("install", "check", "tests", "other-python", "failover"):
            self.write(f".ci/{name}", "exit 0")
        self.write(".venv/bin/python", '[ "$*" = "-m bench --quick --guard" ]')
        self.write(".ci/stages/README", "", executable=False)

    def write(self, name: str, commands: str, *, executable: bool = True) -> None:
        script = self.path / name
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(f"#!/bin/sh\n{commands}\n")
        script.chmod(0o755 if executable else 0o644)

    def run(self, *options: str) -> tuple[int, list[str]]:
        """The exit status, and all lines with a 0 for each number of seconds."""
        done = subprocess.run(
            [self.path / ".ci" / "run", *options], capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, re.sub(r"\d+ s$", "0 s", done.stdout, flags=re.MULTILINE).splitlines()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_each_stage_and_the_whole_say_how_long_they_took(checkout: Checkout) -> None:
    status, lines = checkout.run()
    assert status == 0
    assert lines == [
        *(f"== {name}" for name in BY_DEFAULT), "",
        *(f"{name}: 0 s" for name in BY_DEFAULT), "in all, without installation: 0 s",
    ]  # fmt: skip


def test_a_further_stage_is_named_and_runs_with_all(checkout: Checkout) -> None:
    checkout.write(".ci/stages/java", "echo compiled")
    checkout.write(".ci/stages/go", "echo 'go is not installed'; exit 77")
    status, lines = checkout.run()
    assert status == 0
    assert "compiled" not in lines
    assert lines[-3:-1] == [f"{name}: left out, for it is run with --all only" for name in ("go", "java")]
    status, lines = checkout.run("--all")
    assert status == 0
    assert lines[6:10] == ["== go", "go is not installed", "== java", "compiled"]
    assert lines[-3:-1] == ["go: left out", "java: 0 s"]


def test_failovers_run_beside_other_stages_and_are_shown_after_them(checkout: Checkout) -> None:
    checkout.write(".ci/failover", "touch begun; echo lost nothing")
    checkout.write(".ci/other-python", "until [ -e begun ]; do sleep 0.01; done; echo passed")
    status, lines = checkout.run()
    assert status == 0
    assert lines[2:6] == ["== other-python", "passed", "== failover", "lost nothing"]


def test_a_stage_that_fails_leaves_no_failover_behind(checkout: Checkout) -> None:
    checkout.write(".ci/failover", "touch begun; until [ -e failed ]; do sleep 0.01; done; touch ended")
    checkout.write(".ci/check", "until [ -e begun ]; do sleep 0.01; done; touch failed; exit 3")
    assert checkout.run()[0] == 3
    assert (checkout.path / "ended").exists()


@pytest.mark.parametrize("name", [".ci/check", ".ci/failover", ".ci/tests", ".ci/stages/java"])
def test_nothing_runs_after_a_stage_that_fails(name: str, checkout: Checkout) -> None:
    checkout.write(name, "exit 3")
    checkout.write(".ci/stages/last", "echo never")
    status, lines = checkout.run("--all")
    assert status == 3
    assert lines[-2:] == [f"== {Path(name).name}", f"== {Path(name).name} failed, with status 3"]


def test_an_option_that_there_is_not_is_refused(checkout: Checkout) -> None:
    assert checkout.run("--al") == (2, [])


def test_every_stage_that_there_is_can_be_run() -> None:
    scripts = [path for path in (ROOT / ".ci").iterdir() if path.is_file()]
    scripts += [path for path in (ROOT / ".ci" / "stages").iterdir() if path.name != "README"]
    assert [path for path in scripts if not path.stat().st_mode & 0o111] == []


def test_every_script_that_the_pipeline_runs_is_there() -> None:
    """Found: one had been moved, and the pipeline still ran it where it was."""
    scripts = re.findall(r"\.ci/[\w/-]+", (ROOT / "Jenkinsfile").read_text())
    assert ".ci/tests" in scripts
    assert [name for name in scripts if not (ROOT / name).is_file()] == []
