"""The drills of docs/operations.md: their commands, run in one shell in an empty directory, print what is shown."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT, needs

PAGE = (ROOT / "docs" / "operations.md").read_text()
DRILLS = PAGE.partition("## Drills\n")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"```sh\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", DRILLS, re.DOTALL)
NEXT = "--- the next one"


@pytest.mark.slow
def test_the_commands_print_what_is_shown(tmp_path: Path) -> None:
    needs("pgrep")
    assert len(BLOCKS) == 5
    script = f"\necho '{NEXT}'\n".join(commands for commands, _ in BLOCKS)
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    done = subprocess.run(
        ["bash", "-eu"], input=script, cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.stdout.split(f"{NEXT}\n") == [shown for _, shown in BLOCKS], done.stderr
    assert done.returncode == 0, done.stderr


def test_the_tests_that_are_named_are_there() -> None:
    named = re.findall(r"`(tests/[a-z_/]+\.py)`", DRILLS)
    assert len(named) == 8
    assert [name for name in named if not (ROOT / name).is_file()] == []
