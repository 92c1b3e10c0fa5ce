"""kvctl top, on a terminal and in pipes."""

import json
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from kvd.cli.status import LOST, REFUSED, USAGE
from tests.support.kvctl import complaint, printed, run
from tests.support.ports import quiet_port
from tests.support.processes import Daemon, wait_for
from tests.support.terminal import (
    ALTERNATE,
    CTRL_C,
    CTRL_Z,
    Terminal,
    on_a_terminal,
    without_package,
)

OFTEN = ("--interval", "0.1")


@contextmanager
def writing(daemon: Daemon, *keys: str) -> Iterator[None]:
    """Write keys, again and again."""
    ended = threading.Event()

    def write() -> None:
        with suppress(OSError), daemon.connect() as peer:
            while not ended.wait(0.01):
                peer.send("".join(f"SET {key} x\n" for key in keys))
                peer.lines(len(keys))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def fact(daemon: Daemon, name: str) -> str:
    with daemon.connect() as peer:
        peer.send("INFO\n")
        facts = dict(line.removeprefix("INFO ").split(" ", 1) for line in iter(peer.line, "OK"))
    return facts[name]


def figure(terminal: Terminal, name: str) -> str:
    """What stands after a name on the screen."""
    return (terminal.text.partition(name)[2].split() or [""])[0]


def rate(terminal: Terminal, name: str) -> float:
    """The same, as a number; 0 where there is none yet."""
    try:
        return float(figure(terminal, name).replace(",", ""))
    except ValueError:
        return 0


def test_it_shows_what_the_daemon_does(shared_daemon: Daemon) -> None:
    daemon = shared_daemon
    with daemon.connect() as peer, writing(daemon, "user/a", "user/b", "user/c", "config/x", "lone"):
        peer.ask("WATCH nothing")
        with on_a_terminal("--addr", daemon.addr, "top", *OFTEN) as terminal:
            terminal.shows("user/")
            terminal.shows("lone")
            terminal.comes_to("rates", lambda: rate(terminal, "requests/s") > 50)
            terminal.comes_to("rates", lambda: rate(terminal, "changes/s") > 50)
            terminal.comes_to("both watchers", lambda: figure(terminal, "watchers live") == "2")
            terminal.shows(f"kvd 0.1.0 (Redis 6.2.14) at {daemon.addr}  up ")
            # Where nothing could be written within an interval, none is shown.
            terminal.comes_to(
                "the busiest one first", lambda: bool(re.search(" user/ .* config/ ", terminal.text, re.S))
            )
            terminal.comes_to("watchers that keep up", lambda: figure(terminal, "catching up") == "0")
            for name in ("connections", "keys", "revision", "history", "daemon memory", "store memory"):
                # Of a screen that is being drawn a part may be there.
                terminal.comes_to(name, lambda name=name: figure(terminal, name)[:1].isdecimal())  # type: ignore[misc]
            assert terminal.has_colours
            assert ALTERNATE in terminal.raw
            terminal.type("q")
            assert terminal.finish() == 0
            assert terminal.is_as_before


@pytest.mark.parametrize(
    ("end", "status"),
    [(CTRL_C, 0), ("Q", 0), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP)],
    ids=["Ctrl-C", "Q", "SIGTERM", "SIGHUP"],
)
def test_however_it_ends_the_terminal_is_as_before(shared_daemon: Daemon, end: str | int, status: int) -> None:
    with on_a_terminal("--addr", shared_daemon.addr, "top") as terminal:
        terminal.shows("q quit")
        assert not terminal.is_as_before
        if isinstance(end, str):
            terminal.type(end)
        else:
            terminal.signal(end)
        assert terminal.finish() == status
        assert terminal.is_as_before


def test_suspended_it_leaves_the_terminal_and_comes_back(shared_daemon: Daemon) -> None:
    with on_a_terminal("--addr", shared_daemon.addr, "top", *OFTEN) as terminal:
        terminal.shows("q quit")
        terminal.type(CTRL_Z)
        terminal.comes_to("it is suspended", lambda: terminal.is_stopped and terminal.is_as_before)
        terminal.signal(signal.SIGCONT)
        terminal.comes_to("it goes on", lambda: not terminal.is_as_before)
        terminal.shows("q quit")
        terminal.type("q")
        assert terminal.finish() == 0
        assert terminal.is_as_before


def test_it_watches_only_while_prefixes_are_shown(daemon: Daemon) -> None:
    with on_a_terminal("--addr", daemon.addr, "top", *OFTEN) as terminal:
        terminal.comes_to("a watch", lambda: figure(terminal, "watchers live") == "1")
        terminal.type("p")
        terminal.comes_to("no watch", lambda: "prefixes\n" not in terminal.text and fact(daemon, "watchers") == "0")
        terminal.shows("p show prefixes")
        terminal.type("p")
        terminal.comes_to("a watch", lambda: fact(daemon, "watchers") == "1")
        terminal.resize(14, 70)
        terminal.shows("no room for prefixes")
        terminal.comes_to("no watch", lambda: fact(daemon, "watchers") == "0")
        terminal.resize(40, 140)
        terminal.shows("busiest prefixes")
        terminal.comes_to("a watch", lambda: fact(daemon, "watchers") == "1")


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 10), (5, 30), (60, 300)])
def test_it_fits_any_window(shared_daemon: Daemon, rows: int, columns: int) -> None:
    with on_a_terminal("--addr", shared_daemon.addr, "top", *OFTEN) as terminal:
        terminal.shows("q quit")
        terminal.resize(rows, columns)
        before = len(terminal.raw)
        terminal.comes_to("it is drawn anew", lambda: bool(terminal.text) and len(terminal.raw) > before)
        terminal.resize(24, 100)
        terminal.shows("q quit")


@pytest.mark.slow
def test_it_goes_on_when_the_daemon_is_started_again(daemon: Daemon) -> None:
    with on_a_terminal("--addr", daemon.addr, "top", *OFTEN) as terminal:
        terminal.shows("  up ")
        daemon.kill()
        daemon.wait()
        terminal.shows("gone for ")
        terminal.shows("(connection refused)")
        daemon.start()
        terminal.comes_to("it answers again", lambda: "gone for" not in terminal.text and "  up " in terminal.text)
        with writing(daemon, "after/all"):
            terminal.shows("after/")
            terminal.comes_to("rates", lambda: rate(terminal, "changes/s") > 5)
        terminal.type("q")
        assert terminal.finish() == 0


@pytest.mark.slow
def test_it_tells_that_the_daemon_is_silent(daemon: Daemon) -> None:
    with on_a_terminal("--addr", daemon.addr, "top", *OFTEN) as terminal:
        terminal.shows("  up ")
        daemon.kill(signal.SIGSTOP)
        terminal.shows("no answer for ")
        daemon.kill(signal.SIGCONT)
        terminal.comes_to("it answers again", lambda: "no answer" not in terminal.text)


def test_keys_that_act_on_a_terminal_are_escaped(daemon: Daemon) -> None:
    with writing(daemon, "a\u202eb/x", "c\u200bd"), on_a_terminal("--addr", daemon.addr, "top", *OFTEN) as terminal:
        terminal.shows(r"a\u202eb/")
        terminal.shows(r"c\u200bd")
        assert "\u202e".encode() not in terminal.raw


def test_without_colours(shared_daemon: Daemon) -> None:
    with on_a_terminal("--addr", shared_daemon.addr, "top", NO_COLOR="1") as terminal:
        terminal.shows("q quit")
        assert not terminal.has_colours


def test_on_a_dumb_terminal_it_prints_lines(shared_daemon: Daemon) -> None:
    with on_a_terminal("--addr", shared_daemon.addr, "top", *OFTEN, rows=60, TERM="dumb") as terminal:
        terminal.comes_to("two looks", lambda: terminal.text.count("requests/s ") > 1)
        assert b"\x1b" not in terminal.raw
        terminal.type(CTRL_C)
        assert terminal.finish() == 0


def is_prefix(line: str) -> bool:
    return line.startswith("prefix ")


def test_once_prints_lines_for_programs(shared_daemon: Daemon) -> None:
    lines: list[str] = []
    words: dict[str, str] = {}

    def has_seen_writes() -> bool:
        """Whether the writer, who may be held up, wrote while it looked."""
        looked = printed(run("--addr", shared_daemon.addr, "top", "--once", "--interval", "0.3"))
        lines[:] = looked.decode().splitlines()
        words.update(dict(line.rsplit(" ", 1) for line in lines if not is_prefix(line)))
        rates = [words["requests/s"], words["changes/s"]] + [line.split()[1] for line in lines if is_prefix(line)]
        return len(rates) == 3 and all(float(rate) > 1 for rate in rates)

    with writing(shared_daemon, "user/a"):
        wait_for("a look at writes", has_seen_writes)
    for name in ("watchers", "lagging-watchers", "connections", "revision", "history", "daemon-memory", "store-memory"):
        assert words[name].isdecimal(), name
    assert [line.split()[2] for line in lines if is_prefix(line)] == ["user/"]


def test_json_is_one_object_a_line(shared_daemon: Daemon) -> None:
    (line,) = (
        printed(run("--addr", shared_daemon.addr, "--json", "top", "--once", "--interval", "0.1")).decode().splitlines()
    )
    facts = json.loads(line)
    assert facts["watchers"] >= 1
    assert facts["prefixes"] == {}


def test_errors_are_told() -> None:
    complaint(run("--addr", f"127.0.0.1:{quiet_port()}", "top", "--once"), LOST)
    for interval in ("0", "0.05", "x", "3601"):
        assert "--interval" in complaint(run("top", "--interval", interval), USAGE)


def test_without_rich_it_says_what_to_install(shared_daemon: Daemon, tmp_path: Path) -> None:
    variables = without_package("rich", tmp_path)
    with on_a_terminal("--addr", shared_daemon.addr, "top", columns=400, **variables) as terminal:
        assert terminal.finish() == REFUSED
        assert "top needs the Python package rich, which is not installed: install it with `" in terminal.text
    printed(run("--addr", shared_daemon.addr, "top", "--once", "--interval", "0.1", stdin=b"", **variables))
