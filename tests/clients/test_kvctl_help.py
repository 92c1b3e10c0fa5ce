"""kvctl help, the manual page, and what completes words in shells."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kvd.cli.commands import COMMANDS
from tests.support.kvctl import ENVIRONMENT, PATIENCE, PROGRAM, printed, run
from tests.support.processes import Daemon, wait_for


def test_help_shows_the_pages() -> None:
    assert printed(run("help")) == printed(run("--help"))
    assert printed(run("help", "set")) == printed(run("set", "--help"))
    result = run("help", "frob")
    assert result.returncode == 2
    assert b"no such command: 'frob'" in result.stderr


def test_the_manual_page_has_every_command_and_option() -> None:
    page = printed(run("help", "--man")).decode()
    assert page.startswith('.TH KVCTL 1 "" "kvctl 0.')
    plain = page.replace("\\-", "-")
    for command in COMMANDS.values():
        assert f"\n.B {command.name}\nUse {command.name}" in plain
        for option in command.options:
            assert f"\n.B {option.usage}\n" in plain
    assert all(line.startswith((".TH", ".SH", ".TP", ".PP", ".B ", ".nf", ".fi")) for line in page.splitlines()
               if line.startswith((".", "'")))  # fmt: skip
    if shutil.which("groff"):
        done = subprocess.run(["groff", "-man", "-Tascii", "-ww"], input=page.encode(), capture_output=True, check=True)
        assert done.stderr == b""


def complete(shell: str, line: str, daemon: Daemon) -> set[str]:
    """What is offered at the end of a line."""
    kvctl = f"{shlex.quote(sys.executable)} {shlex.quote(str(PROGRAM))}"
    if shell == "bash":
        script = (
            f'kvctl() {{ {kvctl} "$@"; }}; source <(kvctl completion bash); compopt() {{ :; }}\n'
            f"COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}; _kvctl; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        )
    else:
        script = f"function kvctl; {kvctl} $argv; end; kvctl completion fish | source; complete -C {shlex.quote(line)}"
    done = subprocess.run(
        [shell, "-c", script], env=ENVIRONMENT | {"KVCTL_ADDR": daemon.addr}, capture_output=True, timeout=PATIENCE,
        check=True,
    )  # fmt: skip
    assert done.stderr == b""
    return {offered.split("\t")[0] for offered in done.stdout.decode().splitlines()} - {""}


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_words_are_completed(shared_daemon: Daemon, shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    for key in ("shell/one", "shell/two", "shell/tw$o:x"):
        printed(run("--addr", shared_daemon.addr, "set", key, "v"))
    assert complete(shell, "kvctl to", shared_daemon) == {"top", "touch"}
    assert complete(shell, "kvctl --timeout 5 wat", shared_daemon) == {"watch"}
    assert complete(shell, "kvctl watch --la", shared_daemon) == {"--latest"}
    # Of keys nothing is offered where the daemon does not answer within a second.
    wait_for("a key", lambda: complete(shell, "kvctl get shell/o", shared_daemon) == {"shell/one"})
    assert complete(shell, "kvctl help inc", shared_daemon) == {"incr"}
    assert complete(shell, "kvctl completion z", shared_daemon) == {"zsh"}
    if shell == "bash":
        assert complete(shell, "kvctl get 'shell/tw$o:", shared_daemon) == set()
        wait_for("keys", lambda: complete(shell, "kvctl get shell/t", shared_daemon) == {"shell/two", "shell/tw\\$o:x"})
        wait_for("a part of a key", lambda: complete(shell, "kvctl get shell/tw$o:", shared_daemon) == {"x"})
        assert complete(shell, "kvctl set k v --ttl ", shared_daemon) == set()


@pytest.mark.parametrize("before", ["", "'", '"', '"see ', "'see ", "$'", '"$(echo '])
def test_a_command_in_a_key_is_not_run_from_bash(shared_daemon: Daemon, tmp_path: Path, before: str) -> None:
    """Also where it stands within quotes: a key that is not printable was quoted for a place without any."""
    for end in ("", '"', "'", "\u0378", '\u0378"', "\u0378'"):
        printed(run("--addr", shared_daemon.addr, "set", f"odd/{end}$(touch${{IFS}}ran)`touch${{IFS}}ran`{end}", "v"))
    wait_for("all keys", lambda: len(complete("bash", "kvctl get odd/", shared_daemon)) == 6)
    line = f"kvctl set k {before}odd/"
    for offered in complete("bash", line, shared_daemon):
        entered = line.removesuffix("odd/") + offered
        for closing in ("", '"', "'", ')"'):
            subprocess.run(
                ["bash", "-c", f"kvctl() {{ :; }}; {entered}{closing}"], cwd=tmp_path, capture_output=True, check=False
            )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_scripts_are_in_their_languages(shell: str) -> None:
    text = printed(run("completion", shell))
    assert all(re.search(rf"\b{command}\b".encode(), text) for command in COMMANDS)
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=text, check=True, capture_output=True)


def test_another_shell_is_refused() -> None:
    result = run("completion", "csh")
    assert (result.returncode, result.stderr) == (
        2, b"kvctl: no such shell: 'csh': expected bash, zsh, fish\n",
    )  # fmt: skip
