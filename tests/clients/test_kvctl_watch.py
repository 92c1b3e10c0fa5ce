"""kvctl watch: through restarts, from where it was, with a command for each change, the newest change of each key."""

import base64
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.kvctl import ENVIRONMENT, PROGRAM, Result, complaint, on_a_terminal, printed, run, watching
from tests.support.processes import Daemon, StartDaemon, wait_for
from tests.support.watches import changes, sets, watch, write

MANY = 200_000
"""Changes, more than a daemon keeps of its history."""


def forget_history(daemon: Daemon) -> None:
    """Write one by one, for what is kept is whole batches, until nothing of before is."""
    with socket.create_connection(("127.0.0.1", daemon.port)) as connection, connection.makefile("rb") as replies:

        def ask(line: bytes) -> list[bytes]:
            connection.sendall(line + b"\n")
            return list(iter(replies.readline, b"OK\n")) if line == b"INFO" else [replies.readline()]

        def oldest() -> int:
            return next(int(line.split()[2]) for line in ask(b"INFO") if line.startswith(b"INFO oldest "))

        before = int(ask(b"SET k begin")[0].split()[1])
        for number in range(300):
            ask(b"SET k %d" % number)
        wait_for("the trim", lambda: oldest() > before)


def store_of(daemon: Daemon) -> str:
    return str(json.loads(printed(run("--addr", daemon.addr, "info", "--json")))["store"])


def test_it_goes_on_through_restarts_and_kills(daemon: Daemon) -> None:
    with watching(daemon.addr, "k/*") as follower:
        write(daemon, sets("k/a", 1, 2) + sets("other", 1))
        assert [follower.line().split(b" ", 1)[1] for _ in range(2)] == [b"SET k/a 1\n", b"SET k/a 2\n"]
        daemon.kill()
        daemon.wait()
        said = follower.says()
        assert said.startswith(b"kvctl: lost kvd at ")
        assert said.endswith(b"; trying again\n")
        daemon.start()
        write(daemon, sets("k/a", 3))
        assert follower.line().endswith(b" SET k/a 3\n")
        daemon.stop()
        daemon.start()
        write(daemon, sets("k/a", 4))
        assert follower.line().endswith(b" SET k/a 4\n")
        assert follower.interrupt()[0] == 0


def test_state_goes_on_where_it_was_and_since_begins_in_the_past(shared_daemon: Daemon, tmp_path: Path) -> None:
    state = tmp_path / "position"
    begin = str(write(shared_daemon, sets("st/a", 0)))
    words = ["st/*", "--state", str(state), "--since", begin]
    write(shared_daemon, sets("st/a", *range(1, 8)))
    assert changes(watch(shared_daemon, *words, "--count", "3")) == ["SET st/a 1", "SET st/a 2", "SET st/a 3"]
    assert state.read_text() == f"{int(begin) + 3}@{store_of(shared_daemon)}\n"
    with watching(shared_daemon.addr, *words) as follower:
        assert follower.line().endswith(b" SET st/a 4\n")
        assert [follower.line() for _ in range(3)][-1].endswith(b" SET st/a 7\n")
        follower.process.send_signal(signal.SIGTERM)
        assert follower.end() == (143, b"")
    write(shared_daemon, sets("st/a", 8))
    assert changes(watch(shared_daemon, *words, "--count", "1")) == ["SET st/a 8"]
    result = watch(shared_daemon, *words, "--for", "0.05")
    assert (result.returncode, result.stdout) == (8, b"")
    assert result.stderr.startswith(b"kvctl: watching from ")


@pytest.mark.parametrize("more", [[], ["--latest"]])
def test_a_state_is_kept_before_the_first_change(shared_daemon: Daemon, tmp_path: Path, more: list[str]) -> None:
    words = ["first/*", "--state", str(tmp_path / "position"), *more]
    assert watch(shared_daemon, *words, "--for", "0.05").returncode == 8
    write(shared_daemon, sets("first/a", 1))
    assert changes(watch(shared_daemon, *words, "--count", "1")) == ["SET first/a 1"]


def test_a_state_that_cannot_be_used_is_explained(shared_daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("hello\n")
    bad = complaint(watch(shared_daemon, "--state", str(tmp_path / "bad")), 2)
    assert bad.startswith("kvctl: --state: invalid position in ")
    assert bad.endswith("; remove that file to begin anew\n")
    result = watch(shared_daemon, "--state", str(tmp_path / "nowhere" / "file"))
    assert result.returncode == 5
    assert b"--state: cannot write" in result.stderr
    assert "cannot read" in complaint(watch(shared_daemon, "--state", str(tmp_path)), 5)


def test_a_state_in_a_directory_that_is_gone_is_explained(shared_daemon: Daemon, tmp_path: Path) -> None:
    gone = 'cd "$1" && rmdir "$1" && shift && exec "$@"'
    words = [sys.executable, str(PROGRAM), "--addr", shared_daemon.addr, "watch", "--state", "position"]
    done = subprocess.run(
        ["sh", "-c", gone, "sh", str(tmp_path), *words], env=ENVIRONMENT, capture_output=True, timeout=60, check=False
    )
    assert complaint(done, 5).startswith("kvctl: --state: cannot read position (")


def test_a_copy_and_the_changes_after_it(shared_daemon: Daemon) -> None:
    write(shared_daemon, [*sets("cp/a", 1), *sets("cp/b", "two words"), b"PUT cp/c base64 = AAo="])
    write(shared_daemon, [b"DEL cp/a", *sets("cp/b", 3)])
    with watching(shared_daemon.addr, "cp/*", "--sync") as follower:
        lines = [follower.line().decode() for _ in range(4)]
        position = lines[-1].split()[0]
        last = int(position.partition("@")[0])
        assert lines == ["COPY new\n", f"PAIR {last} cp/b 3\n", f"PAIR64 {last - 2} cp/c AAo=\n",
                         f"{position} COPIED 2\n"]  # fmt: skip
        assert follower.first == f"kvctl: watching from {position}: cp/*\n".encode()
        write(shared_daemon, [b"DEL cp/c"])
        assert follower.line() == f"{last + 1}@{store_of(shared_daemon)} DEL cp/c\n".encode()
    result = watch(shared_daemon, "cp/*", "--sync", "--json", "--for", "0.05")
    first, pair, copied = map(json.loads, result.stdout.splitlines())
    assert first == {"verb": "COPY", "reason": "new"}
    assert pair == {"verb": "PAIR", "key": "cp/b", "revision": last, "value": "3"}
    assert copied.items() >= {"verb": "COPIED", "count": 1}.items()


def test_what_is_shown_can_be_chosen(shared_daemon: Daemon) -> None:
    begin = str(write(shared_daemon, sets("ch/a", 0)))
    write(shared_daemon, [*sets("ch/a", 1), b"DEL ch/a", *sets("ch/b", 2)])
    since = ["ch/*", "--since", begin]
    assert changes(watch(shared_daemon, *since, "--count", "2", "--keys")) == ["SET ch/a", "DEL ch/a"]
    assert changes(watch(shared_daemon, *since, "--count", "2", "--only", "set")) == ["SET ch/a 1", "SET ch/b 2"]
    assert changes(watch(shared_daemon, *since, "--count", "1", "--only", "expire,del")) == ["DEL ch/a"]
    assert "invalid kind 'SETS'" in complaint(watch(shared_daemon, "--only", "sets"), 2)
    assert "invalid position 'x'" in complaint(watch(shared_daemon, "--since", "x"), 2)


def test_where_history_is_gone_it_says_so_and_with_sync_begins_anew(start_daemon: StartDaemon, tmp_path: Path) -> None:
    daemon = start_daemon("--history-changes", "100")
    state = tmp_path / "position"
    words = ["k*", "--state", str(state)]
    assert watch(daemon, *words, "--for", "0.05").returncode == 8
    old = state.read_text()
    forget_history(daemon)
    assert "--sync it begins from the present" in complaint(watch(daemon, *words), 4)
    assert state.read_text() == old
    result = watch(daemon, *words, "--sync", "--for", "0.2")
    assert result.returncode == 8
    assert b"are no longer kept (compacted): beginning from the present" in result.stderr
    assert result.stdout.splitlines()[0] == b"COPY compacted"
    write(daemon, sets("k", "last"))
    assert changes(watch(daemon, *words, "--count", "1")) == ["SET k last"]
    other = f"{old.partition('@')[0]}@nowhere"
    assert "(store)" in complaint(watch(daemon, "--since", other), 4)


def test_of_a_history_that_was_replaced_it_says_what_to_do(daemon: Daemon, tmp_path: Path) -> None:
    with watching(daemon.addr, "k") as follower:
        daemon.stop()
        daemon.data = tmp_path / "another"
        daemon.start()
        while (said := follower.says()).endswith(b"trying again\n"):
            pass
        assert said.endswith(b"are not to be had (store): with --sync it begins from the present\n")


SHOW = 'printf "%s " "$KVD_POSITION" "$KVD_REVISION" "$KVD_OP" "$KVD_KEY"; od -An -tx1 | tr -d "\\n"; echo'


def test_a_command_is_run_for_each_change(shared_daemon: Daemon) -> None:
    begin = write(shared_daemon, sets("ex/ü", 0))
    write(shared_daemon, [b"PUT ex/\xc3\xbc base64 = AAr/", b"DEL ex/\xc3\xbc"])
    done = printed_by(watch(shared_daemon, "ex/*", "--since", str(begin), "--exec", SHOW, "--count", "2"))
    store = store_of(shared_daemon)
    assert done == [f"{begin + 1}@{store} {begin + 1} SET ex/ü  00 0a ff", f"{begin + 2}@{store} {begin + 2} DEL ex/ü"]
    result = watch(shared_daemon, "ex/*", "--since", str(begin), "--sync", "--exec", "cat", "--json")
    assert "--exec prints nothing" in complaint(result, 2)


def printed_by(result: Result) -> list[str]:
    assert result.returncode == 0, result.stderr
    return [line.rstrip() for line in result.stdout.decode().splitlines()]


def test_of_a_command_that_fails_the_position_is_not_kept(shared_daemon: Daemon, tmp_path: Path) -> None:
    state, fails = tmp_path / "position", tmp_path / "fails"
    begin = write(shared_daemon, sets("fail/a", 0))
    write(shared_daemon, sets("fail/a", *range(1, 5)))
    fails.touch()
    command = f'read v; echo "$v"; test "$v" != 3 || ! test -e {fails} || exit 7'
    words = ["fail/*", "--since", str(begin), "--state", str(state), "--exec", command]
    result = watch(shared_daemon, *words)
    assert (result.returncode, result.stdout) == (7, b"1\n2\n3\n")
    assert result.stderr.splitlines()[-1].startswith(b"kvctl: --exec: the command ended with status 7 at ")
    assert state.read_text() == f"{begin + 2}@{store_of(shared_daemon)}\n"
    fails.unlink()
    assert printed_by(watch(shared_daemon, *words, "--count", "2")) == ["3", "4"]
    assert watch(shared_daemon, "fail/*", "--since", str(begin), "--exec", "kill -9 $$").returncode == 137


@pytest.mark.parametrize("form", ["{}", "sh -c {}; true"])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_command_does_not_outlive_it(shared_daemon: Daemon, tmp_path: Path, how: signal.Signals, form: str) -> None:
    state, begun, ended = (tmp_path / name for name in ("position", "begun", "ended"))
    begin = write(shared_daemon, sets("long/a", 0))
    write(shared_daemon, sets("long/a", 1))
    loop = f"trap 'sleep 0.3; touch {ended}; exit 1' TERM; touch {begun}; while :; do sleep 0.01; done"
    command = loop if form == "{}" else form.format(shlex.quote(loop))
    words = ["long/*", "--since", str(begin), "--state", str(state), "--exec", command]
    with watching(shared_daemon.addr, *words) as follower:
        wait_for("the command to run", begun.exists)
        follower.process.send_signal(how)
        assert follower.end()[0] == (143 if how == signal.SIGTERM else 0)
        assert ended.exists()
    assert state.read_text().startswith(f"{begin}@")  # the next one begins there again


@pytest.mark.parametrize("how", ["TERM", "INT"])
def test_a_command_that_ends_kvctl_as_it_begins_is_ended_in_order(
    shared_daemon: Daemon, tmp_path: Path, how: str
) -> None:
    ended = tmp_path / "ended"
    begin = write(shared_daemon, sets("soon/a", 0))
    write(shared_daemon, sets("soon/a", 1))
    command = f"trap 'touch {ended}; exit 1' TERM; kill -{how} $PPID; while :; do sleep 0.01; done"
    watch(shared_daemon, "soon/*", "--since", str(begin), "--exec", command)
    assert ended.exists()


@pytest.mark.slow
def test_a_slow_command_gets_the_newest_change_of_each_key(shared_daemon: Daemon, tmp_path: Path) -> None:
    """It waits in the first change until all others are made, twice as many as the daemon keeps."""
    go, state = tmp_path / "go", tmp_path / "position"
    os.mkfifo(go)
    command = f'printf "%s %s\\n" "$KVD_KEY" "$(cat)"; test "$KVD_KEY" != new/wait || read x < {go}'
    with watching(shared_daemon.addr, "new/*", "--latest", "--state", str(state), "--exec", command) as follower:
        first = write(shared_daemon, sets("new/wait", 0))
        assert follower.line() == b"new/wait 0\n"
        last = write(shared_daemon, [line for n in range(MANY) for line in sets(f"new/{n % 2}", n)])
        assert first + MANY == last
        assert int(state.read_text().partition("@")[0]) == first - 1
        go.write_text("\n")
        true = {b"new/0": MANY - 2, b"new/1": MANY - 1}
        run_with = 0
        while true:
            key, value = follower.line().split()
            run_with += 1
            if true.get(key) == int(value):
                del true[key]
        assert run_with < MANY / 100
        wait_for("the position to be kept", lambda: state.read_text().startswith(f"{last}@"))
        follower.process.send_signal(signal.SIGTERM)
        assert follower.end()[0] == 143


def test_latest_ends_on_the_truth_where_history_is_gone(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--history-changes", "100")
    write(daemon, [*sets("k/gone", 1), *sets("k/stays", 1)])
    with watching(daemon.addr, "k/*", "--latest", "--since", "0") as follower:
        assert [follower.line().split()[2] for _ in range(2)] == [b"k/gone", b"k/stays"]
        follower.process.send_signal(signal.SIGSTOP)
        write(daemon, [line for n in range(20_000) for line in sets(f"k/{n % 3}", f"{n:01000}")])
        write(daemon, [b"DEL k/gone"])
        forget_history(daemon)
        follower.process.send_signal(signal.SIGCONT)
        newest: dict[bytes, bytes] = {}
        while b"k/gone" not in newest:
            _, verb, key, *value = follower.line().split()
            newest[key] = value[0].lstrip(b"0") if value else verb
        assert newest == {b"k/gone": b"DEL", b"k/0": b"19998", b"k/1": b"19999", b"k/2": b"19997"}
        write(daemon, sets("k/stays", 2))
        assert follower.line().endswith(b" SET k/stays 2\n")


def test_a_reader_that_is_slow_gets_the_newest_change_of_each_key(shared_daemon: Daemon) -> None:
    """Its pipe is full meanwhile."""
    with watching(shared_daemon.addr, "slow/*", "--latest") as follower:

        def are_left_out(last: int) -> bool:
            """Whether most changes are; not where kvctl itself was held up until the pipe was read."""
            write(shared_daemon, [line for n in range(50_000) for line in sets("slow/a", f"{n + last:0100}")])
            lines = 1
            while not follower.line().endswith(b"%d\n" % (last + 49_999)):
                lines += 1
            return lines < 25_000

        assert any(are_left_out(100_000 * number) for number in range(1, 4))


def test_columns_and_colours_on_a_terminal_and_nothing_that_acts_on_it(shared_daemon: Daemon) -> None:
    begin = write(shared_daemon, sets("tty/a", 0))
    evil = "\x1b[2J\u202e[bold]x".encode()
    write(shared_daemon, ["PUT tty/\u202eb base64 = ".encode() + base64.b64encode(evil), *sets("tty/longer", 1)])
    words = ["--addr", shared_daemon.addr, "watch", "tty/*", "--since", str(begin), "--count", "2"]
    shown = on_a_terminal(*words, TERM="xterm-256color")
    assert b"\x1b[32mSET" in shown
    plain = re.sub(rb"\x1b\[[0-9;]*m", b"", shown).decode().splitlines()
    assert [line.partition("  SET     ")[2] for line in plain] == [
        r"tty/\u202eb  \x1b[2J\u202e[bold]x",
        "tty/longer   1",
    ]
    assert b"\x1b[3" not in on_a_terminal(*words, TERM="xterm-256color", NO_COLOR="1")
    assert b"\x1b" not in on_a_terminal(*words, TERM="dumb")
