"""The programs in docs/examples, run as they are, against a real daemon."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.processes import PATIENCE, ROOT, Daemon, StartDaemon, needs, wait_for

pytestmark = pytest.mark.slow

EXAMPLES = ROOT / "docs" / "examples"
LONGEST = 60
"""Lines of an example are fewer."""

Process = subprocess.Popen[bytes]
Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts an example that asks a daemon; none outlives the test."""
    started: list[Process] = []

    def start(daemon: Daemon, name: str, *words: str, **variables: str) -> Process:
        program = [EXAMPLES / name] if name.endswith(".sh") else [sys.executable, EXAMPLES / name]
        process = subprocess.Popen(
            [*program, *words], env=os.environ | {"KVCTL_ADDR": daemon.addr} | variables,
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ask(daemon: Daemon, *requests: str) -> list[str]:
    """The reply to each request, of one line."""
    with daemon.connect() as peer:
        return [peer.ask(request) for request in requests]


def line(process: Process) -> str:
    """The next line that a program prints."""
    assert process.stdout
    return process.stdout.readline().decode().rstrip("\n")


def ended(process: Process) -> tuple[int, str]:
    """Wait for a program's end; its exit status, and what it said on standard error."""
    _, said = process.communicate(timeout=PATIENCE)
    return process.returncode, said.decode()


def waits_for(daemon: Daemon, request: str, reply: str) -> None:
    """Until the reply to a request is this one."""
    wait_for(f"{request} to be {reply}", lambda: ask(daemon, request) == [reply])


def test_they_are_short_and_listed() -> None:
    programs = [path for path in EXAMPLES.iterdir() if path.suffix in (".py", ".sh")]
    assert [path.name for path in programs if len(path.read_text().splitlines()) >= LONGEST] == []
    listed = re.findall(r"^\| \[(.*?)\]\((.*?)\)", (EXAMPLES / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted((path.name, path.name) for path in programs)
    assert "(docs/examples/)" in (ROOT / "README.md").read_text()


# follow_config.py


def test_the_configuration_is_followed_also_over_a_restart(start_daemon: StartDaemon, start: Start) -> None:
    daemon = start_daemon()
    ask(daemon, "SET config/colour red", "SET other/key 1")
    follower = start(daemon, "follow_config.py", daemon.addr)
    assert json.loads(line(follower)) == {"colour": "red"}
    ask(daemon, "SET config/size 3", "DEL config/colour", "SET other/key 2", "PUT config/soon ttl=0.1 = over")
    shown = [json.loads(line(follower)) for _ in range(4)]
    assert shown == [{"colour": "red", "size": "3"}, {"size": "3"}, {"size": "3", "soon": "over"}, {"size": "3"}]
    daemon.stop()
    daemon.start()
    ask(daemon, "SET config/size 4")
    assert json.loads(line(follower)) == {"size": "4"}


# exactly_once.py


@pytest.mark.parametrize("at_once", [1, 2])
def test_each_order_is_counted_once_whatever_is_killed(at_once: int, daemon: Daemon, start: Start) -> None:
    amounts = [number * number for number in range(200)]
    counters = [start(daemon, "exactly_once.py", daemon.addr) for _ in range(at_once)]
    for turn in range(4):
        part = amounts[turn * 50 : turn * 50 + 50]
        before = ask(daemon, "GET total")
        with daemon.connect() as peer:
            peer.send("".join(f"PUT orders/* = {amount}\n" for amount in part))
            wait_for("the orders to be counted", lambda before=before: ask(daemon, "GET total") != before)
            counters[0].kill()
            counters[0].communicate()
            assert all(reply.startswith("OK ") for reply in peer.lines(len(part)))
        counters[0] = start(daemon, "exactly_once.py", daemon.addr)
    waits_for(daemon, "GET total", f"OK {sum(amounts)}")
    for counter in counters:
        # Others may have counted all while Python still loads the modules of the last one, of which some are of errors.
        wait_for("it to be connected", psutil.Process(counter.pid).net_connections)
        counter.send_signal(signal.SIGINT)
        status, said = ended(counter)
        assert (status, "Error" in said) == (130, False), said
    assert ask(daemon, "GET total") == [f"OK {sum(amounts)}"]


# lock.py


def test_one_command_at_a_time_runs_under_a_lock(daemon: Daemon, start: Start) -> None:
    # mkdir fails if another has made the directory and not removed it yet.
    command = "mkdir inside && sleep 0.1 && rmdir inside && echo $LOCK_REVISION"
    holders = [start(daemon, "lock.py", "lock/a", "20", "sh", "-c", command) for _ in range(4)]
    revisions = {int(line(holder)) for holder in holders}
    assert [ended(holder) for holder in holders] == [(0, "")] * 4
    assert len(revisions) == 4
    assert ask(daemon, "COUNT lock/a*") == ["OK 0"]


def test_a_lock_is_waited_for_until_it_expires(daemon: Daemon, start: Start) -> None:
    ask(daemon, "PUT lock/a/* ttl=1 = one that died")
    waiting = start(daemon, "lock.py", "lock/a", "20", "sh", "-c", "echo mine; exit 7")
    assert line(waiting) == "mine"
    assert ended(waiting) == (7, "")


def test_a_lock_is_renewed(daemon: Daemon, start: Start, tmp_path: Path) -> None:
    with daemon.connect() as peer:
        assert peer.ask("WATCH lock/a/*").startswith("OK ")
        # It is renewed after a third of the time; a busy machine may be late for as long again.
        holder = start(daemon, "lock.py", "lock/a", "6", "sh", "-c", "until [ -e over ]; do sleep 0.02; done")
        _, _, verb, key, *_ = peer.line().split()
        assert verb == "SET"
        lefts = [0.0]

        def is_renewed() -> bool:
            lefts.append(float(ask(daemon, f"TTL {key}")[0].removeprefix("OK ")))
            return 0 < lefts[-2] < lefts[-1]

        wait_for("a renewal", is_renewed)
        (tmp_path / "over").touch()
        assert ended(holder) == (0, "")
        assert peer.line().split()[2] == "DEL"


def hold(daemon: Daemon, start: Start, ttl: int) -> Process:
    """Run a command for ever under a lock.  It has the same standard output, which ends only when both are gone."""
    holder = start(daemon, "lock.py", "lock/a", f"{ttl}", "sh", "-c", "echo mine; exec sleep 600")
    assert line(holder) == "mine"
    return holder


def test_a_command_is_killed_when_somebody_breaks_its_lock(daemon: Daemon, start: Start) -> None:
    holder = hold(daemon, start, 6)  # what is broken is noticed at a renewal, after a third
    assert ask(daemon, "DEL lock/a/*")[0].endswith(" 1")
    status, said = ended(holder)
    assert status == 1
    assert re.fullmatch(r"lock: lock/a/0{15}2 is gone or another's\n", said)


def test_a_command_is_killed_when_its_lock_cannot_be_renewed(daemon: Daemon, start: Start) -> None:
    holder = hold(daemon, start, 3)
    daemon.kill(signal.SIGSTOP)
    try:
        status, said = ended(holder)
        assert status == 1
        assert "could not be renewed" in said
    finally:
        daemon.kill(signal.SIGCONT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_is_killed_with_the_holder_of_its_lock(number: int, daemon: Daemon, start: Start) -> None:
    holder = hold(daemon, start, 60)
    holder.send_signal(number)
    assert ended(holder) == (1, "lock: stopped\n")


# work_queue.py


def test_jobs_are_shared_and_each_is_done_once(daemon: Daemon, start: Start, tmp_path: Path) -> None:
    jobs = range(20)
    ask(daemon, *(f"SET queue/{number} {'x' * number}" for number in jobs if number % 2))
    command = ["sh", "-c", "echo >> starts; wc -c"]
    for _ in range(3):
        start(daemon, "work_queue.py", *command)
    ask(daemon, *(f"SET queue/{number} {'x' * number}" for number in jobs if not number % 2))
    waits_for(daemon, "COUNT queue/*", "OK 0")
    waits_for(daemon, "COUNT claim/*", "OK 0")
    replies = ask(daemon, *(f"GET done/{number}" for number in jobs))
    assert [reply.startswith("OK64 ") for reply in replies] == [True] * len(jobs)  # wc ends its line
    assert len((tmp_path / "starts").read_text().splitlines()) == len(jobs)


def test_a_job_whose_worker_failed_or_died_is_taken_again(daemon: Daemon, start: Start) -> None:
    ask(daemon, "SET queue/a text", "PUT claim/a ttl=1 = one that died", "SET queue/b text")
    start(daemon, "work_queue.py", "sh", "-c", "[ -e tried ] && cat || { touch tried; false; }", LEASE="2")
    waits_for(daemon, "COUNT queue/*", "OK 0")
    assert ask(daemon, "GET done/a", "GET done/b") == ["OK text", "OK text"]


# on_change.sh


def test_a_command_is_run_for_each_change_and_none_is_missed(
    start_daemon: StartDaemon, start: Start, tmp_path: Path
) -> None:
    needs("nc")
    daemon = start_daemon()
    position = tmp_path / "position"
    words = ["on_change.sh", "deploy/*", str(position), "sh", "-c", 'printf "%s\\n" "$1 $2 <$(od -An -tx1)>"', "sh"]
    script = start(daemon, *words)
    wait_for("the watch to begin", position.exists)
    ask(daemon, "SET deploy/a  two  words ", "SET other 1", "PUT deploy/b base64 = AAo=", "DEL deploy/a")
    shown = [line(script) for _ in range(3)]
    assert shown == [
        "SET deploy/a < 20 74 77 6f 20 20 77 6f 72 64 73 20>",
        "SET deploy/b < 00 0a>",
        "DEL deploy/a <>",
    ]
    wait_for("the position of the last one", lambda: position.read_text().startswith("4@"))
    daemon.stop()
    status, said = ended(script)
    assert status == 1
    assert "start again" in said
    daemon.start()
    ask(daemon, "SET deploy/c while away", "PUT deploy/d ttl=0.05 = short")
    script = start(daemon, *words)
    assert [line(script).partition(" <")[0] for _ in range(3)] == ["SET deploy/c", "SET deploy/d", "EXPIRE deploy/d"]


def test_a_change_whose_command_failed_comes_again(daemon: Daemon, start: Start, tmp_path: Path) -> None:
    needs("nc")
    position = tmp_path / "position"
    words = ["on_change.sh", "deploy/*", str(position), "sh", "-c", 'echo "$2"; [ -e ready ]', "sh"]
    script = start(daemon, *words)
    wait_for("the watch to begin", position.exists)
    ask(daemon, "SET deploy/a 1", "SET deploy/b 2")
    assert line(script) == "deploy/a"
    assert ended(script)[0] == 1
    (tmp_path / "ready").touch()
    script = start(daemon, *words)
    assert [line(script), line(script)] == ["deploy/a", "deploy/b"]


def test_a_position_of_another_store_is_named(daemon: Daemon, start: Start, tmp_path: Path) -> None:
    needs("nc")
    (tmp_path / "position").write_text("1@00000000\n")
    status, said = ended(start(daemon, "on_change.sh", "*", "position", "true"))
    assert status == 1
    assert said.startswith("on_change: ERR store ")
