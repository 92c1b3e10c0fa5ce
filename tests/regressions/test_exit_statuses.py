"""Reported: kvctl ends with 4 for a bad key, for `unavailable` and for `uncertain`: a script cannot tell never, try
again, and perhaps done from each other.  A write whose reply was lost ended with 3, as where no daemon is.
"""

import os
import subprocess
import sys

import pytest

from tests.support.kvctl import ENVIRONMENT, PATIENCE, PROGRAM, complaint, printed, run, scripted
from tests.support.processes import Daemon, StartDaemon

pytestmark = pytest.mark.slow

WRITES = (["set", "k", "v"], ["del", "k"], ["touch", "k", "5"], ["incr", "k"])
READS = (["get", "k"], ["ttl", "k"], ["keys"], ["list"], ["count"], ["info"], ["ping"], ["watch"])


@pytest.mark.parametrize(
    ("code", "status"),
    [
        *((code, 2) for code in ("usage", "bad-key", "bad-value", "too-long", "unknown-verb")),
        *((code, 4) for code in ("compacted", "store", "future", "aborted", "not-a-number", "overflow")),
        *((code, 4) for code in ("denied", "limit", "whatever-comes-later")),
        ("unavailable", 6),
        ("uncertain", 7),
    ],
)
def test_each_code_of_a_refusal_has_its_status(code: str, status: int) -> None:
    for words in (["set", "k", "v"], ["get", "k"], ["watch"]):
        with scripted(f"ERR {code} the text\n".encode()) as address:
            assert complaint(run("--addr", address, *words), status) == f"kvctl: {code}: the text\n"


@pytest.mark.parametrize("words", WRITES, ids=" ".join)
@pytest.mark.parametrize("begun", [b"", b"OK 1"], ids=["no reply", "half a reply"])
def test_a_write_that_was_lost_is_perhaps_done(words: list[str], begun: bytes) -> None:
    with scripted(begun) as address:
        assert "lost kvd at" in complaint(run("--addr", address, *words), 7)


@pytest.mark.parametrize("words", READS, ids=" ".join)
def test_a_read_that_was_lost_is_lost(words: list[str]) -> None:
    with scripted(b"") as address:
        assert "lost kvd at" in complaint(run("--addr", address, *words), 3)


def test_a_write_that_was_never_sent_is_not_perhaps_done(daemon: Daemon) -> None:
    daemon.stop()
    for words in WRITES:
        assert "cannot reach kvd" in complaint(run("--addr", daemon.addr, *words), 3)


def test_a_daemon_that_takes_nobody_more_is_to_be_tried_again() -> None:
    with scripted(greeting=b"ERR unavailable too many connections\n") as full:
        assert complaint(run("--addr", full, "set", "k", "v"), 6) == "kvctl: unavailable: too many connections\n"


def test_what_the_daemon_refuses_for_good_and_for_its_words(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--max-value", "10")
    for words, status in (
        (["get", "k" * 600], 2),
        (["del", "a b"], 2),
        (["set", "k", "longer than ten"], 2),
        (["touch", "k", "0"], 2),
        (["watch", "a*b"], 2),
        (["set", "k", "v", "--if", "9007199254740993"], 2),
    ):
        complaint(run("--addr", daemon.addr, *words), status)
    printed(run("--addr", daemon.addr, "set", "k", "word"))
    assert "not-a-number: " in complaint(run("--addr", daemon.addr, "incr", "k"), 4)
    printed(run("--addr", daemon.addr, "set", "n", "9007199254"))
    assert "overflow: " in complaint(run("--addr", daemon.addr, "incr", "n", f"{2**63 - 1}"), 4)


@pytest.mark.parametrize(
    ("replies", "status", "says"),
    [
        ([b"NONE\n", b"OK 1\n", b"OK 2\n"], 1, ["no such key: a"]),
        ([b"NONE\n", b"ERR unavailable away\n", b"NONE\n"], 6, ["no such key: a, c", "unavailable: away: b"]),
        ([b"ERR unavailable away\n", b"ERR usage no\n", b"OK 1\n"], 2, ["unavailable: away: a", "usage: no: b"]),
        ([b"ERR usage no\n", b"ERR denied no\n", b"OK 1\n"], 4, ["usage: no: a", "denied: no: b"]),
        ([b"ERR uncertain lost\n", b"ERR denied no\n", b"OK 1\n"], 7, ["uncertain: lost: a", "denied: no: b"]),
    ],
)  # fmt: skip
def test_of_several_keys_the_most_serious_counts(replies: list[bytes], status: int, says: list[str]) -> None:
    with scripted(*replies) as address:
        result = run("--addr", address, "del", "a", "b", "c")
    assert result.returncode == status
    assert result.stderr.decode().splitlines() == [f"kvctl: {line}" for line in says]


def test_several_keys_of_which_some_are_lost() -> None:
    with scripted(b"OK 1\n", b"NONE\n", b"") as address:
        result = run("--addr", address, "del", "a", "b", "c", "d")
    assert (result.returncode, result.stdout) == (7, b"1\n")
    first, second = result.stderr.decode().splitlines()
    assert first == "kvctl: no such key: b"
    assert second.startswith("kvctl: lost kvd at ")
    assert second.endswith(": c, d")


def test_the_statuses_stand_in_the_help() -> None:
    text = printed(run("--help")).decode()
    assert [line[2:3] for line in text.partition("Exit status:\n")[2].splitlines() if line[2:3].isdigit()] == [
        *"012345678"
    ]


@pytest.mark.parametrize(("words", "status"), [(["get", "nope"], 1), (["get", "a b"], 2), (["--frob"], 2)])
def test_the_status_is_the_same_where_nobody_reads_the_complaint(daemon: Daemon, words: list[str], status: int) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    command = [sys.executable, str(PROGRAM), "--addr", daemon.addr, *words]
    try:
        assert (
            subprocess.run(command, stderr=theirs, timeout=PATIENCE, env=ENVIRONMENT, check=False).returncode == status
        )
    finally:
        os.close(theirs)
