"""kvctl lock and elect: a command that runs while a lock is held, and never two of them."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from kvd.client.sync import connect
from tests.support.kvctl import ENVIRONMENT, PROGRAM, Result, complaint, run
from tests.support.line import Line
from tests.support.pauses import Pauses
from tests.support.processes import PATIENCE, Daemon, StartDaemon, wait_for

KVCTL = [sys.executable, str(PROGRAM)]
Process = subprocess.Popen[bytes]


@contextmanager
def locking(address: str, *words: str, command: str = "lock") -> Iterator[Process]:
    """A kvctl lock that does not outlive the test, nor does what it runs."""
    process = subprocess.Popen(
        [*KVCTL, "--addr", address, command, *words], bufsize=0, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=ENVIRONMENT, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.communicate()


def says(process: Process) -> bytes:
    assert process.stdout
    return process.stdout.readline()


def ended(process: Process) -> tuple[int, str]:
    _, said = process.communicate(timeout=PATIENCE)
    return process.returncode, said.decode()


def ctl(daemon: Daemon, *words: str) -> Result:
    return run("--addr", daemon.addr, *words)


def is_running(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def keys(daemon: Daemon, pattern: str) -> list[str]:
    with connect(daemon.addr) as kv:
        return list(kv.keys(pattern))


CHANCES = 3
"""Times that something is tried which a guard does in the last twentieth of the time to live: where the machine pauses
just then, the guard and the next holder go on at once.
"""
PAUSE = 0.05
"""Seconds of a pause that may do so: half of that twentieth.  Without one they never do."""
TELL = "echo $$ $KVD_LOCK_KEY $KVD_LOCK_REVISION; "


def test_the_command_gets_the_fence_and_nothing_is_left(shared_daemon: Daemon) -> None:
    result = ctl(shared_daemon, "lock", "job", "--", "sh", "-c", f"{TELL} {' '.join(KVCTL)} --version")
    assert (result.returncode, result.stderr) == (0, b"")
    _, key, revision = result.stdout.split()[:3]
    assert key == b"job/%016d" % int(revision)
    assert result.stdout.splitlines()[1].startswith(b"kvctl ")
    assert keys(shared_daemon, "job*") == []


@pytest.mark.parametrize(
    ("words", "status", "complains"),
    [
        (["job", "--", "sh", "-c", "exit 7"], 7, ""),
        (["job", "--", "sh", "-c", "kill -TERM $$"], 143, ""),
        (["job", "--", "false"], 1, ""),
        (["job", "--", "no-such-program"], 127, "no-such-program: there is no such command"),
        (["job", "--", "/etc/passwd"], 126, "/etc/passwd: cannot be run (Permission denied)"),
        (["job"], 125, "wrong arguments for lock"),
        (["job", "--frob", "--", "true"], 125, "unknown option '--frob'"),
        (["two words", "--", "true"], 125, "invalid key 'two words'"),
        (["job", "--ttl", "x", "--", "true"], 125, "invalid time 'x'"),
        (["job", "--ttl", "0", "--", "true"], 125, "invalid ttl 0"),
        (["job", "--ttl", "1e12", "--", "true"], 125, "invalid t"),
        (["job", "--addr", "127.0.0.1:1", "--", "true"], 125, "cannot reach kvd"),
    ],
)
def test_the_exit_status(shared_daemon: Daemon, words: list[str], status: int, complains: str) -> None:
    result = run("lock", *words, KVCTL_ADDR=shared_daemon.addr)
    assert result.returncode == status, result.stderr
    assert complains in result.stderr.decode()
    assert bool(complains) == bool(result.stderr)
    assert keys(shared_daemon, "job*") == []


def test_words_after_the_dashes_are_the_commands_own(shared_daemon: Daemon) -> None:
    result = ctl(shared_daemon, "lock", "job", "--ttl=5", "--", "echo", "--json", "-x", "--", "--ttl=3", "é")
    assert (result.returncode, result.stdout.decode()) == (0, "--json -x -- --ttl=3 é\n")


def test_they_come_in_the_order_in_which_they_asked(shared_daemon: Daemon) -> None:
    with locking(shared_daemon.addr, "job", "--", "sh", "-c", "echo has it; sleep 100") as first:
        assert says(first) == b"has it\n"
        assert "job was not to be had in 0.1 s" in complaint(
            ctl(shared_daemon, "lock", "job", "--wait=0.1", "--", "true"), 125
        )
        with locking(shared_daemon.addr, "job", "--", "echo", "second") as second:
            wait_for("the second", lambda: len(keys(shared_daemon, "job/*")) == 2)
            with locking(shared_daemon.addr, "job", "--", "echo", "third") as third:
                wait_for("the third", lambda: len(keys(shared_daemon, "job/*")) == 3)
                second.send_signal(signal.SIGTERM)  # it gives up, and leaves nothing in the way
                assert ended(second) == (-signal.SIGTERM, "")
                assert len(keys(shared_daemon, "job/*")) == 2
                first.send_signal(signal.SIGINT)
                assert ended(first) == (130, "")
                assert says(third) == b"third\n"
                assert ended(third) == (0, "")


def test_waiting_costs_no_polling(start_daemon: StartDaemon) -> None:
    daemon = start_daemon()
    with (
        locking(daemon.addr, "job", "--ttl=100", "--", "sh", "-c", "echo has it; sleep 100") as first,
        connect(daemon.addr) as kv,
    ):
        assert says(first) == b"has it\n"
        with locking(daemon.addr, "job", "--ttl=100", "--", "true"):
            wait_for("a watch", lambda: int(kv.info()["watchers"]) == 2)  # one of its own key, one of that before it

            def is_quiet() -> bool:
                before = int(kv.info()["requests"])
                time.sleep(1)
                return int(kv.info()["requests"]) - before == 1  # this question

            wait_for("a second in which nothing is asked", is_quiet)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT, signal.SIGQUIT])
def test_signals_are_passed_on(shared_daemon: Daemon, number: signal.Signals) -> None:
    script = "trap 'echo got it; exit 9' TERM HUP USR1 INT QUIT; echo ready; while :; do sleep 0.01; done"
    with locking(shared_daemon.addr, "job", "--", "sh", "-c", script) as process:
        assert says(process) == b"ready\n"
        process.send_signal(number)
        assert says(process) == b"got it\n"
        assert ended(process)[0] == 9


def test_a_lock_whose_key_is_deleted_is_lost_at_once(shared_daemon: Daemon) -> None:
    with locking(shared_daemon.addr, "job", "--ttl=100", "--", "sh", "-c", f"{TELL} sleep 100") as process:
        pid, key, _ = says(process).split()
        with connect(shared_daemon.addr) as kv:
            wait_for("its watch", lambda: int(kv.info()["watchers"]) == 1)
            kv.delete(key.decode())
        status, said = ended(process)
    assert status == 124
    assert said == f"kvctl: lost job: {key.decode()} is gone or another's\n"
    assert not is_running(int(pid))


@pytest.mark.slow
def test_what_ignores_sigterm_is_killed(start_daemon: StartDaemon) -> None:
    daemon = start_daemon()
    with locking(
        daemon.addr, "job", "--ttl=2", "--", "sh", "-c", f"trap '' TERM; {TELL} while :; do sleep 1; done"
    ) as process:
        pid = int(says(process).split()[0])
        daemon.kill(signal.SIGSTOP)
        try:
            status, said = ended(process)
        finally:
            daemon.kill(signal.SIGCONT)
    assert status == 124
    assert "could not be renewed" in said
    assert not is_running(pid)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_command_ends_when_kvctl_is_killed_or_stopped(shared_daemon: Daemon, number: signal.Signals) -> None:
    """Before another one has the lock; and nothing stays but for the time to live."""

    def ends_in_time() -> bool:
        with locking(shared_daemon.addr, "job", "--ttl=2", "--", "sh", "-c", f"{TELL} sleep 100 & wait") as process:
            pid = int(says(process).split()[0])
            try:
                child = wait_for_child(pid)
            except psutil.NoSuchProcess:  # the lock was lost before, by a pause
                return False
            with Pauses() as pauses:
                process.send_signal(number)
                assert ctl(shared_daemon, "lock", "job", "--", "true").returncode == 0
                is_over = not (is_running(pid) or is_running(child))
        assert is_over or pauses.longest > PAUSE
        assert keys(shared_daemon, "job*") == []
        return is_over

    assert any(ends_in_time() for _ in range(CHANCES))


@pytest.mark.parametrize("chance", range(3))
def test_a_command_that_kills_kvctl_as_it_begins_is_ended(shared_daemon: Daemon, chance: int) -> None:
    with locking(
        shared_daemon.addr, f"early/{chance}", "--ttl=2", "--", "sh", "-c", "echo $$; kill -9 $PPID; exec sleep 100"
    ) as process:
        pid = int(says(process))
        wait_for("its end", lambda: not is_running(pid))


def wait_for_child(pid: int) -> int:
    wait_for("its child", lambda: psutil.Process(pid).children())
    return int(psutil.Process(pid).children()[0].pid)


def test_an_old_fence_writes_nothing(shared_daemon: Daemon) -> None:
    script = f'{TELL} read line; printf "CHECK $KVD_LOCK_KEY if=$KVD_LOCK_REVISION\nSET guarded $$\n" | "$@"'
    kvctl = [*KVCTL, "--addr", shared_daemon.addr, "txn"]
    reading, writing = os.pipe()
    with connect(shared_daemon.addr) as kv:
        assert ctl(shared_daemon, "lock", "job", "--", "sh", "-c", script, "sh", *kvctl).returncode == 0
        assert kv.get("guarded") is not None
        kv.delete("guarded")
        process = subprocess.Popen(
            ["sh", "-c", script, "sh", *kvctl], stdin=reading, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=ENVIRONMENT | {"KVD_LOCK_KEY": "job/0000000000000001", "KVD_LOCK_REVISION": "1"},
        )  # fmt: skip
        os.write(writing, b"\n")
        out, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 1
        assert out.splitlines()[1].startswith(b"CONFLICT 0 job/")
        assert kv.get("guarded") is None
    os.close(reading)
    os.close(writing)


def test_it_goes_on_through_a_restart_of_the_daemon(start_daemon: StartDaemon) -> None:
    daemon = start_daemon()
    with locking(daemon.addr, "job", "--ttl=100", "--", "sh", "-c", f"{TELL} sleep 100") as process:
        pid = int(says(process).split()[0])
        daemon.kill()
        daemon.wait()
        daemon.start()
        assert ctl(daemon, "lock", "job", "--wait=0.5", "--", "true").returncode == 125
        os.kill(pid, 0)


def test_everybody_can_find_who_leads(shared_daemon: Daemon) -> None:
    with locking(shared_daemon.addr, "primary", "10.0.0.1:5432", "--", "sh", "-c", f"{TELL} sleep 100",
                 command="elect") as leader:  # fmt: skip
        _, key, revision = says(leader).decode().split()
        with locking(shared_daemon.addr, "primary", "10.0.0.2:5432", "--", "sh", "-c", f"{TELL} sleep 100",
                     command="elect") as other:  # fmt: skip
            wait_for("the other one", lambda: len(keys(shared_daemon, "primary/*")) == 2)
            first = ctl(shared_daemon, "list", "primary/*", "--limit=1").stdout.decode()
            assert first == f"PAIR {revision} {key} 10.0.0.1:5432\n"
            leader.terminate()
            leader.wait(PATIENCE)
            assert int(says(other).split()[2]) > int(revision)


# On a terminal


@pytest.mark.slow
def test_on_a_terminal_the_command_has_it(shared_daemon: Daemon) -> None:
    """It reads from it, and Ctrl-C goes to it, once."""
    script = "trap 'echo interrupted; exit 5' INT; read line; echo got $line; while :; do sleep 0.01; done"
    pid, terminal = os.forkpty()
    if pid == 0:
        words = [*KVCTL, "--addr", shared_daemon.addr, "lock", "job", "--", "sh", "-c", script]
        os.execve(sys.executable, words, ENVIRONMENT)  # noqa: S606
    shown = b""

    def shows(text: bytes) -> bool:
        nonlocal shown
        with suppress(OSError):
            shown += os.read(terminal, 1 << 12)
        return text in shown

    wait_for("its lock", lambda: keys(shared_daemon, "job/*"))
    os.write(terminal, b"hello\n")
    wait_for("what it has read", lambda: shows(b"got hello"))
    os.write(terminal, b"\x03")
    wait_for("its end", lambda: shows(b"interrupted"))
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 5
    assert shown.count(b"interrupted") == 1


# Never two at once


WORK = """
import fcntl, os, random, sys, time
journal = os.open(sys.argv[1], os.O_RDWR | os.O_APPEND | os.O_CREAT)
alone = os.open(sys.argv[1] + ".lock", os.O_RDWR | os.O_CREAT)
fence = os.environ["KVD_LOCK_REVISION"]
try:
    fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    os.write(journal, f"TWO {fence}\\n".encode())
    fcntl.flock(alone, fcntl.LOCK_EX)
lasts = random.uniform(0.05, 0.4) if random.random() < 0.4 else 60
os.write(journal, f"{fence} {os.getppid()} {lasts}\\n".encode())
time.sleep(lasts)
"""
"""Says in a file that it runs, and whether another one does; most do not end by themselves."""


@pytest.mark.slow
def test_never_do_two_run_at_once_whatever_happens_to_holders(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """Holders are killed, stopped, and cut off; the next one comes after the time to live, and not before."""
    daemon = start_daemon()
    journal, program = tmp_path / "journal", tmp_path / "work.py"
    program.write_text(WORK)
    lines = [Line(daemon.port) for _ in range(3)]
    stopping = threading.Event()

    def compete(line: Line) -> None:
        while not stopping.is_set():
            with locking(line.address, "job", "--ttl=3", "--", sys.executable, str(program), str(journal)) as process:
                while process.poll() is None and not stopping.is_set():
                    time.sleep(0.02)

    def harm(kvctl: int, kind: str) -> Callable[[], object]:
        """Do something to the holder; return what makes it good again."""
        line = line_of(kvctl, lines)
        if kind == "cut" and line:
            line.cut()
            return line.mend
        signal_to(kvctl, signal.SIGKILL if kind == "kill" else signal.SIGSTOP)
        return lambda: signal_to(kvctl, signal.SIGCONT)

    def next_is_alone(kind: str) -> bool:
        wait_for("a holder that does not end by itself", lambda: "".join(holders(journal)[-1:]).endswith(" 60"))
        before, last = len(entries(journal)), holders(journal)[-1]
        with Pauses() as pauses:
            mend = harm(int(last.split()[1]), kind)
            wait_for("the next one", lambda: holders(journal)[-1] != last)
        mend()
        is_alone = not any(entry.startswith("TWO") for entry in entries(journal)[before:])
        assert is_alone or pauses.longest > PAUSE, entries(journal)
        return is_alone

    competing = [threading.Thread(target=compete, args=[line]) for line in lines]
    for thread in competing:
        thread.start()
    try:
        for kind in ("kill", "cut", "stop", "kill", "cut"):
            assert any(next_is_alone(kind) for _ in range(CHANCES)), entries(journal)
    finally:
        stopping.set()
        for line in lines:
            line.mend()
        for thread in competing:
            thread.join()
        for line in lines:
            line.close()
    fences = [int(entry.split()[0]) for entry in holders(journal)]
    assert fences == sorted(set(fences))


def entries(journal: Path) -> list[str]:
    return journal.read_text().splitlines() if journal.exists() else []


def holders(journal: Path) -> list[str]:
    return [entry for entry in entries(journal) if not entry.startswith("TWO")]


def signal_to(kvctl: int, number: int) -> None:
    with suppress(ProcessLookupError):  # it has come to its end meanwhile
        os.kill(kvctl, number)


def line_of(kvctl: int, lines: list[Line]) -> Line | None:
    """The line that a kvctl uses."""
    with suppress(psutil.NoSuchProcess):
        words = " ".join(psutil.Process(kvctl).cmdline())
        return next((line for line in lines if re.search(rf"{line.address}\b", words)), None)
    return None
