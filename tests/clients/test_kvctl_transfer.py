"""kvctl export and import: any bytes, times to live and owners, at one position; all lines are looked at first."""

import base64
import json
import math
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kvd.cli.entries import BadEntry, Reader
from kvd.client.sync import Client, connect
from kvd.errors import Unavailable
from tests.support.access import users_text
from tests.support.kvctl import ENVIRONMENT, PROGRAM, Result, Word, complaint, printed, run, scripted
from tests.support.line import Line
from tests.support.odd_values import VALUES
from tests.support.processes import PATIENCE, Daemon, Redis, StartDaemon, wait_for


@pytest.fixture
def empty(shared_daemon: Daemon) -> Daemon:
    """A daemon without keys."""
    with connect(shared_daemon.addr) as kv:
        kv.delete_all("*", limit=10**6)
    return shared_daemon


def ctl(daemon: Daemon, *words: Word, stdin: bytes = b"") -> Result:
    return run("--addr", daemon.addr, *words, stdin=stdin)


def exported(daemon: Daemon, *words: Word) -> list[dict[str, Any]]:
    """The lines of an export, without their revisions."""
    result = ctl(daemon, "export", *words)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return [{name: of for name, of in line.items() if name != "revision"} for line in lines]


def imported(daemon: Daemon, *entries: object) -> Result:
    return ctl(daemon, "import", stdin=b"".join(json.dumps(entry).encode() + b"\n" for entry in entries))


def said(result: Result) -> list[str]:
    return result.stderr.decode().splitlines()


def stored(daemon: Daemon) -> dict[str, bytes]:
    with connect(daemon.addr) as kv:
        return {item.key: item.value for item in kv.list()}


def test_any_bytes_go_out_and_come_in(empty: Daemon, tmp_path: Path) -> None:
    with connect(empty.addr) as kv:
        for key, value in VALUES.items():
            kv.set(key, value)
        file = tmp_path / "copy.jsonl"
        said = ctl(empty, "export", "*", str(file)).stderr.decode()
        assert said.startswith(f"kvctl: exported {len(VALUES)} keys at ")
        position = said.split()[-1]
        assert kv.changes(position).position == position  # it is the store's present one
        by_listing = printed(ctl(empty, "--json", "list"))
        assert [json.loads(line) for line in file.read_text().splitlines()] == [
            json.loads(line) for line in by_listing.splitlines()
        ]
        for source in (file.read_bytes(), by_listing):
            assert kv.delete_all("*", limit=1000) == len(VALUES)
            assert printed(ctl(empty, "import", stdin=source)) == f"{len(VALUES)} keys written\n".encode()
            assert stored(empty) == VALUES


def test_a_pattern_chooses_keys(empty: Daemon) -> None:
    imported(empty, {"key": "a/1", "value": "x"}, {"key": "b", "value": "y"})
    assert exported(empty, "a/*") == [{"key": "a/1", "value": "x"}]
    assert exported(empty, "b") == [{"key": "b", "value": "y"}]
    assert exported(empty, "nothing*") == []
    # The word was to be the name of a file.
    assert (
        b"there is no key all.jsonl; to write all keys to a file: kvctl export '*' all.jsonl\n"
        in run("export", "all.jsonl", KVCTL_ADDR=empty.addr).stderr
    )


def test_times_to_live_and_owners_are_carried(empty: Daemon) -> None:
    """Owners first, wherever they are in the file, and what lives with them after."""
    printed(imported(empty, {"key": "a", "value": "1", "with": "z"}, {"key": "z", "value": "2", "ttl": 500.25},
                     {"key": "m", "value": "3", "ttl": None}))  # fmt: skip
    lines = exported(empty)
    assert [line["key"] for line in lines] == ["m", "z", "a"]
    assert 400 < lines[1].pop("ttl") <= 500.25
    assert lines == [{"key": "m", "value": "3"}, {"key": "z", "value": "2"}, {"key": "a", "value": "1", "with": "z"}]
    with connect(empty.addr) as kv:
        kv.delete_all("*", limit=10)
        printed(imported(empty, *lines[::-1]))
        assert kv.ttl("m") == math.inf
        kv.delete("z")
        assert kv.get("a") is None


def test_the_last_line_of_a_key_counts_with_owners_too(empty: Daemon) -> None:
    printed(imported(empty, {"key": "k", "value": "1"}, {"key": "k", "value": "2"}, {"key": "o", "value": ""},
                     {"key": "l", "value": "1", "with": "o"}, {"key": "l", "value": "2"},
                     {"key": "m", "value": "1"}, {"key": "m", "value": "2", "with": "o"}))  # fmt: skip
    assert stored(empty) == {"k": b"2", "o": b"", "l": b"2", "m": b"2"}
    assert [line["key"] for line in exported(empty) if "with" in line] == ["m"]


def test_an_export_is_of_one_position_while_others_write(empty: Daemon) -> None:
    """Two keys are always written together: no export has the one without the other, nor a key twice."""
    fill(empty, 3000)
    begun, stopped = threading.Event(), threading.Event()

    def write() -> None:
        with connect(empty.addr) as kv:
            number = 0
            while not stopped.is_set():
                number += 1
                with kv.transaction() as together:
                    together.set("key/00000", f"{number}")
                    together.set("key/02999", f"{number}")
                    together.set(f"key/{number % 3000:05}-new", "x")
                    together.delete(f"key/{(number - 500) % 3000:05}-new")
                begun.set()

    writing = threading.Thread(target=write)
    writing.start()
    try:
        assert begun.wait(PATIENCE)
        for _ in range(4):
            lines = exported(empty)
            found = {line["key"]: line["value"] for line in lines}
            assert len(found) == len(lines)
            assert found["key/00000"] == found["key/02999"]
    finally:
        stopped.set()
        writing.join()


def test_the_file_is_replaced_as_a_whole(empty: Daemon, tmp_path: Path) -> None:
    file, link = tmp_path / "copy", tmp_path / "link"
    file.write_text("old")
    file.chmod(0o640)
    link.symlink_to(file)
    imported(empty, {"key": "k", "value": "v"})
    with scripted(b"OK 1\n", b"PAIR 1 k v\n") as address:  # lost before the copy is whole
        assert "lost kvd" in complaint(run("--addr", address, "export", "*", str(link)), 3)
    assert file.read_text() == "old"
    assert ctl(empty, "export", "*", str(link)).returncode == 0
    assert json.loads(file.read_text())["key"] == "k"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "link"]
    assert "cannot write" in complaint(ctl(empty, "export", "*", str(tmp_path / "no" / "file")), 5)
    assert ctl(empty, "export", "*", "/dev/stdout").stdout == file.read_bytes()


def test_nothing_is_written_to_a_pipe_before_the_copy_is_whole() -> None:
    with scripted(b"OK 1\n", b"PAIR 1 k v\n") as address:
        result = run("--addr", address, "export")
    assert (result.returncode, result.stdout) == (3, b"")
    with scripted(b"OK 1\n", b"PAIR 1 k v\nERR denied no\n") as address:
        result = run("--addr", address, "export")
    assert (result.returncode, result.stdout) == (4, b"")


BAD = [
    ("[1]", "expected a JSON object"),
    ("{", "expected a JSON object"),
    (b'{"key": "\xff", "value": ""}', "expected UTF-8"),
    ({"value": "v"}, 'no "key"'),
    ({"key": 5, "value": "v"}, 'expected a "key", which is a string, not 5'),
    ({"key": "a b", "value": "v"}, "invalid key 'a b'"),
    ({"key": "k" * 513, "value": "v"}, "invalid key"),
    ({"key": "k"}, 'expected a "value" or a "base64"'),
    ({"key": "k", "value": "v", "base64": "dg=="}, 'expected a "value" or a "base64"'),
    ({"key": "k", "value": 7}, '"value": expected a string, not 7'),
    ({"key": "k", "value": None}, '"value": expected a string, not null'),
    ({"key": "k", "value": "\ud800"}, "surrogate"),
    ({"key": "k", "base64": "d g=="}, '"base64": expected base64'),
    ({"key": "k", "value": "x" * 1025}, "the value has 1025 bytes, and this daemon takes at most 1024"),
    ({"key": "k", "value": "\0" * 1025}, "the value has 1025 bytes"),
    ({"key": "k", "value": "é" * 600}, "the value has 1200 bytes"),
    ({"key": "k", "value": "v", "ttl": 0}, '"ttl": expected seconds'),
    ({"key": "k", "value": "v", "ttl": "5"}, '"ttl": expected seconds'),
    ({"key": "k", "value": "v", "ttl": True}, '"ttl": expected seconds'),
    ({"key": "k", "value": "v", "ttl": math.nan}, '"ttl": expected seconds'),
    ({"key": "k", "value": "v", "ttl": 10**10}, '"ttl": expected seconds'),
    ({"key": "k", "value": "v", "ttl": 5, "with": "a"}, 'expected a "ttl" or a "with", not both'),
    ({"key": "k", "value": "v", "with": 5}, '"with": expected a key, not 5'),
    ({"key": "k", "value": "v", "with": "a*"}, "invalid key 'a*'"),
    ({"key": "k", "value": "v", "tll": 5}, "unknown name tll"),
    ({"kvd-backup": 1, "version": "0.1.0"}, "this is a backup: kvd restore makes"),
]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that takes values of a kibibyte, and writes from all but for what begins with `closed/`."""
    directory = tmp_path_factory.mktemp("small")
    users = directory / "users.toml"
    users.write_text(users_text({"default": {"open/*": "read,write,watch", "*": "read"}}))
    daemon = Daemon(directory / "data", ["--max-value", "1KiB", "--users", str(users)])
    daemon.start()
    yield daemon
    daemon.stop()


@pytest.mark.parametrize(("line", "says"), BAD, ids=[says for _, says in BAD])
def test_what_is_wrong_with_a_line(line: object, says: str) -> None:
    raw = line if isinstance(line, bytes) else line.encode() if isinstance(line, str) else json.dumps(line).encode()
    reader = Reader(1024, create_only=False)
    assert reader.simple(raw + b"\n", 1) is None
    with pytest.raises(BadEntry) as error:
        reader.entry(raw)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"key": "a b", "value": "v"}, "invalid key 'a b'"),
        (
            {"key": "k", "revision": 1, "value": "x" * 1025},
            "the value has 1025 bytes, and this daemon takes at most 1024",
        ),
        ({"key": "k", "value": "x" * 100_000}, "it is longer than one with the longest value that this daemon takes"),
        ({"key": "k", "value": "v", "with": "k"}, '"with": k lives with another key itself'),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_written(small: Daemon, line: object, says: str) -> None:
    good = b'{"key": "open/k", "revision": 1, "value": "v"}\n'
    result = ctl(small, "import", stdin=good + b"\n" + json.dumps(line).encode() + b"\n" + good)
    first, *_, last = result.stderr.decode().splitlines()
    assert (result.returncode, result.stdout) == (2, b"")
    assert first.startswith("kvctl: line 3: ")
    assert says in first
    assert last == "kvctl: nothing was written"
    assert stored(small) == {}


def test_ten_bad_lines_are_named_and_the_others_counted(small: Daemon) -> None:
    result = ctl(small, "import", stdin=b"no\n" * 25)
    lines = result.stderr.decode().splitlines()
    assert [line.split(":")[1] for line in lines[:10]] == [f" line {number}" for number in range(1, 11)]
    assert lines[10:] == ["kvctl: and 15 more", "kvctl: nothing was written"]


def test_a_file_that_is_not_there(small: Daemon, tmp_path: Path) -> None:
    assert "cannot read" in complaint(ctl(small, "import", str(tmp_path / "no")), 2)
    assert "Is a directory" in complaint(ctl(small, "import", str(tmp_path)), 2)


def test_a_dry_run_writes_nothing_and_create_only_leaves_what_is_there(empty: Daemon) -> None:
    lines = b"".join(b'{"key": "%d", "value": "new"}\n' % number for number in range(5))
    assert printed(ctl(empty, "import", "--dry-run", stdin=lines)) == b"5 keys to write\n"
    assert stored(empty) == {}
    assert ctl(empty, "import", "--dry-run", stdin=lines + b"{}\n").returncode == 2
    printed(imported(empty, {"key": "3", "value": "old"}))
    assert printed(ctl(empty, "import", "--create-only", stdin=lines)) == b"4 keys written; 1 were there\n"
    assert stored(empty) == {"0": b"new", "1": b"new", "2": b"new", "3": b"old", "4": b"new"}
    again = ctl(empty, "--json", "import", "--create-only", "-", stdin=lines)
    assert json.loads(printed(again)) == {"written": 0, "there": 5}


def test_the_last_line_needs_no_end(empty: Daemon) -> None:
    printed(ctl(empty, "import", stdin=b'\n{"key": "a", "value": "1"}\r\n\n{"key": "b", "value": "2"}'))
    assert stored(empty) == {"a": b"1", "b": b"2"}
    assert printed(ctl(empty, "import", stdin=b"")) == b"0 keys written\n"


def test_an_owner_that_is_not_there(empty: Daemon) -> None:
    result = imported(empty, {"key": "a", "value": "1"}, {"key": "b", "value": "2", "with": "nobody"})
    assert result.returncode == 1
    assert result.stderr.decode().splitlines() == [
        "kvctl: b is to live with nobody, and there is no such key",
        "kvctl: 1 of 2 keys were written; to run import again is safe",
    ]


# From other systems


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def from_system(daemon: Daemon, system: str, document: object, *words: str) -> Result:
    return ctl(daemon, "import", "--from", system, *words, stdin=json.dumps(document).encode())


def test_what_etcdctl_prints(empty: Daemon) -> None:
    about = {"create_revision": 2, "mod_revision": 3, "version": 1}
    kvs = [
        {"key": b64("/config/é"), "value": b64("{}"), **about},
        {"key": b64("empty"), **about},
        {"key": b64("leased"), "value": b64("x"), "lease": 7587862094806107652, **about},
    ]
    result = from_system(empty, "etcd", {"header": {"revision": 5}, "kvs": kvs, "count": 3})
    assert (result.returncode, result.stdout) == (0, b"3 keys written\n")
    assert said(result) == ["kvctl: 1 keys have a lease, whose time is not in the file: they will not expire"]
    assert stored(empty) == {"/config/é": b"{}", "empty": b"", "leased": b"x"}
    assert printed(from_system(empty, "etcd", {"header": {}})) == b"0 keys written\n"
    kvs += [{"key": b64("two words"), "value": b64("x")}, {"value": b64("x")}, {"key": "/w==", "value": ""}]
    result = from_system(empty, "etcd", {"kvs": kvs}, "--dry-run")
    assert result.returncode == 2
    assert [line.partition(": ")[2][:30] for line in said(result)[1:4]] == [
        "key 4: invalid key 'two words'", 'key 5: expected a "key", and a', "key 6: the key b'\\xff' is not "
    ]  # fmt: skip
    assert said(result)[-1] == "kvctl: nothing was written"
    assert from_system(empty, "etcd", {"kvs": [], "more": True}).returncode == 2


def test_what_consul_prints(empty: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "consul.json"
    file.write_text(json.dumps([
        {"key": "web/", "flags": 0, "value": ""},
        {"key": "web/port", "flags": 42, "value": b64("80")},
        {"key": "web/none", "flags": 0, "value": None},
    ]))  # fmt: skip
    assert printed(ctl(empty, "import", "--from", "consul", str(file))) == b"3 keys written\n"
    assert stored(empty) == {"web/": b"", "web/port": b"80", "web/none": b""}
    documents: list[object] = [{}, [5], [{"key": 5}], [{"key": "k", "value": "?"}], [{"key": "k", "value": 5}], "no"]
    for document in documents:
        result = from_system(empty, "consul", document)
        assert result.returncode == 2
        assert said(result)[-1] == "kvctl: nothing was written"
    assert b"which is JSON" in ctl(empty, "import", "--from", "consul", stdin=b"[").stderr


@pytest.mark.slow
def test_the_strings_of_a_redis_with_their_times_to_live(empty: Daemon, redis: Redis) -> None:
    for words in (("SET", "a", "1"), ("SET", "b", "x\ny"), ("PEXPIRE", "b", "500500"), ("LPUSH", "list", "x")):
        redis.cli(*words)
    redis.cli("EVAL", "for i = 1, 2000 do redis.call('SET', 'many/' .. i, i) end", "0")
    result = ctl(empty, "import", "--from", "redis", redis.tcp_url)
    assert (result.returncode, result.stdout) == (0, b"2002 keys written\n")
    assert said(result) == ["kvctl: 1 keys are no strings, and left out"]
    with connect(empty.addr) as kv:
        assert (kv.get("a"), kv.get("b"), kv.count("many/*")) == (b"1", b"x\ny", 2000)
        assert kv.ttl("a") == math.inf
        assert 400 < (kv.ttl("b") or 0) <= 500.5
    redis.cli("SET", "two words", "x")
    result = ctl(empty, "import", "--from", "redis", redis.unix_url)
    assert result.returncode == 2
    assert said(result)[1].startswith("kvctl: key two words: invalid key 'two words'")


def test_a_redis_that_is_not_there(empty: Daemon, tmp_path: Path) -> None:
    result = ctl(empty, "import", "--from", "redis", f"unix://:secret@{tmp_path}/no")
    assert result.returncode == 3
    assert b"import --from redis: " in result.stderr
    assert b"secret" not in result.stderr
    for words in ([], ["127.0.0.1"], ["ftp://x"]):
        assert ctl(empty, "import", "--from", "redis", *words).returncode == 2
    assert "expected etcd, consul or redis" in complaint(ctl(empty, "import", "--from", "zookeeper"), 2)


# On the way


def fill(daemon: Daemon, count: int) -> None:
    lines = b"".join(b'{"key": "key/%05d", "value": "%0100d"}\n' % (number, number) for number in range(count))
    printed(ctl(daemon, "import", stdin=lines))


def test_a_denied_key_ends_it_with_the_number_of_those_written(small: Daemon) -> None:
    keys = ["open/1", "closed/1", "open/2"]
    result = imported(small, *({"key": key, "value": "v"} for key in keys))
    assert result.returncode == 4
    first, second = result.stderr.decode().splitlines()
    assert first.startswith("kvctl: closed/1: denied: ")
    assert second == "kvctl: 2 of 3 keys were written; to run import again is safe"
    with connect(small.addr) as kv:
        kv.delete_all("open/*")


@pytest.mark.slow
def test_a_full_store_ends_it_with_the_number_of_those_written(start_daemon: StartDaemon, redis: Redis) -> None:
    daemon = start_daemon("--store", redis.unix_url)
    lines = b"".join(b'{"key": "key/%d", "value": "%05000d"}\n' % (number, number) for number in range(4_000))
    used = int(redis.cli("INFO", "memory").partition("used_memory:")[2].split()[0])
    redis.cli("CONFIG", "SET", "maxmemory", f"{used + 10_000_000}")
    result = ctl(daemon, "import", stdin=lines)
    assert result.returncode == 6
    first, second = result.stderr.decode().splitlines()
    assert "unavailable: " in first
    with connect(daemon.addr) as kv:
        assert second.startswith(f"kvctl: {kv.count()} of 4000 keys were written")
        assert 0 < kv.count() < 4_000
        redis.cli("CONFIG", "SET", "maxmemory", "0")
        wait_for("free memory", lambda: _takes_writes(kv))
        assert ctl(daemon, "import", stdin=lines).returncode == 0
        assert kv.count("key/*") == 4_000


def _takes_writes(kv: Client) -> bool:
    try:
        kv.set("probe", "x")
    except Unavailable:
        return False
    return True


@pytest.mark.slow
def test_a_daemon_that_is_killed_on_the_way(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """What is told as written is there; run again it does the rest."""
    daemon = start_daemon()
    file = tmp_path / "lines"
    count = 60_000
    file.write_bytes(b"".join(b'{"key": "key/%d", "value": "%0100d"}\n' % (n, n) for n in range(count)))
    # However late it is killed, there is something left to do.
    line = Line(daemon.port, file.stat().st_size // 2)
    command = [sys.executable, str(PROGRAM), "--addr", line.address, "import", str(file)]
    with connect(daemon.addr) as kv, subprocess.Popen(command, stderr=subprocess.PIPE, env=ENVIRONMENT) as importing:
        wait_for("some keys", lambda: kv.count() > 1000)
        daemon.kill()
        daemon.wait()
        _, said = importing.communicate(timeout=PATIENCE)
    line.close()
    assert importing.returncode == 7, said
    words = said.decode().splitlines()[-1].split()
    written, perhaps = int(words[1]), int(words[11])
    daemon.start()
    with connect(daemon.addr) as kv:
        assert written <= kv.count() <= written + perhaps
    printed(ctl(daemon, "import", str(file)))
    assert len(stored(daemon)) == count


@contextmanager
def silent_at_writes() -> Iterator[str]:
    """A daemon that answers PING and INFO, and nothing else."""

    def serve() -> None:
        for _ in range(2):
            peer, _ = server.accept()
            with peer, peer.makefile("rb") as requests:
                for request in requests:
                    peer.sendall({b"PING\n": b"OK\n", b"INFO\n": b"INFO max-value 1000\nOK\n"}.get(request, b""))

    with socket.create_server(("127.0.0.1", 0)) as server:
        serving = threading.Thread(target=serve)
        serving.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        serving.join()


def test_a_silent_daemon_is_given_up() -> None:
    with silent_at_writes() as address:
        result = run("--addr", address, "--timeout", "1.5", "import", stdin=b'{"key": "k", "value": "v"}\n')
    assert result.returncode == 7
    assert b"no byte from the daemon for 1.5 s" in result.stderr
    assert b"0 of 1 keys were written, and perhaps up to 1 more; to run import again is safe" in result.stderr


# On a terminal


def progress_of(*words: str) -> bytes:
    """What kvctl shows on a terminal on which its standard error is."""
    terminal, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), *words], stdout=subprocess.DEVNULL, stderr=theirs,
        env=ENVIRONMENT | {"TERM": "xterm", "COLUMNS": "100"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(terminal, 1 << 16):
            shown += piece
    except OSError:  # the last process on the terminal has ended
        pass
    finally:
        os.close(terminal)
    assert process.wait(PATIENCE) == 0, shown
    return shown


@pytest.mark.slow
def test_a_bar_is_shown_on_a_terminal_and_nowhere_else(empty: Daemon, tmp_path: Path) -> None:
    fill(empty, 5000)
    file = tmp_path / "copy"
    shown = progress_of("--addr", empty.addr, "export", "*", str(file))
    assert b"reading" in shown
    assert b"5,000 of 5,000" in shown
    shown = progress_of("--addr", empty.addr, "import", str(file))
    assert b"reading" in shown
    assert b"writing" in shown
    assert b"5,000 of 5,000" in shown
    assert ctl(empty, "export", "*", str(file)).stderr.startswith(b"kvctl: exported 5000 keys at ")
    assert b"5,000 of 5,000" in progress_of("--addr", empty.addr, "backup", str(file))


@pytest.mark.slow
def test_ctrl_c_writes_nothing(empty: Daemon) -> None:
    command = [sys.executable, str(PROGRAM), "--addr", empty.addr, "import"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT) as importing:
        assert importing.stdin
        importing.stdin.write(b'{"key": "k", "value": "v"}\n' * 10_000)
        importing.stdin.flush()  # it has read some of it
        importing.send_signal(signal.SIGINT)
        _, said = importing.communicate(timeout=PATIENCE)
    assert (importing.returncode, said) == (130, b"")
    assert stored(empty) == {}
