"""How an edge reaches its upstream: TLS, and a user."""

import signal
from pathlib import Path

import pytest

from tests.support import tls
from tests.support.access import PASSWORD, users_text
from tests.support.edges import until_done
from tests.support.peers import Peer
from tests.support.processes import StartDaemon, wait_for

RULES = {"edges": {"*": "read,write,watch"}}


def test_an_edge_logs_in_with_tls(start_daemon: StartDaemon, tmp_path: Path) -> None:
    authority = tls.Authority(tmp_path / "ca")
    users, password = tmp_path / "users.toml", tmp_path / "password"
    users.write_text(users_text(RULES))
    password.write_text(f"{PASSWORD}\n")
    root = start_daemon("--users", str(users), *tls.options(authority.sign(tls.HOST)))
    follow = ["--follow", f"tls:{tls.HOST}:{tls.port_of(root)}", "--follow-ca", str(authority.file)]
    edge = start_daemon(*follow, "--follow-user", "edges", "--follow-password-file", str(password))
    with edge.connect() as peer, edge.connect() as watcher:
        until_done(watcher, "WATCH")
        until_done(peer, "SET a 1")
        assert until_done(peer, "GET a") == "OK 1"
        assert watcher.line().startswith("CHANGE 1@")

        # The upstream asks anew who it is, and for a while it is nobody there.
        users.write_text(users_text({"others": RULES["edges"]}))
        root.kill(signal.SIGHUP)
        wait_for("the edge to be nobody", lambda: is_refused(peer))
        users.write_text(users_text(RULES))
        root.kill(signal.SIGHUP)
        wait_for("the edge to be somebody", lambda: peer.ask("SET a 2").startswith("OK "))
        wait_for("the copy", lambda: peer.ask("GET a") == "OK 2")


@pytest.mark.parametrize("options", [[], ["--follow-user", "edges", "--follow-password-file"]], ids=["nobody", "wrong"])
def test_an_edge_that_may_not_follow_says_so_at_once(
    start_daemon: StartDaemon, tmp_path: Path, options: list[str]
) -> None:
    users, password = tmp_path / "users.toml", tmp_path / "password"
    users.write_text(users_text(RULES))
    password.write_text("wrong")
    root = start_daemon("--users", str(users))
    with pytest.raises(AssertionError, match=r"kvd: .*--follow"):
        start_daemon("--follow", root.addr, *options, *([str(password)] if options else []))


def is_refused(peer: Peer) -> bool:
    """Whether a write is; its client is not asked who it is."""
    reply = peer.ask("DEL none")
    # What was in flight while the machine paused longer than the edge waits for its upstream tells nothing.
    assert reply == "NONE" or reply.startswith(("ERR unavailable ", "ERR uncertain ")), reply
    return reply.startswith("ERR unavailable ")
