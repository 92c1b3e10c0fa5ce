"""Found, as relatives of `yes | kvctl set k -`: other commands, too, read what has no end until memory had."""

import asyncio
import base64
import gc
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

from kvd.cli import editing
from kvd.cli.shell import piped
from tests.support.kvctl import ENVIRONMENT, PATIENCE, PROGRAM, Result, complaint, printed, run
from tests.support.processes import Daemon

pytestmark = pytest.mark.slow

LIMIT = "ulimit -v 700000"
"""Less than twice the longest line that a daemon takes."""
ONE_LINE = "tr '\\0' y </dev/zero"


def endless(feed: str, *words: str, **environment: str) -> Result:
    """Run kvctl with an input that does not end, and with little memory."""
    script = f'{LIMIT}; ({feed}) 2>/dev/null | "$@"'
    command = ["bash", "-c", script, "bash", sys.executable, str(PROGRAM), *words]
    environ = ENVIRONMENT | environment
    return subprocess.run(command, capture_output=True, timeout=PATIENCE, env=environ, check=False)


def lines(result: Result) -> list[str]:
    """What is said by one that fails."""
    assert result.returncode == 2, result.stderr
    return result.stderr.decode().splitlines()


@pytest.mark.parametrize("before", ["", "PING\\nSET a "])
def test_a_line_of_the_wire(daemon: Daemon, before: str) -> None:
    result = endless(f"printf '{before}'; {ONE_LINE}", "--addr", daemon.addr, "send")
    refused, ended = lines(result)
    number = before.count("\\n") + 1
    assert refused.startswith(f"kvctl: line {number}: too-long: ")
    assert ended == f"kvctl: line {number} is longer than any that a daemon takes, and the last that was looked at"
    assert printed(run("--addr", daemon.addr, "count")) == b"0\n"


def test_a_line_that_is_only_too_long_is_one_error(daemon: Daemon) -> None:
    long, longest = b"SET a " + b"x" * 1_500_000, b"SET b " + b"x" * 1_048_576
    result = run("--addr", daemon.addr, "send", stdin=b"\n".join((b"PING", long, b"PING after", longest)))
    assert result.returncode == 2
    first, refused, after, last = result.stdout.decode().splitlines()
    assert (first, after, last) == ("OK", "OK after", "OK 1")
    assert refused.startswith("ERR too-long ")
    assert result.stderr.startswith(b"kvctl: line 2: too-long: ")


@pytest.mark.parametrize(
    ("after", "printed_lines", "status", "says"),
    [
        (b"SET b 1\nINCR a\nGET b\n", ["OK 2", "ERR not-a-number the value is no decimal integer", "OK 1"], 4,
         "line 3: not-a-number: "),
        (b"SET b 1\nBEGIN\nSET c 3\n", ["OK 2", "OK", "OK queued"], 2, "line 3: no COMMIT came after this BEGIN"),
        (b"SET b 1\nQUIT\nSET c 3\n", ["OK 2", "OK bye"], 0, ""),
        (b"SET b 1\nPING end", ["OK 2", "OK end"], 0, ""),
    ],
    ids=["error", "begin", "quit", "no end"],
)  # fmt: skip
def test_lines_that_come_with_the_end_of_a_long_one_are_lines_like_others(
    daemon: Daemon, after: bytes, printed_lines: list[str], status: int, says: str
) -> None:
    """Found: they were taken for one line, so that what was wrong with any but the first of them was not told."""
    long = b"PUT a base64 = " + base64.b64encode(bytes(1 << 20))
    result = run("--addr", daemon.addr, "send", stdin=long + b"\n" + after)
    assert result.stdout.decode().splitlines() == ["OK 1", *printed_lines]
    assert result.returncode == status
    assert says in result.stderr.decode()
    assert bool(result.stderr) == bool(says)


def test_a_line_of_the_shell(daemon: Daemon) -> None:
    result = endless(ONE_LINE, "--addr", daemon.addr, "shell")
    assert complaint(result, 2) == "kvctl: a line on standard input is longer than any that a daemon takes\n"


def test_input_that_comes_after_the_end_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found: Python complained, on standard error, of what was never awaited."""
    readers, is_reading, is_over = list[threading.Thread](), threading.Event(), threading.Event()

    def read(_descriptor: int, _most: int) -> bytes:
        readers.append(threading.current_thread())
        if len(readers) > 1:
            is_reading.set()
            is_over.wait(PATIENCE)
        return b"PING\n"

    async def one_line() -> None:
        lines = piped.lines_of_standard_input()
        assert await anext(lines) == b"PING"
        coming = asyncio.ensure_future(anext(lines))
        assert await asyncio.to_thread(is_reading.wait, PATIENCE)
        coming.cancel()

    monkeypatch.setattr(os, "read", read)
    asyncio.run(one_line())
    with warnings.catch_warnings(record=True) as seen:
        is_over.set()
        readers[0].join(PATIENCE)
        gc.collect()
    assert not readers[0].is_alive()
    assert not seen


@pytest.mark.parametrize("system", ["etcd", "consul"])
@pytest.mark.parametrize("feed", ["yes", "cat /dev/zero", "yes '['", "yes '{'"])
def test_the_document_of_another_system(daemon: Daemon, system: str, feed: str) -> None:
    why, nothing = lines(endless(feed, "--addr", daemon.addr, "import", "--from", system, "-"))
    begins = "there is too little memory for" if feed.endswith(("['", "{'")) else "expected"
    assert why.startswith(f"kvctl: {begins} what ")
    assert nothing == "kvctl: nothing was written"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_a_document_in_another_encoding_is_still_taken(daemon: Daemon, encoding: str) -> None:
    document = '\r\n[{"key": "a", "value": "MQ=="}]'.encode(encoding)
    result = run("--addr", daemon.addr, "import", "--from", "consul", "-", stdin=document)
    assert printed(result) == b"1 keys written\n"


def test_a_file_of_settings() -> None:
    said = complaint(endless("true", "ping", KVCTL_CONFIG="/dev/zero"), 2)
    assert said == "kvctl: /dev/zero: it has more than 1048576 bytes; expected a TOML file of contexts\n"


def test_a_certificate() -> None:
    said = complaint(endless("true", "--tls", "--cert", "/dev/zero", "--key", "/dev/zero", "ping"), 2)
    assert said.startswith("kvctl: --cert and --key: '/dev/zero' cannot be used")


def test_a_value_that_an_editor_left(daemon: Daemon, tmp_path: Path) -> None:
    """A file of a gigabyte, of which nothing is on the disk."""
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\ntruncate -s 1G "$1"\n')
    editor.chmod(0o700)
    result = endless("true", "--addr", daemon.addr, "edit", "k", VISUAL=str(editor))
    assert "Traceback" not in result.stderr.decode()
    assert result.returncode == 2
    assert printed(run("--addr", daemon.addr, "count")) == b"0\n"


def test_a_value_that_is_cut_at_a_line_end_is_not_taken_for_a_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fetch(_: dict[str, object]) -> None:
        return None

    monkeypatch.setattr(editing, "LARGEST_VALUE", 3)
    monkeypatch.setattr(editing, "_fetch", fetch)
    monkeypatch.setattr(editing, "_run_editor", lambda file: file.write_bytes(b"abc\nmore\n"))
    args: dict[str, Any] = {"<KEY>": "k"}
    editing.prepare_edit(args)
    args["file"].unlink()
    assert len(args["edited"]) > 3
