"""Reported: `kvctl get` of a stored escape sequence, on a terminal: the terminal runs it.

So it did with what is in keys, and with what a hostile daemon says of itself, of its positions and of errors.
"""

import pytest

from tests.support.kvctl import on_a_terminal, printed, run, scripted
from tests.support.processes import Daemon
from tests.support.text import ACTING


def acting_in(shown: bytes) -> list[str]:
    """What of it a terminal would act on, but for the ends of its lines."""
    return [character for character in shown.decode().replace("\r\n", "") if character in ACTING]


@pytest.mark.slow
@pytest.mark.parametrize(
    "character", ["\x1b", "\x07", "\r", "\x7f", "\x9b", "\u061c", "\u2028", "\ufeff", "\U000e0041"]
)
def test_get_shows_what_acts_on_a_terminal_escaped(daemon: Daemon, character: str) -> None:
    printed(run("--addr", daemon.addr, "set", "k", "-", stdin=f"a{character}[2Jz".encode()))
    escaped = ascii(character)[1:-1] if character != "\r" else r"\x0d"
    assert on_a_terminal("--addr", daemon.addr, "get", "k") == f"a{escaped}[2Jz\r\n".encode()


@pytest.mark.slow
def test_no_acting_character_of_a_value_reaches_the_terminal(daemon: Daemon) -> None:
    value = f"{ACTING}\tä\n".encode() + b"\x9b1m\xff"
    printed(run("--addr", daemon.addr, "set", "k", "-", stdin=value))
    shown = on_a_terminal("--addr", daemon.addr, "get", "k")
    assert acting_in(shown) == []
    assert shown.endswith("\tä\r\n\\x9b1m\\xff\r\n".encode())
    assert printed(run("--addr", daemon.addr, "get", "k")) == value
    assert on_a_terminal("--addr", daemon.addr, "--raw", "get", "k") == value.replace(b"\n", b"\r\n")


def test_what_people_write_is_shown_as_it_is(daemon: Daemon) -> None:
    value = '{"path": "C:\\temp"}\tنیم\u200cفاصله עברית 👩\u200d💻 \u00a0e\u0301'  # noqa: RUF001
    printed(run("--addr", daemon.addr, "set", "k", value))
    assert on_a_terminal("--addr", daemon.addr, "get", "k") == f"{value}\r\n".encode()


@pytest.mark.slow
def test_keys_and_values_of_lists_are_shown_escaped(daemon: Daemon) -> None:
    key, value = "user/\u202egnp.exe", "\u2067now"
    printed(run("--addr", daemon.addr, "set", key, value))
    for words in (["keys"], ["list"], ["--json", "list"]):
        shown = on_a_terminal("--addr", daemon.addr, *words)
        assert acting_in(shown) == []
        assert rb"user/\u202egnp.exe" in shown
    assert printed(run("--addr", daemon.addr, "list")) == f"PAIR 1 {key} {value}\n".encode()
    assert on_a_terminal("--addr", daemon.addr, "list", "--raw") == f"PAIR 1 {key} {value}\r\n".encode()


ESCAPES = "\x1b[2J\x9b\u202e\x07".encode()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "reply"),
    [
        (["get", "k"], b"ERR no\x1bpe " + ESCAPES),
        (["set", "k", "v"], b"ERR denied " + ESCAPES),
        (["keys"], b"KEY " + ESCAPES + b"\nOK 1"),
        (["list"], b"PAIR 1 k" + ESCAPES + b" v" + ESCAPES + b"\nOK 1@x"),
        (["info"], b"INFO na" + ESCAPES + b"me te" + ESCAPES + b"xt\nOK"),
        (["watch"], b"ERR usage " + ESCAPES),
        (["watch"], b"OK 1@" + ESCAPES + b"\nEND 2@" + ESCAPES + b" co" + ESCAPES + b"de te" + ESCAPES + b"xt"),
        (["watch"], b"OK 1@a\nCHANGE 2@" + ESCAPES + b" SET k" + ESCAPES + b" v" + ESCAPES + b"\nEND 3@a x y"),
        (["watch"], b"OK 1@a\nCHANGE 2@a S" + ESCAPES + b" k v\nEND 3@a x y"),
    ],
)  # fmt: skip
def test_nothing_that_a_daemon_says_acts_on_the_terminal(words: list[str], reply: bytes) -> None:
    with scripted(reply + b"\n") as address:
        shown = on_a_terminal("--addr", address, *words)
    assert acting_in(shown) == []
    with scripted(reply + b"\n") as address:
        said = run("--addr", address, *words).stderr
    assert acting_in(said.replace(b"\n", b"\r\n")) == []


def test_what_was_typed_does_not_act_on_the_terminal(daemon: Daemon) -> None:
    for words in (["get", "\u202e"], ["get", "k\x1b[2J"], ["fr\x1bob"], ["--ttl\x1b"], ["keys", "--limit", "\x9b"]):
        said = run("--addr", daemon.addr, *words).stderr
        assert said
        assert acting_in(said.replace(b"\n", b"\r\n")) == []
