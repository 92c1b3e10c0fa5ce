"""--audit: what is noted, once, and what comes to pass when it cannot be."""

import json
import os
import shutil
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from kvd.process.audit import Audit
from tests.support.access import PASSWORD, users_text
from tests.support.daemons import one_line_error, run_kvd
from tests.support.kvctl import run
from tests.support.peers import Peer
from tests.support.processes import Daemon, StartDaemon, wait_for

NAMES = {"root": {"*": "read,write,watch"}, "alice": {"a*": "read,write,watch"}}


@pytest.fixture
def users(tmp_path: Path) -> Path:
    file = tmp_path / "users.toml"
    file.write_text(users_text(NAMES))
    return file


def lines(file: Path) -> list[dict[str, Any]]:
    """What is noted, without when and by which process."""
    found = [json.loads(line) for line in file.read_text().splitlines()]
    for line in found:
        assert line.pop("time").endswith("+00:00")
        assert line.pop("process") > 0
    return found


def wait_for_lines(file: Path, count: int) -> list[dict[str, Any]]:
    wait_for(f"{count} lines", lambda: len(file.read_text().splitlines()) >= count)
    return lines(file)


def start(start_daemon: StartDaemon, users: Path, audit: Path, *options: str) -> Daemon:
    daemon: Daemon = start_daemon("--fsync", "no", "--users", str(users), "--audit", str(audit), *options)
    return daemon


def reload(daemon: Daemon) -> None:
    before = daemon.log.count("kvd: reloaded\n")
    daemon.kill(signal.SIGHUP)
    wait_for("the reload", lambda: daemon.log.count("kvd: reloaded\n") > before)


def test_logins_refusals_and_changes_are_noted_once(start_daemon: StartDaemon, users: Path, tmp_path: Path) -> None:
    audit = tmp_path / "audit"
    daemon = start(start_daemon, users, audit, "--listen", f"unix:{tmp_path}/sock")
    assert audit.stat().st_mode & 0o777 == 0o600
    peer_at = {"peer": "127.0.0.1"}
    with daemon.connect() as peer:
        assert peer.ask("GET x").startswith("ERR auth ")
        assert peer.ask(f"AUTH alice {PASSWORD}") == "OK"
        # A login takes so long that what was counted before it may come first.
        assert peer.ask("AUTH secretword x").startswith("ERR auth ")
        peer.send("GET x\nGET y\nGET z\nSET a 1\nGET a\n")
        assert [line[:6] for line in peer.lines(5)] == ["ERR de"] * 3 + ["OK 1", "OK 1"]
        assert peer.ask("WATCH a*").startswith("OK ")
        denied = {"event": "refused", **peer_at, "code": "denied", "user": "alice"}
        wanted = [
            {"event": "refused", **peer_at, "code": "auth", "verb": "GET", "key": "x"},
            {"event": "auth", **peer_at, "user": "alice", "ok": True},
            {"event": "auth", **peer_at, "ok": False},
            {**denied, "verb": "GET", "key": "x"},
            {**denied, "verb": "GET", "repeated": 2},
        ]
        assert wait_for_lines(audit, 5) == wanted
        users.write_text(users_text({"alice": {"b": "read"}}))
        reload(daemon)
        assert " denied " in peer.line()
        # What was counted comes after what was new.
        later = [{"event": "users", "peer": "", "users": 1}, {**denied, "verb": "WATCH"}]
        assert wait_for_lines(audit, 7)[5:] == later
    with socket.socket(socket.AF_UNIX) as local:
        local.connect(f"{tmp_path}/sock")
        mine = Peer(local)
        assert mine.ask("GET x") == "NONE"
        (line,) = wait_for_lines(audit, 8)[7:]
        assert (line["event"], line["by"], line["ok"]) == ("auth", "user id", True)
        mine.close()
    assert "secretword" not in audit.read_text()


def test_what_takes_admin_is_noted_before_it_is_done(start_daemon: StartDaemon, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("only Linux has /dev/full")
    users, audit, link = tmp_path / "users.toml", tmp_path / "audit", tmp_path / "link"
    users.write_text(users_text({"root": {"*": "admin,read,write,max-keys=5"}}))
    link.symlink_to(audit)
    daemon = start(start_daemon, users, link)
    quota = "quota.1 user=root pattern=* keys=- max-keys=5 bytes=- max-bytes=-"
    with daemon.connect() as peer:
        assert peer.ask(f"AUTH root {PASSWORD}") == "OK"
        assert (peer.ask("KICK 1-1"), peer.ask("INFO quotas"), peer.line()) == ("NONE", f"INFO {quota}", "OK")
        assert peer.ask("CLIENTS").startswith("CLIENT ")
        assert peer.line() == "OK 1"
        admin = {"event": "admin", "peer": "127.0.0.1", "user": "root"}
        assert wait_for_lines(audit, 4)[1:] == [
            {**admin, "verb": "KICK", "id": "1-1"},
            {**admin, "verb": "INFO", "section": "quotas"},
            {**admin, "verb": "CLIENTS"},
        ]
        # kvctl understands it.
        found = run("--addr", daemon.addr, "--user", "root", "info", "quotas", KVCTL_PASSWORD=PASSWORD)
        assert found.stdout.decode() == quota + "\n", found.stderr
        link.unlink()
        link.symlink_to("/dev/full")
        reload(daemon)
        for request in ("KICK 1-1", "CLIENTS", "INFO quotas"):
            assert peer.ask(request).startswith("ERR unavailable the audit log cannot be written"), request
        assert peer.ask("SET a 1").startswith("OK ")


def test_while_it_cannot_be_written_nobody_logs_in_and_all_else_goes_on(
    start_daemon: StartDaemon, users: Path, tmp_path: Path
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("only Linux has /dev/full")
    audit, link = tmp_path / "audit", tmp_path / "link"
    link.symlink_to(audit)
    daemon = start(start_daemon, users, link)
    with daemon.connect() as peer, daemon.connect() as other:
        assert peer.ask(f"AUTH alice {PASSWORD}") == "OK"
        link.unlink()
        link.symlink_to("/dev/full")
        reload(daemon)
        for _ in range(2):
            assert other.ask(f"AUTH alice {PASSWORD}").startswith("ERR unavailable the audit log cannot be written")
            assert other.ask("GET a").startswith("ERR auth ")
        assert peer.ask("SET a 1").startswith("OK ")
        assert peer.ask("GET b").startswith("ERR denied ")
        assert daemon.says("No space left on device; nobody can log in")
        link.unlink()
        link.symlink_to(audit)
        reload(daemon)
        assert other.ask(f"AUTH alice {PASSWORD}") == "OK"
    assert lines(audit)[-1] == {"event": "auth", "peer": "127.0.0.1", "user": "alice", "ok": True}


@pytest.mark.slow
def test_a_file_that_was_moved_away_is_made_anew_and_by_all_workers(
    start_daemon: StartDaemon, users: Path, tmp_path: Path
) -> None:
    audit = tmp_path / "audit"
    daemon = start(start_daemon, users, audit, "--workers", "2")
    audit.rename(tmp_path / "audit.1")
    reload(daemon)
    assert lines(audit) == [{"event": "users", "peer": "", "users": 2}] * 2
    audit.rename(tmp_path / "audit.2")
    audit.mkdir()
    reload(daemon)
    assert daemon.says("cannot open")
    with daemon.connect() as peer:
        assert peer.ask(f"AUTH alice {PASSWORD}") == "OK"


def test_where_it_was_removed_nobody_logs_in_until_it_can_be_made_anew(
    start_daemon: StartDaemon, users: Path, tmp_path: Path
) -> None:
    """What is written to a file that has no name is never read."""
    directory = tmp_path / "log"
    directory.mkdir()
    audit = directory / "audit"
    daemon = start(start_daemon, users, audit)
    login = f"AUTH alice {PASSWORD}"
    with daemon.connect() as peer:
        assert peer.ask(login) == "OK"
        shutil.rmtree(directory)
        # Nor is it counted with the line that was written a moment ago.
        assert peer.ask(login).startswith("ERR unavailable the audit log cannot be written")
        reload(daemon)
        assert peer.ask(login).startswith("ERR unavailable the audit log cannot be written")
        assert peer.ask("SET a 1").startswith("OK ")
        directory.mkdir()
        assert peer.ask(login) == "OK"
    assert {"event": "auth", "peer": "127.0.0.1", "user": "alice", "ok": True} in lines(audit)


async def test_what_was_counted_is_written_once_it_can_be(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("only Linux has /dev/full")
    audit, link = tmp_path / "audit", tmp_path / "link"
    link.symlink_to(audit)
    log = Audit(str(link))
    try:
        # The first is written; two more are done, and counted; the last is refused.
        assert [log.note("auth", "here", {"ok": True}) for _ in range(3)] == [True] * 3
        os.truncate(audit, 0)
        os.dup2(full := os.open("/dev/full", os.O_WRONLY), log._descriptor)
        os.close(full)
        log.flush()
        assert not log.note("auth", "here", {"ok": True})
        log.reopen()
        log.flush()
    finally:
        log.close()
    assert lines(audit) == [{"event": "auth", "peer": "here", "ok": True, "repeated": 2}]


async def test_what_was_cut_short_is_ended_by_whoever_writes_next(tmp_path: Path) -> None:
    """A full disk left a part of a line, written by another process, or by this one before it opened the file anew."""
    audit = tmp_path / "audit"
    audit.write_text('{"time": "cut')
    log = Audit(str(audit))
    try:
        assert log.note("auth", "here", {"user": "a", "ok": True})
        with audit.open("a") as other:
            other.write('{"time": "cut')
        log.reopen()
        assert log.note("auth", "here", {"user": "b", "ok": True})
    finally:
        log.close()
    written = audit.read_text().splitlines()
    assert written[0] == written[2] == '{"time": "cut'
    assert [json.loads(line)["user"] for line in (written[1], *written[3:])] == ["a", "b"]


def test_it_is_refused_where_it_cannot_be_made_or_has_nothing_to_tell(users: Path, tmp_path: Path) -> None:
    data = ["--data", str(tmp_path / "data")]
    done = run_kvd(*data, "--users", str(users), "--audit", str(tmp_path / "nowhere" / "audit"))
    assert "--audit: cannot write" in one_line_error(done)
    assert "expected --users FILE beside it" in one_line_error(run_kvd(*data, "--audit", os.devnull))
