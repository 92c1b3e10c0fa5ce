"""kvctl shell at a terminal."""

import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kvd.cli.status import LOST, REFUSED, USAGE
from tests.support.kvctl import complaint, run
from tests.support.processes import Daemon
from tests.support.terminal import (
    ALT_ENTER,
    CTRL_C,
    CTRL_D,
    CTRL_Z,
    ENTER,
    TAB,
    UP,
    Terminal,
    on_a_terminal,
    without_package,
)
from tests.support.text import ACTING

PROMPT = "kvd>"


@contextmanager
def shell(daemon: Daemon, directory: Path, addresses: str = "", **options: object) -> Iterator[Terminal]:
    """A shell whose history is in the directory.  addresses: other ones to try."""
    variables = {"XDG_STATE_HOME": str(directory / "state")} | options
    with on_a_terminal("--addr", addresses or daemon.addr, "shell", **variables) as terminal:
        terminal.stands_at(PROMPT)
        yield terminal


def enter(terminal: Terminal, line: str, reply: str) -> None:
    """Type a line, and wait for what comes above the next prompt."""
    terminal.type(line + ENTER)
    terminal.comes_to(reply, lambda: terminal.text.endswith(f"{line}\n{reply}\n{PROMPT}"))


def history(directory: Path) -> Path:
    return directory / "state" / "kvd" / "shell-history"


def test_lines_are_answered_and_kept(shared_daemon: Daemon, tmp_path: Path) -> None:
    with shell(shared_daemon, tmp_path, f"unix:{tmp_path}/none,{shared_daemon.addr}") as terminal:
        assert f"connected to kvd at {shared_daemon.addr}; HELP lists the verbs, Ctrl-D ends the shell" in terminal.text
        enter(terminal, "SET kept two  words", next_revision(shared_daemon))
        enter(terminal, "get kept", "OK two  words")
        enter(terminal, "FROB", "ERR unknown-verb no verb FROB; HELP lists the verbs")
        enter(terminal, "AUTH ada secret", "ERR auth there are no users here (kvd --users)")
        terminal.type(CTRL_D)
        assert terminal.finish() == 0
        assert terminal.is_as_before
    path = history(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert "secret" not in path.read_text()
    with shell(shared_daemon, tmp_path) as terminal:
        terminal.type(UP + UP)
        terminal.stands_at(f"{PROMPT} get kept")


def next_revision(daemon: Daemon) -> str:
    with daemon.connect() as peer:
        revision = int(peer.ask("SET other x").removeprefix("OK "))
    return f"OK {revision + 1}"


def test_tab_completes_verbs_and_keys(daemon: Daemon, tmp_path: Path) -> None:
    with daemon.connect() as peer:
        for key in ("user/ada", "user/bob", "config/theme", "config/\u202etext"):
            peer.ask(f"SET {key} x")
        peer.send("".join(f"SET many/{number % 3}/{number} x\n" for number in range(60)))
        peer.lines(60)
    with shell(daemon, tmp_path) as terminal:
        terminal.type("unw" + TAB)
        terminal.stands_at(f"{PROMPT} unwatch")
        terminal.type(CTRL_C + "GET" + TAB)
        terminal.shows("a key's revision and value, in one read")
        terminal.type(CTRL_C + "get con" + TAB)
        terminal.stands_at(f"{PROMPT} get config/theme")
        terminal.type(CTRL_C + "GET us" + TAB)
        terminal.shows("user/ada\n")
        terminal.shows("user/bob")
        terminal.type("b" + TAB)
        terminal.stands_at(f"{PROMPT} GET user/bob")
        terminal.type(CTRL_C + "WATCH x many/" + TAB)
        terminal.comes_to("directories", lambda: "many/2/" in terminal.text and "many/2/2" not in terminal.text)
        terminal.type(CTRL_C + "PUT user/ada tt" + TAB)
        terminal.stands_at(f"{PROMPT} PUT user/ada ttl=")
        terminal.type(CTRL_C + "SET user/ada us" + TAB + "x")
        terminal.stands_at(f"{PROMPT} SET user/ada usx")  # a value is none
        assert "\u202e".encode() not in terminal.raw


def test_changes_come_while_something_is_typed(daemon: Daemon, tmp_path: Path) -> None:
    with shell(daemon, tmp_path) as terminal, daemon.connect() as peer:
        terminal.type("WATCH a*" + ENTER)
        terminal.shows("OK 0@")
        terminal.stands_at(PROMPT)
        terminal.type("SET b half ty")
        terminal.stands_at(f"{PROMPT} SET b half ty")
        peer.ask("SET apple red")
        terminal.shows("SET apple red")
        terminal.stands_at(f"{PROMPT} SET b half ty")
        terminal.type("ped" + ENTER)
        terminal.shows("OK 2")
        assert peer.ask("GET b") == "OK half typed"


def test_a_flood_of_changes_is_shown_in_order_and_the_line_stays(daemon: Daemon, tmp_path: Path) -> None:
    with shell(daemon, tmp_path) as terminal, daemon.connect() as peer:
        terminal.type("WATCH" + ENTER)
        terminal.shows("OK 0@")
        terminal.type("GET 1")
        peer.send("".join(f"SET {number} x\n" for number in range(3000)))
        peer.lines(3000)
        terminal.shows(" SET 2999 x")
        terminal.stands_at(f"{PROMPT} GET 1")
        keys = [int(line.split()[2]) for line in terminal.raw.decode().split("CHANGE ")[1:]]
        assert keys == list(range(3000))


def test_ctrl_c_clears_the_line(shared_daemon: Daemon, tmp_path: Path) -> None:
    with shell(shared_daemon, tmp_path) as terminal:
        terminal.type("DEL everything")
        terminal.stands_at(f"{PROMPT} DEL everything")
        terminal.type(CTRL_C)
        terminal.stands_at(PROMPT)
        terminal.type(CTRL_C + CTRL_C)
        enter(terminal, "PING", "OK")


@pytest.mark.parametrize("end", ["exit", "QUIT", "quit"])
def test_words_that_end_it(end: str, shared_daemon: Daemon, tmp_path: Path) -> None:
    with shell(shared_daemon, tmp_path) as terminal:
        terminal.type(end + ENTER)
        assert terminal.finish() == 0
        assert terminal.is_as_before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_the_terminal_as_it_was(number: int, shared_daemon: Daemon, tmp_path: Path) -> None:
    with shell(shared_daemon, tmp_path) as terminal:
        terminal.type("half typed")
        terminal.stands_at(f"{PROMPT} half typed")
        assert not terminal.is_as_before
        terminal.signal(number)
        assert terminal.finish() == -number
        assert terminal.is_as_before


def test_suspended_it_leaves_the_terminal_and_comes_back(shared_daemon: Daemon, tmp_path: Path) -> None:
    with shell(shared_daemon, tmp_path) as terminal:
        terminal.type("PING half" + CTRL_Z)
        terminal.comes_to("it is suspended", lambda: terminal.is_stopped)
        terminal.signal(signal.SIGCONT)
        terminal.stands_at(f"{PROMPT} PING half")
        terminal.type("way" + ENTER)
        terminal.shows("OK halfway")
        terminal.type(CTRL_D)
        assert terminal.finish() == 0
        assert terminal.is_as_before


def test_several_lines(daemon: Daemon, tmp_path: Path) -> None:
    with shell(daemon, tmp_path) as terminal:
        terminal.type("BEGIN" + ALT_ENTER + "SET a 1" + ALT_ENTER + "SET b 2")
        terminal.stands_at("...> SET b 2")
        terminal.type(ENTER)
        terminal.stands_at("kvd (BEGIN)>")
        terminal.type("COMMIT" + ENTER)
        terminal.shows("OK 2")
        terminal.stands_at(PROMPT)
        terminal.type("\x1b[200~GET a\nGET b\n\x1b[201~")
        terminal.stands_at("...>")
        terminal.type(ENTER)
        terminal.comes_to("both", lambda: terminal.text.endswith(f"\nOK 1\nOK 2\n{PROMPT}"))


@pytest.mark.slow
def test_the_watch_goes_on_after_a_restart(daemon: Daemon, tmp_path: Path) -> None:
    with shell(daemon, tmp_path) as terminal:
        terminal.type("WATCH *keys a*" + ENTER)
        terminal.shows("OK 0@")
        with daemon.connect() as peer:
            peer.ask("SET a1 x")
        terminal.shows("SIZE a1 1")
        terminal.type("BEGIN" + ENTER)
        terminal.stands_at("kvd (BEGIN)>")
        terminal.type("SET a2")
        daemon.kill()
        daemon.wait()
        terminal.shows("(the connection was closed); trying to connect again")
        terminal.shows("the transaction was given up")
        terminal.stands_at("kvd (gone)> SET a2")
        terminal.type(" x" + ENTER)
        terminal.shows("not sent, for there is no connection")
        daemon.start()
        with daemon.connect() as peer:
            peer.send("SET a3 x\nSET a4 x\n")
            assert peer.lines(2) == ["OK 2", "OK 3"]
        terminal.shows("SIZE a4 1")
        terminal.stands_at(PROMPT)
        assert [terminal.text.count(f" SIZE a{number} 1") for number in range(1, 5)] == [1, 0, 1, 1]
        assert terminal.text.count("connected again to kvd") == 1
        assert terminal.text.count("and nothing is missing") == 1


@pytest.mark.slow
def test_what_had_no_reply_is_told(daemon: Daemon, tmp_path: Path) -> None:
    with shell(daemon, tmp_path) as terminal:
        daemon.kill(signal.SIGSTOP)
        terminal.type("SET a 1" + ENTER + "GET a" + ENTER)
        terminal.comes_to("both lines are sent", lambda: terminal.text.endswith(f"GET a\n{PROMPT}"))
        daemon.kill()
        daemon.wait()
        terminal.shows("no reply came to SET a 1: it may have been done, or not")
        terminal.shows("no reply came to GET a: send it again")


def test_bytes_of_any_value(shared_daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\x00\n")
    with shell(shared_daemon, tmp_path) as terminal, shared_daemon.connect() as peer:
        terminal.type(r".bytes raw a\x00\n\\" + ENTER)
        terminal.shows("OK ")
        assert peer.ask("GET raw") == "OK64 YQAKXA=="
        enter(terminal, "GET raw", r"OK64 YQAKXA==  (4 bytes: a\x00\n\\)")
        terminal.type(f".file raw {tmp_path / 'file'}" + ENTER)
        terminal.comes_to("it is set", lambda: peer.ask("GET raw") == "OK64 AAo=")
        for wrong, why in {
            r".bytes raw \q": r"expected \n, \r, \t, \\ or \xNN after a backslash",
            ".file raw nowhere": "cannot read the file (No such file or directory)",
            ".frob": "expected .bytes KEY TEXT or .file KEY PATH",
        }.items():
            enter(terminal, wrong, why)


def test_help_has_the_daemons_verbs_and_the_shells_own(shared_daemon: Daemon, tmp_path: Path) -> None:
    with shell(shared_daemon, tmp_path, rows=60, columns=140) as terminal:
        terminal.type("help" + ENTER)
        terminal.shows("HELP GET key [min=POSITION]")
        terminal.shows("  .bytes KEY TEXT   sets a key to any bytes")


def test_no_acting_character_reaches_the_terminal(daemon: Daemon, tmp_path: Path) -> None:
    hidden = "".join(character for character in ACTING if ord(character) > 0x9F)
    with daemon.connect() as peer, shell(daemon, tmp_path) as terminal:
        peer.ask(f"SET user/\u202ek {hidden}".replace("\u2028", "").replace("\u2029", ""))
        enter(terminal, "GET nothing", "NONE")
        before = len(terminal.raw)
        terminal.type("LIST *" + ENTER)
        terminal.shows(r"PAIR 1 user/\u202ek \u061c")
        terminal.shows("OK 1@")
        assert [c for c in terminal.raw[before:].decode() if c in hidden] == []
        peer.ask("PUT bytes base64 = G1sySgeb")
        enter(terminal, "GET bytes", r"OK64 G1sySgeb  (6 bytes: \x1b[2J\x07\x9b)")


def test_without_colours(shared_daemon: Daemon, tmp_path: Path) -> None:
    with shell(shared_daemon, tmp_path) as terminal:
        enter(terminal, "GET none", "NONE")
        assert terminal.has_colours
    with shell(shared_daemon, tmp_path, NO_COLOR="1") as terminal:
        enter(terminal, "GET none", "NONE")
        assert not terminal.has_colours


def test_a_dumb_terminal_is_enough(shared_daemon: Daemon) -> None:
    with on_a_terminal("--addr", shared_daemon.addr, "shell", TERM="dumb") as terminal:
        terminal.shows("type lines, Ctrl-D ends the shell")
        terminal.type("PUT dumb base64 = 4oCu\n")
        terminal.shows("OK ")
        terminal.type("GET dumb\n")
        terminal.shows("OK \\u202e")
        assert b"\x1b" not in terminal.raw
        terminal.type(CTRL_D)
        assert terminal.finish() == 0
        assert terminal.is_as_before


def test_a_history_that_cannot_be_kept_is_told(shared_daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no directory")
    with shell(shared_daemon, tmp_path) as terminal:
        assert "kvctl: the history is not kept" in terminal.text
        enter(terminal, "PING", "OK")


def test_a_history_that_grew_is_cut(shared_daemon: Daemon, tmp_path: Path) -> None:
    path = history(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"\n# 2026-01-01 00:00:00\n+PING {number}\n" for number in range(50_000)))
    with shell(shared_daemon, tmp_path) as terminal:
        assert path.stat().st_size < 1 << 20
        terminal.type(UP)
        terminal.stands_at(f"{PROMPT} PING 49999")


def test_errors_are_told(shared_daemon: Daemon, tmp_path: Path) -> None:
    with on_a_terminal("--addr", "127.0.0.1:1", "shell") as terminal:
        assert terminal.finish() == LOST
        assert "kvctl: cannot reach kvd at 127.0.0.1:1 (connection refused)" in terminal.text
    assert "--json" in complaint(run("--json", "shell"), USAGE)
    variables = without_package("prompt_toolkit", tmp_path)
    with on_a_terminal("--addr", shared_daemon.addr, "shell", columns=400, **variables) as terminal:
        assert terminal.finish() == REFUSED
        assert "shell needs the Python package prompt_toolkit, which is not installed: install it with" in terminal.text
