"""What the programs in docs/examples say to those who use them wrongly: one line and a status, never a traceback."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import PATIENCE, ROOT, Daemon, needs, wait_for

pytestmark = pytest.mark.slow

EXAMPLES = ROOT / "docs" / "examples"
NOBODY = "127.0.0.1:1"


def begin(directory: Path, addr: str, name: str, *words: str) -> subprocess.Popen[str]:
    """Start an example."""
    program = [EXAMPLES / name] if name.endswith(".sh") else [sys.executable, EXAMPLES / name]
    return subprocess.Popen(
        [*program, *words], env=os.environ | {"KVCTL_ADDR": addr}, cwd=directory,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(directory: Path, addr: str, name: str, *words: str) -> tuple[int, str]:
    """Run an example to its end; its exit status, and what it said on standard error."""
    process = begin(directory, addr, name, *words)
    try:
        _, said = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    return process.returncode, said


@pytest.mark.parametrize(
    "words",
    [
        "lock.py", "lock.py lock/a", "lock.py lock/a 5", "lock.py lock/a soon true", "lock.py lock/a nan true",
        "lock.py lock/a -1 true", "work_queue.py", "exactly_once.py a b", "follow_config.py a b",
        "on_change.sh", "on_change.sh deploy/*", "on_change.sh deploy/* position",
    ],
)  # fmt: skip
def test_wrong_words_are_told_the_usage(words: str, daemon: Daemon, tmp_path: Path) -> None:
    name = words.split()[0]
    status, said = run(tmp_path, daemon.addr, *words.split())
    assert (status, said.count("\n")) == (2, 1), said
    assert said.startswith(f"usage: {name} ")


@pytest.mark.parametrize("name", ["lock/a b", "lock/a*", "lock/\n"])
def test_a_lock_whose_name_is_no_key_is_told_the_usage(name: str, daemon: Daemon, tmp_path: Path) -> None:
    status, said = run(tmp_path, daemon.addr, "lock.py", name, "5", "true")
    assert (status, said.count("\n")) == (2, 1), said
    assert said.startswith("usage: lock.py ")


@pytest.mark.parametrize(("command", "expected"), [("no-such-command", 127), ("/etc", 126)])
def test_a_command_that_cannot_be_run_sets_lock_and_job_free(
    command: str, expected: int, daemon: Daemon, tmp_path: Path
) -> None:
    with daemon.connect() as peer:
        peer.ask("SET queue/a text")
        for words in (["lock.py", "lock/a", "60"], ["work_queue.py"]):
            status, said = run(tmp_path, daemon.addr, *words, command)
            assert (status, said.count("\n")) == (expected, 1), said
            assert said.startswith(words[0].removesuffix(".py") + ": ")
            assert command in said
        counts = [peer.ask(f"COUNT {pattern}") for pattern in ("lock/*", "claim/*", "queue/*", "done/*")]
    assert counts == ["OK 0", "OK 0", "OK 1", "OK 0"]


def test_the_status_of_a_command_that_a_signal_ends_is_a_shells(daemon: Daemon, tmp_path: Path) -> None:
    assert run(tmp_path, daemon.addr, "lock.py", "lock/a", "60", "sh", "-c", "kill $$") == (128 + signal.SIGTERM, "")


@pytest.mark.parametrize("is_there_before", [True, False], ids=["in the copy", "as a change"])
def test_an_order_that_is_no_amount_is_skipped(is_there_before: bool, daemon: Daemon, tmp_path: Path) -> None:
    bad = ["SET orders/2 abc", f"SET orders/3 {10**30}"]
    with daemon.connect() as peer:
        for request in bad if is_there_before else []:
            peer.ask(request)
        counter = begin(tmp_path, daemon.addr, "exactly_once.py", daemon.addr)
        try:
            wait_for("the counting to begin", lambda: peer.ask("GET total") == "OK 0")
            for request in [*([] if is_there_before else bad), "SET orders/4 40", "SET orders/5 -2"]:
                peer.ask(request)
            wait_for("the sum", lambda: peer.ask("GET total") == "OK 38")
            counter.send_signal(signal.SIGINT)
            _, said = counter.communicate(timeout=PATIENCE)
        finally:
            counter.kill()
    assert re.findall(r"(orders/\d) is no amount; skipped\n", said) == ["orders/2", "orders/3"]
    assert (counter.returncode, said.count("\n")) == (130, 2), said


@pytest.mark.parametrize("name", ["exactly_once", "follow_config"])
def test_no_daemon_is_told_in_one_line(name: str, tmp_path: Path) -> None:
    status, said = run(tmp_path, NOBODY, f"{name}.py", NOBODY)
    assert (status, said.count("\n")) == (1, 1), said
    assert said.startswith(f"{name}: cannot reach kvd at {NOBODY}")


@pytest.mark.parametrize("name", ["exactly_once", "follow_config"])
def test_who_interrupts_is_told_nothing(name: str, daemon: Daemon, tmp_path: Path) -> None:
    process = begin(tmp_path, daemon.addr, f"{name}.py", daemon.addr)
    try:
        assert process.stdout
        assert process.stdout.readline()  # it follows
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert (process.returncode, said) == (130, "")


@pytest.mark.parametrize("is_there", [True, False])
def test_a_position_is_to_be_removed_only_if_it_is_there(is_there: bool, daemon: Daemon, tmp_path: Path) -> None:
    needs("nc")
    if is_there:
        (tmp_path / "position").write_text("1@00000000\n")
    status, said = run(tmp_path, daemon.addr, "on_change.sh", "*" if is_there else "a*b", "position", "true")
    assert (status, said.count("\n")) == (1, 1), said
    assert said.startswith("on_change: ERR ")
    assert ("remove position" in said) == is_there
