"""Reported of kvctl's words: `watch cfg/*` unquoted watches the names of files; `--addr=` takes the default daemon;
`yes | kvctl set k -` takes all memory; `--ttl 10m` is "not a number"; `mirror` advises `--addr`, and takes it for
nothing; `elect e -- cmd arg` takes `cmd` for the value, and `lock n git log -- file` runs it without the `--`.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.kvctl import ENVIRONMENT, PATIENCE, PROGRAM, Watching, complaint, printed, run, watching
from tests.support.ports import quiet_port
from tests.support.processes import Daemon, StartDaemon


def said(watch: Watching, daemon: Daemon, key: str) -> list[str]:
    """What the watch has said up to a change of this key, the first line without the position."""
    printed(run("--addr", daemon.addr, "set", key, "v"))
    assert watch.line().endswith(b" v\n")
    status, rest = watch.interrupt()
    assert status == 0
    return [watch.first.decode().partition(": ")[2].partition(": ")[2].rstrip("\n"), *rest.decode().splitlines()]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory in which the shell expands cfg/*."""
    (tmp_path / "cfg").mkdir()
    for name in "ab":
        (tmp_path / "cfg" / name).touch()
    return tmp_path


def test_a_watch_of_names_of_files_says_so(daemon: Daemon, files: Path) -> None:
    with watching(daemon.addr, "cfg/a", "cfg/b", cwd=files) as watch:
        assert said(watch, daemon, "cfg/b") == [
            "2 keys: cfg/a, cfg/b",
            "kvctl: names of files here are among them; to watch a pattern, quote it, such as 'cfg/*'",
        ]
    with watching(daemon.addr, "cfg/a", "other/*", cwd=files) as watch:
        assert said(watch, daemon, "other/1")[0] == "1 key and 1 pattern: cfg/a, other/*"


def test_a_watch_of_several_keys_says_which(daemon: Daemon, files: Path) -> None:
    for words, first in (
        (["a", "b"], "2 keys: a, b"),
        (["x*", "a", "y*", "b\u202e"], r"2 keys and 2 patterns: x*, a, y*, b\u202e"),
        ([f"k{number}" for number in range(12)], "12 keys: k0, k1, k2, k3, k4, k5, k6, k7, k8, k9, ..."),
    ):
        with watching(daemon.addr, *words, cwd=files) as watch:
            assert said(watch, daemon, words[1]) == [first]


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["k*"], ["cfg/*", "k*"], ["k"], ["cfg/*", "k"]])
def test_a_watch_of_what_was_typed_says_no_more(daemon: Daemon, files: Path, words: list[str]) -> None:
    with watching(daemon.addr, *words, cwd=files) as watch:
        assert len(said(watch, daemon, "k")) == 1


@pytest.mark.parametrize("command", ["keys", "list", "count"])
def test_one_pattern_that_has_become_several_words(command: str) -> None:
    result = run(command, "cfg/a", "cfg/b")
    assert result.returncode == 2
    assert b": expected one pattern, quoted if it has a '*', or the shell" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--addr="], "--addr: invalid address '': expected HOST:PORT, HOST or [IPV6]:PORT, such as 127.0.0.1:5830"),
        (["--addr", ""], "--addr: invalid address '': expected HOST:PORT"),
        (["--addr", "5830"], "--addr: invalid address '5830': expected HOST:PORT"),
        (["--addr", "host:"], "--addr: invalid address 'host:': expected HOST:PORT"),
        (["--addr", ":5830"], "--addr: invalid address ':5830': expected HOST:PORT"),
        (["--addr", "unix:"], "--addr: invalid address 'unix:': expected unix:PATH, such as unix:/"),
        (["--timeout", "10s"], "--timeout: invalid time '10s': expected seconds, such as 600"),
        (["--timeout=-1"], "--timeout: invalid time '-1': expected"),
        (["--timeout", "1000000001"], "--timeout: invalid time '1000000001': expected at most 1000000000 seconds"),
        (["--json=1"], "invalid option '--json=1': expected --json without an argument"),
    ],
)  # fmt: skip
def test_options_of_all_commands_say_what_they_take(daemon: Daemon, words: list[str], says: str) -> None:
    for command in (["get", "k"], ["watch"], ["set", "k", "-"]):
        assert says in complaint(run(*words, *command, KVCTL_ADDR=daemon.addr), 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["set", "k", "v", "--ttl", "10m"], "--ttl: invalid time '10m': expected seconds, such as 600"),
        (["set", "k", "v", "--ttl", "1e3"], "--ttl: invalid time '1e3': expected seconds"),
        (["set", "k", "v", "--ttl", "0.0001"], "--ttl: invalid time '0.0001': expected seconds"),
        (["set", "k", "v", "--ttl", "0"], "invalid ttl 0: expected 0.001 to 1000000000 seconds"),
        (["set", "k", "v", "--ttl", "9999999999"], "invalid ttl 1e+10: expected 0.001 to 1000000000 seconds"),
        (["set", "k", "v", "--if", "none"], "--if: invalid revision 'none': expected one such as 17, or 0"),
        (["touch", "k", "1h"], "SECONDS: invalid time '1h': expected seconds, such as 600 or 0.005, or -"),
        (["incr", "k", "one"], "N: invalid number 'one': expected a whole number, such as 5 or -5"),
        (["keys", "--limit", "all"], "--limit: invalid number 'all': expected a whole number, at least 1"),
        (["keys", "--after", ""], "--after: invalid key ''"),
        (["list", "--after", "*"], "--after: invalid key '*'"),
        (["list", "--before", "a b"], "--before: invalid key 'a b'"),
        (["list", "--fold", ""], "--fold: invalid key ''"),
    ],
)
def test_arguments_say_what_they_take(daemon: Daemon, words: list[str], says: str) -> None:
    assert says in complaint(run("--addr", daemon.addr, *words), 2)


def test_the_pattern_of_mirror() -> None:
    refused = complaint(run("mirror", "127.0.0.1:1", "127.0.0.1:2", "a b"), 2)
    assert refused.startswith("kvctl: PATTERN: invalid pattern 'a b'")


def test_the_address_in_the_environment() -> None:
    assert "KVCTL_ADDR: invalid address 'a b': expected HOST:PORT" in complaint(run("ping", KVCTL_ADDR="a b"), 2)
    result = run("--timeout", "1", "ping", KVCTL_ADDR="")  # as if it were not set, whether a daemon is there or not
    assert result.returncode in (0, 3)
    assert b"invalid address" not in result.stderr


def endless(address: str) -> str:
    """Give `kvctl set k -` an input that does not end, and too little memory for it; return its complaint."""
    command = ["bash", "-c", 'ulimit -v 500000; yes | "$@"', "bash", sys.executable, str(PROGRAM)]
    words = ["--addr", address, "set", "k", "-"]
    return complaint(
        subprocess.run([*command, *words], capture_output=True, timeout=PATIENCE, env=ENVIRONMENT, check=False), 2
    )


@pytest.mark.slow
@pytest.mark.parametrize("size", ["64KiB", "1MiB"])
def test_a_value_without_an_end_is_read_up_to_the_longest(start_daemon: StartDaemon, size: str) -> None:
    daemon = start_daemon("--max-value", size)
    most = {"64KiB": 65536, "1MiB": 1 << 20}[size]
    says = f"kvctl: the value on standard input is too long: this daemon takes at most {most} bytes\n"
    assert endless(daemon.addr) == says
    assert printed(run("--addr", daemon.addr, "count")) == b"0\n"
    printed(run("--addr", daemon.addr, "set", "k", "-", stdin=b"\0" * most))
    complaint(run("--addr", daemon.addr, "set", "k", "-", stdin=b"\0" * (most + 1)), 2)


def test_no_more_is_read_than_shows_that_it_is_too_long(start_daemon: StartDaemon, tmp_path: Path) -> None:
    daemon = start_daemon("--max-value", "1000")
    file = tmp_path / "value"
    file.write_bytes(b"x" * 5000)
    with file.open("rb", buffering=0) as stdin:
        command = [sys.executable, str(PROGRAM), "--addr", daemon.addr, "set", "k", "-"]
        result = subprocess.run(command, stdin=stdin, capture_output=True, timeout=PATIENCE, check=False)
        assert stdin.tell() == 1001
    assert result.returncode == 2


def test_a_mirror_says_which_of_its_words_names_nobody(daemon: Daemon) -> None:
    nobody = f"127.0.0.1:{quiet_port()}"
    advice = "(connection refused): start it with 'kvd', or name another for"
    said = complaint(run("mirror", nobody, daemon.addr), 3)
    assert said == f"kvctl: cannot reach kvd at {nobody} {advice} SRC\n"
    said = complaint(run("mirror", daemon.addr, nobody), 3)
    assert said == f"kvctl: cannot reach kvd at {nobody} {advice} DST\n"
    said = complaint(run("mirror", daemon.addr, f"tls:{daemon.addr}"), 3)
    assert "without tls: in DST, kvctl speaks none" in said


@pytest.mark.parametrize("words", [["mirror", "--addr", "a", "b", "c"], ["--addr", "a", "mirror", "b", "c"]])
def test_a_mirror_takes_no_other_address_than_its_words(words: list[str]) -> None:
    result = run(*words)
    assert result.returncode == 2
    assert result.stderr.startswith(b"kvctl: wrong arguments for mirror: unknown option --addr; see kvctl mirror")
    assert b"--addr" not in run("mirror", "--help").stdout
    assert b": SRC: invalid address" in run("mirror", "a:b", "c", KVCTL_ADDR="no address").stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["elect", "e", "--", "cmd"], "<NAME> <VALUE>"),
        (["elect", "e", "--", "cmd", "arg"], "<NAME> <VALUE>"),
        (["elect", "e", "v", "cmd", "--", "arg"], "<NAME> <VALUE>"),
        (["elect", "e", "v"], "<NAME> <VALUE>"),
        (["lock", "--", "cmd"], "<NAME>"),
        (["lock", "--", "cmd", "arg"], "<NAME>"),
        (["lock", "n", "git", "log", "--", "file"], "<NAME>"),
        (["lock", "n", "--"], "<NAME>"),
    ],
)
def test_a_command_is_not_taken_for_a_name_or_a_value(words: list[str], expected: str) -> None:
    result = run(*words)
    says = f"kvctl: wrong arguments for {words[0]}: expected {expected} and, after --, the command to run; see kvctl"
    assert result.stderr.decode().startswith(says)
    assert result.returncode == 125


def test_a_command_gets_the_marks_that_are_its_own(daemon: Daemon) -> None:
    for words in (["lock", "n"], ["elect", "e", "v"]):
        assert printed(run("--addr", daemon.addr, *words, "--", "echo", "a", "--", "-b")) == b"a -- -b\n"
        assert printed(run("--addr", daemon.addr, *words, "echo", "a")) == b"a\n"
