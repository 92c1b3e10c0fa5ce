"""Quotas on real daemons: two on one store, of two workers each, which are told other ones while they run."""

import json
import signal
import threading
from pathlib import Path

import pytest

from tests.support.access import PASSWORD, users_text
from tests.support.peers import Peer
from tests.support.processes import Daemon, Redis, StartDaemon, wait_for


def login(peer: Peer) -> None:
    assert peer.ask(f"AUTH ada {PASSWORD}") == "OK"


def reload(daemon: Daemon, file: Path, rights: str) -> None:
    file.write_text(users_text({"ada": {"a/*": rights}}))
    before = daemon.log.count("kvd: reloaded\n")
    daemon.kill(signal.SIGHUP)
    wait_for("the reload", lambda: daemon.log.count("kvd: reloaded\n") > before)


@pytest.mark.slow
def test_two_daemons_of_two_workers_let_in_exactly_so_many(
    start_daemon: StartDaemon, redis: Redis, tmp_path: Path
) -> None:
    file, audit = tmp_path / "users.toml", tmp_path / "audit"
    file.write_text(users_text({"ada": {"a/*": "read,write"}}))
    options = ("--store", redis.tcp_url, "--users", str(file), "--workers", "2")
    one = start_daemon(*options, "--audit", str(audit), data=tmp_path / "one")
    two = start_daemon(*options, data=tmp_path / "two")
    with one.connect() as ada:
        login(ada)
        assert [ada.ask(f"SET a/{number} 1")[:3] for number in range(3)] == ["OK "] * 3
        for daemon in (one, two):
            reload(daemon, file, "read,write,max-keys=60")
        found: list[str] = []

        def write(daemon: Daemon, name: str) -> None:
            with daemon.connect() as peer:
                login(peer)
                for number in range(20):
                    peer.send(f"SET a/{name}-{number} 1\nPUT a/* = 1\n")
                    found.extend(line.split(" ")[0] for line in peer.lines(2))

        threads = [threading.Thread(target=write, args=((one, two)[n % 2], f"{n}")) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (found.count("OK"), found.count("ERR")) == (57, 240 - 57)
        assert ada.ask("COUNT a/*") == "OK 60"
        reload(one, file, "read,write,max-keys=61")
        assert [ada.ask(f"SET a/{name} 1").split(" ")[0] for name in "xyx"] == ["OK", "ERR", "OK"]
        assert ada.ask("COUNT a/*") == "OK 61"
    refused = [json.loads(line) for line in audit.read_text().splitlines() if '"limit"' in line]
    assert refused
    assert {(line["user"], line["code"]) for line in refused} == {("ada", "limit")}
