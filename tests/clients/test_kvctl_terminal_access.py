"""kvctl top and shell of a daemon that has users, over TLS, and on a unix socket."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import tls
from tests.support.access import PASSWORD, users_text
from tests.support.kvctl import printed, run
from tests.support.processes import Daemon
from tests.support.terminal import CTRL_C, ENTER, TAB, on_a_terminal
from tests.support.tls import Authority

PROMPT = "kvd>"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("socket") / "kvd"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, authority: Authority, path: Path) -> Iterator[Daemon]:
    directory = tmp_path_factory.mktemp("users")
    file = directory / "users.toml"
    file.write_text(users_text({"alice": {"a*": "read,write,watch"}, "root": {"*": "read,write,watch"}}))
    options = ["--users", str(file), "--listen", f"unix:{path}", *tls.options(authority.sign(tls.HOST), None)]
    running = Daemon(directory / "data", options)
    running.start()
    yield running
    running.stop()


def test_who_has_logged_in_at_the_prompt_completes_and_comes_back(daemon: Daemon, tmp_path: Path) -> None:
    with on_a_terminal("--addr", daemon.addr, "shell", XDG_STATE_HOME=str(tmp_path)) as terminal:
        terminal.stands_at(PROMPT)
        terminal.type("SET apple red" + ENTER)
        terminal.shows("ERR auth ")
        terminal.type(f"AUTH alice {PASSWORD}{ENTER}")
        terminal.comes_to("it is taken", lambda: terminal.text.endswith(f"\nOK\n{PROMPT}"))
        terminal.type("SET apple red" + ENTER)
        terminal.shows("\nOK 1\n")
        terminal.type("WATCH a*" + ENTER)
        terminal.shows("OK 1@")
        daemon.kill()
        daemon.wait()
        terminal.stands_at("kvd (gone)>")
        daemon.start()
        terminal.shows("and nothing is missing")
        terminal.type("SET avocado green" + ENTER)
        terminal.shows("SET avocado green\n")
        terminal.type("GET ap" + TAB)
        terminal.stands_at(f"{PROMPT} GET apple")
        terminal.type(CTRL_C)
    assert PASSWORD.strip() not in (tmp_path / "kvd" / "shell-history").read_text()


def test_who_is_named_by_an_option_is_known_everywhere(daemon: Daemon, tmp_path: Path) -> None:
    variables = {"XDG_STATE_HOME": str(tmp_path), "KVCTL_PASSWORD": PASSWORD}
    with on_a_terminal("--addr", daemon.addr, "--user", "alice", "shell", **variables) as terminal:
        terminal.stands_at(PROMPT)
        terminal.type("SET axe sharp" + ENTER)
        terminal.shows("\nOK ")
        terminal.type("GET ax" + TAB)
        terminal.stands_at(f"{PROMPT} GET axe")


def test_top_says_what_it_may_not_watch(daemon: Daemon) -> None:
    with on_a_terminal("--addr", daemon.addr, "--user", "alice", "top", KVCTL_PASSWORD=PASSWORD) as terminal:
        terminal.shows("denied ")
        terminal.comes_to("figures", lambda: "requests/s     -" not in terminal.text)
        terminal.type("q")
        assert terminal.finish() == 0


def test_over_tls_and_unix_sockets(daemon: Daemon, authority: Authority, path: Path) -> None:
    ways = (
        ("--addr", f"localhost:{tls.port_of(daemon)}", "--ca", str(authority.file)),
        ("--addr", f"unix:{path}"),
    )
    for way in ways:
        words = (*way, "--user", "root")
        variables = {"KVCTL_PASSWORD": PASSWORD}
        assert b"requests/s " in printed(run(*words, "top", "--once", "--interval", "0.1", stdin=b"", **variables))
        assert printed(run(*words, "shell", stdin=b"PING here\n", **variables)) == b"OK here\n"
