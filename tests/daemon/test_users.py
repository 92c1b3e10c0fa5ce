"""--users on a real daemon: its read cache, its workers, and SIGHUP."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.access import PASSWORD, users_text
from tests.support.daemons import one_each, one_line_error, run_kvd
from tests.support.peers import Peer
from tests.support.processes import Daemon, StartDaemon, wait_for

ALL = "read,write,watch"
Rules = dict[str, dict[str, str]]
ROOT: Rules = {"root": {"*": ALL}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "users.toml"


def login(peer: Peer, name: str) -> None:
    assert peer.ask(f"AUTH {name} {PASSWORD}") == "OK"


def reload(daemon: Daemon, file: Path, rules: Rules | str, word: str = "kvd: reloaded\n") -> None:
    """Have it read other users; returns when it says what came of it."""
    text = rules if isinstance(rules, str) else users_text(ROOT | rules)
    file.write_text(text)
    before = daemon.log.count(word)
    daemon.kill(signal.SIGHUP)
    wait_for("the reload", lambda: daemon.log.count(word) > before)


def start(start_daemon: StartDaemon, file: Path, rules: Rules, *options: str) -> Daemon:
    file.write_text(users_text(ROOT | rules))
    daemon: Daemon = start_daemon("--fsync", "no", "--users", str(file), *options)
    return daemon


def test_what_is_kept_of_reads_is_for_those_who_may_read_it(start_daemon: StartDaemon, file: Path) -> None:
    daemon = start(start_daemon, file, {"alice": {"a*": ALL}})
    with daemon.connect() as root, daemon.connect() as alice, daemon.connect() as nobody:
        login(root, "root")
        login(alice, "alice")
        for key in ("secret", "a"):
            assert root.ask(f"SET {key} 1").startswith("OK ")
            assert [root.ask(f"GET {key}") for _ in range(3)] == ["OK 1"] * 3
        for spelling in ("GET", "get", "GETS", "TTL"):
            assert alice.ask(f"{spelling} secret") == "ERR denied alice may not read this key"
            assert nobody.ask(f"{spelling} secret").startswith("ERR auth ")
        alice.send("GET a\nGET secret\nGET a\n" * 2)
        assert [line[:6] for line in alice.lines(6)] == ["OK 1", "ERR de", "OK 1"] * 2
        reload(daemon, file, {"alice": {"b*": ALL}})
        assert alice.ask("GET a") == "ERR denied alice may not read this key"
        assert alice.ask("SET a 2") == "ERR denied alice may not write this key"
        assert root.ask("GET a") == "OK 1"


@pytest.mark.slow
def test_a_reload_is_over_when_every_worker_has_it(start_daemon: StartDaemon, file: Path) -> None:
    daemon = start(start_daemon, file, {"alice": {"a*": ALL}}, "--workers", "2")
    with one_each(daemon) as peers:
        for peer in peers:
            login(peer, "alice")
            assert peer.ask("WATCH a*").startswith("OK ")
        for number in range(5):
            reload(daemon, file, {"alice": {"a": ALL, f"b{number}*": ALL}})
            # Each has it, at once: no waiting here.
            assert all("denied" in peer.line() for peer in peers) if number == 0 else True
            assert [peer.ask("SET ab 1") for peer in peers] == ["ERR denied alice may not write this key"] * 2
            assert [peer.ask(f"GET b{number}x") for peer in peers] == ["NONE"] * 2
    reload(daemon, file, "[users", "kvd: reloaded nothing")
    # One that is started again has what was read last.
    pids = daemon.worker_pids()
    os.kill(pids[0], signal.SIGKILL)
    wait_for("another worker", lambda: pids[0] not in daemon.worker_pids() and len(daemon.worker_pids()) == 2)
    wait_for("it to listen", lambda: f"worker 1 is process {daemon.worker_pids()[0]}" in daemon.log or
             f"worker 1 is process {daemon.worker_pids()[1]}" in daemon.log)  # fmt: skip
    with one_each(daemon) as peers:
        for peer in peers:
            login(peer, "alice")
        assert [peer.ask("GET b4x") for peer in peers] == ["NONE"] * 2
        assert [peer.ask("GET ab")[:10] for peer in peers] == ["ERR denied"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_watch_gets_all_up_to_the_position_where_it_ends_and_nothing_after(
    start_daemon: StartDaemon, file: Path, workers: str
) -> None:
    """Under writes all the time, which the watch may see, then not."""
    daemon = start(start_daemon, file, {"alice": {"a/*": "watch"}}, "--workers", workers)
    stop = threading.Event()
    written: list[int] = []

    def write() -> None:
        with daemon.connect() as peer:
            login(peer, "root")
            while not stop.is_set():
                peer.send("SET a/x 1\nSET b 1\n" * 20)
                revisions = [int(line.removeprefix("OK ")) for line in peer.lines(40)]
                written.extend(revisions[::2])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            reload(daemon, file, {"alice": {"a/*": "watch"}})
            with daemon.connect() as peer:
                login(peer, "alice")
                begin = int(peer.ask("WATCH a/*").removeprefix("OK ").partition("@")[0])
                seen = [_revision(peer.line()) for _ in range(200)]
                reload(daemon, file, {"alice": {"b": "watch"}})
                while not (line := peer.line()).startswith("END "):
                    seen.append(_revision(line))
                assert line.endswith(" denied alice may not watch all keys of this pattern")
                end = _revision(line)
                assert peer.ask("PING still here") == "OK still here"
                wait_for("the writer", lambda after=end: written[-1] > after)
                assert seen == [one for one in written if begin < one <= end]
    finally:
        stop.set()
        writer.join()


def _revision(line: str) -> int:
    return int(line.split(" ")[1].partition("@")[0])


def test_a_file_that_cannot_be_used_changes_nothing(start_daemon: StartDaemon, file: Path) -> None:
    daemon = start(start_daemon, file, {"alice": {"a*": ALL}})
    good = file.read_text()
    with daemon.connect() as peer:
        login(peer, "alice")
        broken: list[tuple[str, Callable[[], object]]] = [
            ("not TOML", lambda: file.write_text(good + "[")),
            ("expected any of read", lambda: file.write_text(good.replace("'read'", "'reed'"))),
            ("is not UTF-8", lambda: file.write_bytes(b"\xff")),
            ("anybody may write to", lambda: make_writable(file, good)),
            ("No such file", file.unlink),
        ]
        for said, breaks in broken:
            breaks()
            daemon.kill(signal.SIGHUP)
            assert daemon.says(said)
            assert peer.ask("SET a 1").startswith("OK ")
            assert peer.ask("GET b") == "ERR denied alice may not read this key"
        assert "kvd: reloaded\n" not in daemon.log


def make_writable(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o666)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "No such file or directory"),
        ("[users.a]\nrules = 1", "user a: rules: expected a table"),
    ],
)
def test_it_does_not_start_with_users_that_it_cannot_read(
    tmp_path: Path, file: Path, text: str | None, said: str
) -> None:
    if text:
        file.write_text(text)
    done = run_kvd("--data", str(tmp_path / "data"), "--users", str(file))
    assert said in one_line_error(done)
    assert not (tmp_path / "data").exists()


def test_passwords_are_in_no_log(start_daemon: StartDaemon, file: Path) -> None:
    daemon = start(start_daemon, file, {}, "--log-level", "debug")
    with daemon.connect() as peer:
        login(peer, "root")
        assert peer.ask("AUTH root secret-word").startswith("ERR auth ")
        assert peer.ask("AUTH secret-name x").startswith("ERR auth ")
    assert daemon.says("a login of root from 127.0.0.1 failed")
    assert daemon.says("a login of somebody unknown from 127.0.0.1 failed")
    assert "secret" not in daemon.log
    assert PASSWORD.strip() not in daemon.log
