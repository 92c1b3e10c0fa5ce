"""How an edge reaches its upstream: TLS, and a user."""

import signal
from pathlib import Path

import pytest

from tests.support import tls
from tests.support.access import PASSWORD, users_text
from tests.support.edges import until_done
from tests.support.peers import Peer
from tests.support.ports import quiet_port
from tests.support.processes import Redis, StartDaemon, wait_for

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


@pytest.mark.parametrize("known", [{"others": {"*": "read"}}, {"edges": {"*": "read,write"}}], ids=["nobody", "denied"])
def test_an_edge_goes_on_at_the_next_address_where_one_refuses_who_it_is(
    start_daemon: StartDaemon, redis: Redis, tmp_path: Path, known: dict[str, dict[str, str]]
) -> None:
    """It gave up at its start, however many other addresses it had."""
    refusing, taking, password = tmp_path / "refusing.toml", tmp_path / "taking.toml", tmp_path / "password"
    refusing.write_text(users_text(known))
    taking.write_text(users_text(RULES))
    password.write_text(PASSWORD)
    first, second = (start_daemon("--store", redis.unix_url, "--users", str(users)) for users in (refusing, taking))
    login = ["--follow-user", "edges", "--follow-password-file", str(password)]
    edge = start_daemon("--follow", f"{first.addr},{second.addr}", *login)
    with edge.connect() as peer:
        until_done(peer, "SET a 1")
        assert until_done(peer, "GET a") == "OK 1"
    assert edge.log.count(f"cannot follow: {first.addr} refuses this edge") == 1
    assert f"follows {second.addr}" in edge.log

    # The other one may be back soon: it is waited for, and then all is told.  A new run of the first one has not been
    # asked in vain yet, after which it would take its time to refuse a login.
    edge.stop()
    first.stop()
    first.start()
    with pytest.raises(AssertionError) as refused:
        start_daemon("--follow", f"{first.addr},127.0.0.1:{quiet_port()}", "--store-wait", "3", *login)
    last = str(refused.value).rstrip().splitlines()[-1]
    assert f"{first.addr} refuses this edge" in last
    assert "refused)" in last


def is_refused(peer: Peer) -> bool:
    """Whether a write is; its client is not asked who it is."""
    reply = peer.ask("DEL none")
    # What was in flight while the machine paused longer than the edge waits for its upstream tells nothing.
    assert reply == "NONE" or reply.startswith(("ERR unavailable ", "ERR uncertain ")), reply
    return reply.startswith("ERR unavailable ")
