"""The version of a commit (.ci/version): what its tag says, if it has one."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """One with a commit, whose newest version is 1.2.3."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "version", tmp_path / ".ci")
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [1.2.3] - unreleased\n\n## [1.2.2] - 2026-01-01\n")
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "Begin"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path


def version(checkout: Path, *tags: str) -> tuple[int, str]:
    for tag in tags:
        subprocess.run(["git", "tag", tag], cwd=checkout, check=True)
    done = subprocess.run([checkout / ".ci" / "version"], capture_output=True, text=True, check=False)
    return done.returncode, (done.stdout or done.stderr).strip()


def test_it_is_that_of_the_tag(checkout: Path) -> None:
    assert version(checkout, "v1.2.3", "other") == (0, "1.2.3")


def test_a_tag_that_the_changelog_does_not_know_is_refused(checkout: Path) -> None:
    status, text = version(checkout, "v1.2.4")
    assert (status, "v1.2.4" in text, "1.2.3" in text) == (1, True, True)


def test_without_a_tag_it_is_before_the_next_one(checkout: Path) -> None:
    status, text = version(checkout, "other")
    assert status == 0
    assert re.fullmatch(r"1\.2\.3\.dev1\+g[0-9a-f]{7,}", text)
