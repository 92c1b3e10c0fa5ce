"""The sessions of the README and of kvctl's page look exactly as they are, and the README is one page."""

import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from kvd.__main__ import help_page
from kvd.cli import usage as kvctl_usage
from kvd.memory import readable
from kvd.settings import OPTIONS, Settings
from tests.support.processes import PATIENCE, ROOT, Daemon, needs, wait_for

README = (ROOT / "README.md").read_text()
KVCTL = (ROOT / "docs/kvctl.md").read_text()
OPTIONS_PAGE = (ROOT / "docs/options.md").read_text()
MOST_LINES = 210
"""Of the README: it is there to be read to its end."""
STORE = re.compile(r"@[0-9a-f]{8}\b")


def sessions(page: str) -> list[list[tuple[str, str]]]:
    """The console blocks, each a list of (command, output)."""
    blocks = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    return [re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE) for block in blocks]


def is_watch(command: str) -> bool:
    return command.startswith(("kvctl watch", "echo 'WATCH"))


class Terminal:
    """A command on a terminal of its own, as a reader of the README would run it."""

    def __init__(self, command: str, daemon: Daemon, environment: dict[str, str]) -> None:
        self._output = b""
        self._master, slave = os.openpty()
        self._process = subprocess.Popen(
            ["bash", "-c", command.replace("5830", str(daemon.port))], env=environment,
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        # Linux answers EIO when the last process on the terminal has ended.
        with suppress(OSError):
            while data := os.read(self._master, 1 << 16):
                self._output += data

    @property
    def output(self) -> str:
        """What it has shown so far."""
        return STORE.sub("@STORE", self._output.decode().replace("\r\n", "\n"))

    def finish(self) -> str:
        """Wait for its end, and give all that it has shown."""
        self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        os.close(self._master)
        return self.output

    def end(self) -> None:
        os.killpg(self._process.pid, signal.SIGINT)
        self.finish()


def test_it_is_one_page() -> None:
    assert len(README.splitlines()) <= MOST_LINES


def test_its_python_prints_what_is_said(daemon: Daemon) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    said = re.findall(r"print\(.*\)  # (.*)\n", program)
    done = subprocess.run(
        [sys.executable, "-c", program.replace("5830", str(daemon.port))], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == said
    assert len(said) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("page", [README, KVCTL], ids=["README", "kvctl"])
def test_every_session_looks_as_it_is_shown(page: str, daemon: Daemon, tmp_path: Path) -> None:
    needs("nc")
    kvctl = tmp_path / "kvctl"
    kvctl.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT / "kvctl.py"} "$@"\n')
    kvctl.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "KVCTL_ADDR": daemon.addr, "TERM": "dumb"}
    watches: list[tuple[Terminal, str]] = []
    shown = sessions(page)
    assert len(shown) >= 4
    for block in shown:
        for command, output in block:
            wanted = STORE.sub("@STORE", output)
            terminal = Terminal(command, daemon, environment)
            if is_watch(command):
                first = wanted.splitlines(keepends=True)[0]
                wait_for("the watch to begin", lambda t=terminal, f=first: t.output == f)
                watches.append((terminal, wanted))
            else:
                assert terminal.finish() == wanted, command
        # A watch shows what the next block does.
        while watches and not is_watch(block[0][0]):
            terminal, wanted = watches.pop()
            wait_for(f"a watch to show {wanted}", lambda t=terminal, w=wanted: t.output == w)
            terminal.end()
    assert not watches


def test_the_commands_to_start_and_to_test_are_one_line_each() -> None:
    commands = re.findall(r"```sh\n(python3 -m venv .*)\n```", README)
    assert [command.rpartition("/")[2] for command in commands] == ["kvd", "pytest"]


def test_the_table_of_options_is_that_of_the_settings() -> None:
    """Each option once, with what it takes and its default, in the help's words."""
    listed: list[tuple[str, str]] = []
    for row in re.findall(r"^\| (`--.*) \|$", OPTIONS_PAGE, re.MULTILINE):
        names, _, default = row.split(" | ")
        options = re.findall(r"`(--[a-z-]+(?: [A-Z]+)?)`", names)
        defaults = default.replace("`", "").split(", ") if len(options) > 1 else [default.replace("`", "")]
        listed += zip(options, defaults, strict=True)
    assert sorted(listed) == sorted((f"{option.name} {option.argument}".strip(), option.default) for option in OPTIONS)


def test_pages_name_no_option_and_no_variable_that_there_is_not() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("Dockerfile*")]
    variables = {option.variable for option in OPTIONS} | {"KVD_POSITION", "KVD_REVISION", "KVD_OP", "KVD_KEY"}
    variables |= {"KVD_LOCK_KEY", "KVD_LOCK_REVISION"}
    helps = (help_page(), kvctl_usage.whole(), (ROOT / "bench/__main__.py").read_text())
    known = {option for text in helps for option in re.findall(r"--[a-z][a-z-]*", text)}
    for page in pages:
        text = page.read_text()
        assert set(re.findall(r"\bKVD_[A-Z_]+", text)) <= variables, page.name
        assert set(re.findall(r"`(?:kvd |kvctl )?(--[a-z][a-z-]*)", text)) <= known, page.name


def test_the_guarantees_name_the_defaults() -> None:
    default = Settings()
    kept = f"{default.history_changes:,} changes and {readable(default.history_bytes)} of them"
    text = " ".join((ROOT / "docs/guarantees.md").read_text().split())
    assert f"The last {kept} are kept" in text
    assert f"`--fsync {default.fsync}` (the default)" in text
