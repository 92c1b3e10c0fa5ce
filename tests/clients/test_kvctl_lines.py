"""kvctl send and kvctl txn: lines of the wire from standard input."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kvd.client.sync import connect
from tests.support.kvctl import ENVIRONMENT, PROGRAM, Result, Word, complaint, run, scripted
from tests.support.processes import PATIENCE, Daemon, StartDaemon, wait_for


def ctl(daemon: Daemon, *words: Word, stdin: bytes = b"") -> Result:
    return run("--addr", daemon.addr, *words, stdin=stdin)


def said(result: Result) -> list[str]:
    return result.stderr.decode().splitlines()


@contextmanager
def sending(daemon: Daemon, *words: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A kvctl send that does not outlive the test."""
    command = [sys.executable, str(PROGRAM), "--addr", daemon.addr, *words, "send"]
    process = subprocess.Popen(
        command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ask(process: "subprocess.Popen[bytes]", line: bytes) -> bytes:
    assert process.stdin
    assert process.stdout
    process.stdin.write(line + b"\n")
    return process.stdout.readline()


# send


def test_what_comes_is_printed_as_it_is_and_errors_are_named(shared_daemon: Daemon) -> None:
    lines = "SET send/a é \nGET send/a\r\nSET send/b a\tb\n\nSET b b \x01\nLIST send/*\nget send/a\nnope\nPING last"
    result = ctl(shared_daemon, "send", stdin=lines.encode())
    first, value, second, empty, bad, pair, other, listed, lower, unknown, last = result.stdout.decode().splitlines()
    assert (value, lower, last) == ("OK é ", "OK é ", "OK last")
    assert first.startswith("OK ")
    assert second.startswith("OK ")
    assert pair == f"PAIR {first[3:]} send/a é "
    assert other == f"PAIR {second[3:]} send/b a\tb"
    assert listed.startswith("OK ")
    assert empty.startswith("ERR unknown-verb ")
    assert bad.startswith("ERR bad-value ")
    assert unknown.startswith("ERR unknown-verb ")
    assert result.returncode == 2
    at_4, at_5, at_8 = said(result)
    assert at_4.startswith("kvctl: line 4: unknown-verb: ")
    assert at_5.startswith("kvctl: line 5: bad-value: ")
    assert at_5.endswith(r": SET b b \x01")
    assert at_8.startswith("kvctl: line 8: unknown-verb: ")
    assert at_8.endswith(": nope")


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"SET send/a 1\nGET send/a", 0),
        (b"GET send/none", 1),
        (b"PUT send/a if=1 = x\nPING", 1),
        (b"GET send/none\nGET a b\n", 2),
        (b"SET send/x y\nINCR send/x\nGET a b\n", 4),
        (b"", 0),
    ],
)
def test_the_most_serious_reply_counts(shared_daemon: Daemon, lines: bytes, status: int) -> None:
    assert ctl(shared_daemon, "send", stdin=lines).returncode == status


@pytest.mark.parametrize("end", [b"", b"QUIT\n", b"COMMIT\nBEGIN\nSET send/b 1\n"])
def test_a_transaction_that_is_left_open_is_told(shared_daemon: Daemon, end: bytes) -> None:
    result = ctl(shared_daemon, "send", stdin=b"BEGIN\nABORT\nBEGIN\nSET send/begun 1\n" + end)
    line = 3 if b"COMMIT" not in end else 6
    text = f"line {line}: no COMMIT came after this BEGIN: nothing of the transaction was done"
    assert (result.returncode, said(result)) == (2, [f"kvctl: {text}"])


def test_nothing_is_sent_after_quit(shared_daemon: Daemon) -> None:
    result = ctl(shared_daemon, "send", stdin=b"PING a\nquit\nSET send/late 1\n")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"OK a\nOK bye\n", b"")
    with connect(shared_daemon.addr) as kv:
        assert kv.get("send/late") is None
    with sending(shared_daemon) as process:  # whose standard input does not end
        assert ask(process, b"QUIT").startswith(b"OK")
        assert process.wait(PATIENCE) == 0


def test_it_answers_while_its_input_is_open(shared_daemon: Daemon) -> None:
    with sending(shared_daemon) as process:
        assert ask(process, b"PING 1") == b"OK 1\n"
        assert ask(process, b"SET send/k v").startswith(b"OK ")
        assert ask(process, b"GET send/k") == b"OK v\n"


def test_a_long_pipeline_and_long_lines(shared_daemon: Daemon) -> None:
    value = b"x" * 1_000_000
    lines = b"SET send/long %b\n" % value + b"GET send/long\n" * 30 + b"PING\n" * 20_000
    result = ctl(shared_daemon, "send", stdin=lines)
    assert result.returncode == 0
    _, *rest = result.stdout.split(b"\n")
    assert rest == [b"OK " + value] * 30 + [b"OK"] * 20_000 + [b""]


def test_a_watch_goes_on_after_the_input_has_ended(start_daemon: StartDaemon) -> None:
    daemon = start_daemon()
    with sending(daemon) as process:
        assert ask(process, b"WATCH k*").startswith(b"OK ")
        assert process.stdin
        process.stdin.close()
        process.stdin = None
        with connect(daemon.addr) as kv:
            kv.set("k", "v")
        assert process.stdout
        assert process.stdout.readline().endswith(b" SET k v\n")
        daemon.stop()
        out, _ = process.communicate(timeout=PATIENCE)
        assert out.startswith(b"END ")
        assert process.returncode == 3


def test_it_ends_when_nobody_reads(shared_daemon: Daemon) -> None:
    with sending(shared_daemon) as process:
        assert ask(process, b"WATCH nothing*").startswith(b"OK ")
        assert process.stdout
        process.stdout.close()
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize(("line", "status"), [(b"SET k v", 7), (b"GET k", 3), (b"PUT k = v", 7), (b"CHECK k", 3)])
def test_a_reply_that_does_not_come(line: bytes, status: int) -> None:
    with scripted(b"") as address:
        text = complaint(run("--addr", address, "send", stdin=line), status)
    assert text.startswith("kvctl: line 1 and those after it have no answer: lost kvd at ")


@pytest.mark.slow
def test_a_silent_daemon_is_given_up_and_a_quiet_one_waited_for(start_daemon: StartDaemon) -> None:
    daemon = start_daemon()
    with sending(daemon, "--timeout=1.5") as process:
        assert ask(process, b"WATCH k").startswith(b"OK ")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2.5)
        assert ask(process, b"PING") == b"OK\n"
        daemon.kill(signal.SIGSTOP)
        try:
            assert process.stdin
            process.stdin.write(b"SET k v\n")
            _, err = process.communicate(timeout=PATIENCE)
        finally:
            daemon.kill(signal.SIGCONT)
    assert process.returncode == 7
    assert b"no byte from the daemon for 1.5 s" in err


def test_a_password_is_not_repeated(shared_daemon: Daemon) -> None:
    result = ctl(shared_daemon, "send", stdin=b"auth me secret\n")
    assert result.returncode == 4
    assert b"secret" not in result.stderr
    assert said(result)[0].endswith(": AUTH ...")


def test_standard_input_that_cannot_be_read(shared_daemon: Daemon) -> None:
    for command in ("send", "txn"):
        with open(os.devnull, "wb") as unreadable:  # noqa: PTH123
            done = subprocess.run(
                [sys.executable, str(PROGRAM), "--addr", shared_daemon.addr, command], stdin=unreadable,
                capture_output=True, timeout=PATIENCE, env=ENVIRONMENT, check=False,
            )  # fmt: skip
        assert "cannot read standard input (Bad file descriptor)" in complaint(done, 2)


# txn


def test_all_is_done_and_what_commit_says_is_printed(shared_daemon: Daemon) -> None:
    lines = (
        b"SET txn/a 1\r\n\nPUT txn/b if=0 = 2\nINCR txn/n 5\nCHECK txn/none if=0\nTOUCH txn/b ttl=50\nPUT txn/q/* = x"
    )
    result = ctl(shared_daemon, "txn", stdin=lines)
    assert (result.returncode, result.stderr) == (0, b"")
    word, revision = result.stdout.split()
    assert word == b"OK"
    with connect(shared_daemon.addr) as kv:
        assert kv.get("txn/a") == b"1"
        assert kv.get(f"txn/q/{int(revision):016}") == b"x"
    again = ctl(shared_daemon, "--json", "txn", stdin=b"DEL txn/a\n")
    assert json.loads(again.stdout) == {"status": "OK", "revision": int(revision) + 1}


def test_a_condition_that_does_not_hold(shared_daemon: Daemon) -> None:
    with connect(shared_daemon.addr) as kv:
        revision = kv.set("txn/c", "old")
        result = ctl(shared_daemon, "txn", stdin=b"SET txn/d 1\nCHECK txn/c if=1\n")
        assert (result.returncode, result.stdout) == (1, b"CONFLICT %d txn/c\n" % revision)
        assert said(result) == [f"kvctl: nothing was done: txn/c's revision is {revision}"]
        assert kv.get("txn/d") is None
        result = ctl(shared_daemon, "--json", "txn", stdin=b"CHECK txn/c if=1\n")
        assert json.loads(result.stdout) == {"status": "CONFLICT", "revision": revision, "key": "txn/c"}


def test_refused_lines_are_named_and_nothing_is_done(shared_daemon: Daemon) -> None:
    result = ctl(shared_daemon, "txn", stdin=b"\nSET txn/e 1\nSET txn/e\nPUT txn/e ttl=x = 5\n")
    assert result.returncode == 2
    assert result.stdout.startswith(b"ERR aborted ")
    first, second, last = said(result)
    assert first.startswith("kvctl: line 3: usage: ")
    assert first.endswith(": SET txn/e")
    assert second.startswith("kvctl: line 4: usage: ")
    assert last == "kvctl: nothing was done"
    result = ctl(shared_daemon, "txn", stdin=b"SET txn/e 1\nSET txn/x y\nINCR txn/x\n")
    assert result.returncode == 4
    assert result.stdout.startswith(b"ERR not-a-number ")
    result = ctl(shared_daemon, "txn", stdin=b"SET txn/e 1\n" * 200)
    assert result.returncode == 2
    assert [line.startswith("kvctl: line ") for line in said(result)] == [True] * 10 + [False] * 2
    assert said(result)[-2:] == ["kvctl: 62 more lines were refused", "kvctl: nothing was done"]
    with connect(shared_daemon.addr) as kv:
        assert kv.get("txn/e") is None


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (b"", "there is nothing on standard input"),
        (b"\n \n", "there is nothing on standard input"),
        (b"SET txn/f 1\nCOMMIT\nSET txn/f 2\n", "line 2: expected SET, PUT, "),
        (b"SET txn/f 1\nQUIT\n", "line 2: expected SET, PUT, "),
        (b"BEGIN\nSET txn/f 1\n", "line 1: expected SET, PUT, "),
        (b"GET txn/f\n", "line 1: expected SET, PUT, "),
        (b"SET txn/f 1\nSET txn/f \xff\nSET txn/f 2\n", "line 2: expected text in UTF-8 "),
        (b"SET txn/f\xe9 1\n", "line 1: expected text in UTF-8 "),
        (b"SET txn/f 1\n" * 400_000, "there is too much on standard input for a transaction"),
    ],
)
def test_lines_that_are_none_of_a_transaction(shared_daemon: Daemon, lines: bytes, says: str) -> None:
    result = ctl(shared_daemon, "txn", stdin=lines)
    assert (result.returncode, result.stdout) == (2, b"")
    assert says in said(result)[0]
    with connect(shared_daemon.addr) as kv:
        assert kv.get("txn/f") is None


@pytest.mark.parametrize(
    ("replies", "lines", "status"),
    [
        ([b""], b"SET k v\n", 7),
        ([b""], b"CHECK k\n", 3),
        ([b"OK\nOK queued\nERR uncertain lost\n"], b"SET k v\n", 7),
        ([b"OK\nOK queued\nERR unavailable later\n"], b"SET k v\n", 6),
        ([b"OK\nOK queued\nfoo\n"], b"SET k v\n", 3),
    ],
)
def test_what_a_transaction_may_meet(replies: list[bytes], lines: bytes, status: int) -> None:
    with scripted(*replies) as address:
        assert run("--addr", address, "txn", stdin=lines).returncode == status


@pytest.mark.slow
def test_a_transaction_is_whole_or_not_at_all_when_the_daemon_is_killed(start_daemon: StartDaemon) -> None:
    daemon = start_daemon()
    with connect(daemon.addr) as kv:
        started = [
            subprocess.Popen(
                [sys.executable, str(PROGRAM), "--addr", daemon.addr, "txn"], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT,
            )
            for _ in range(4)
        ]  # fmt: skip
        for number, process in enumerate(started):
            assert process.stdin
            process.stdin.write(b"".join(b"SET txn%d/%d v\n" % (number, key) for key in range(100)))
            process.stdin.close()
            process.stdin = None
        wait_for("one of them", lambda: kv.count() > 0)
        daemon.kill()
        daemon.wait()
    done = [process.communicate(timeout=PATIENCE)[0].startswith(b"OK ") for process in started]
    daemon.start()
    with connect(daemon.addr) as kv:
        counts = [kv.count(f"txn{number}/*") for number in range(4)]
    assert set(counts) <= {0, 100}
    assert all(count == 100 for count, is_done in zip(counts, done, strict=True) if is_done)
