"""Reported: a malformed reply is a traceback of kvctl's, and exit status 1, which says that there is no such key.

What a daemon's texts do to a terminal is in test_terminal_escapes.
"""

import pytest

from tests.support.kvctl import Word, complaint, run, scripted

MALFORMED: list[tuple[list[Word], bytes]] = [
    (["get", "k"], b"OK"),
    (["get", "k"], b"OK x y"),
    (["get", "k"], b"OK64 1 !"),
    (["get", "k"], b"CONFLICT 1"),
    (["get", "k"], b"ERR"),
    (["get", "k"], b"ERR \xff\xfe"),
    (["set", "k", "v"], b"OK"),
    (["set", "k", "v"], b"OK one"),
    (["set", "k", "v"], b"OK 1 2"),
    (["set", "k", "v"], b"CONFLICT x"),
    (["set", "k", "v"], b"ERR \x1b[2J x"),
    (["del", "k"], b"OK -1"),
    (["del", "k", "l"], b"OK -1"),
    (["touch", "k", "5"], b"CONFLICT 5"),
    (["incr", "k"], b"OK 1.5"),
    (["ttl", "k"], b"OK soon"),
    (["ttl", "k"], b"OK nan"),
    (["count"], b"OK \xd9\xa1"),
    (["keys"], b"KEY a\nOK 2"),
    (["keys"], b"KEY \xff\nOK 1"),
    (["keys"], b"KEY b\nKEY a\nOK 2"),
    (["list"], b"PAIR\nOK 1@x"),
    (["list"], b"PAIR x k v\nOK 1@x"),
    (["info"], b"INFO \xff 1\nOK"),
    (["ping"], b"OK \xff"),
    (["watch"], b"OK"),
    (["watch"], b"OK here"),
    (["watch"], b"NONE"),
]
"""Requests, and what cannot answer them; the daemon stays there."""


@pytest.mark.slow
@pytest.mark.parametrize(("words", "reply"), MALFORMED)
def test_a_malformed_reply_is_one_line_and_no_absent_key(words: list[Word], reply: bytes) -> None:
    with scripted(reply + b"\n") as address:
        result = run("--addr", address, *words)
    assert complaint(result, 3).rstrip("\n").isprintable()
    assert result.stdout == b""


@pytest.mark.parametrize(
    "line", [b"CHANGE", b"CHANGE x SET k v", b"CHANGE 1@a PUT k v", b"CHANGE 1@a SET64 k !", b"END"]
)
def test_a_malformed_line_ends_a_watch(line: bytes) -> None:
    with scripted(b"OK 1@a\n" + line + b"\n") as address:
        result = run("--addr", address, "watch")
    first, second = result.stderr.decode().splitlines()
    assert (result.returncode, result.stdout) == (3, b"")
    assert first == "kvctl: watching from 1@a: every key"
    assert second.startswith("kvctl: ")


@pytest.mark.slow
@pytest.mark.parametrize(
    "greeting", [b"HTTP/1.1 400 Bad Request\r\n", b"\xff\xfe\n", b"\x16\x03\x01\n", b"OK64 !\n", b"ERR\n"]
)
def test_what_is_no_daemon_is_named_so(greeting: bytes) -> None:
    for words in (["get", "k"], ["set", "k", "v"], ["watch"]):
        with scripted(greeting=greeting) as address:
            assert "cannot reach kvd at" in complaint(run("--addr", address, *words), 3)
