"""CLIENTS and KICK: who is connected, to whichever process of the daemon, and how a connection is ended."""

import os
import pwd
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import psutil
import pytest

from kvd.client import sync
from kvd.errors import Denied
from kvd.session.clients import PAGE
from tests.support import kvctl
from tests.support.access import PASSWORD, users_text
from tests.support.daemons import one_each, stopped_store
from tests.support.http_client import port_of
from tests.support.peers import Peer
from tests.support.processes import Daemon, StartDaemon, wait_for

SILENT = "ERR unavailable "
"""How a process says that another one was silent for seconds: so is any, when the machine stands still."""


def clients(peer: Peer, options: str = "") -> dict[str, dict[str, list[str]]]:
    """What CLIENTS tells of each connection, by its id."""
    request = f"CLIENTS{options}"
    while (line := peer.ask(request)).startswith(SILENT):
        pass
    found: dict[str, dict[str, list[str]]] = {}
    while not line.startswith("OK "):
        word, name, *told = line.split(" ")
        assert word == "CLIENT"
        facts = found.setdefault(name, {})
        for fact in told:
            what, _, said = fact.partition("=")
            facts.setdefault(what, []).append(said)
        line = peer.line()
    assert line == f"OK {len(found)}"
    return found


def address_of(peer: Peer) -> str:
    host, port = peer.socket.getsockname()[:2]
    return f"{host}:{port}"


def id_of(asked: Peer, peer: Peer) -> str:
    return next(name for name, facts in clients(asked).items() if facts["address"] == [address_of(peer)])


@pytest.fixture(scope="module", params=[1, 3], ids=["one process", "three workers"])
def serving(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon of as many processes."""
    daemon = Daemon(tmp_path_factory.mktemp("serving") / "data", ["--workers", f"{request.param}"])
    daemon.start()
    yield daemon
    daemon.stop()


@pytest.fixture
def peers(serving: Daemon) -> Iterator[tuple[Daemon, list[Peer]]]:
    """A daemon, and a connection to each of its processes that serve."""
    if not serving.worker_pids():
        with serving.connect() as peer:
            yield serving, [peer]
    else:
        with one_each(serving) as found:
            yield serving, found


def test_who_is_asked_tells_of_the_connections_of_all_processes(peers: tuple[Daemon, list[Peer]]) -> None:
    daemon, asked = peers
    with ExitStack() as stack:
        more = [stack.enter_context(daemon.connect()) for _ in range(7)]
        for peer in more:
            assert peer.ask("PING") == "OK"
        everybody = {address_of(peer) for peer in (*asked, *more)}
        for peer in asked:
            assert everybody <= {facts["address"][0] for facts in clients(peer).values()}
        gone = {address_of(peer) for peer in more}
    for peer in asked:
        wait_for("their ends", partial(are_gone, peer, gone))


def are_gone(asking: Peer, addresses: set[str]) -> bool:
    return not addresses & {facts["address"][0] for facts in clients(asking).values()}


def test_a_connection_of_any_process_is_kicked(peers: tuple[Daemon, list[Peer]]) -> None:
    _, asked = peers
    asking, *others = asked
    for peer in others:
        request = f"KICK {id_of(asking, peer)}"
        kicked = {"OK"}
        while (reply := asking.ask(request)).startswith(SILENT):
            # It may have been kicked all the same.
            kicked = {"OK", "NONE"}
        assert reply in kicked
        assert peer.line() == ""
    own = id_of(asking, asking)
    asking.send(f"SET a 1\nKICK {own}\nSET b 2\n")
    assert asking.line().startswith("OK ")
    assert asking.line() == "OK"
    assert asking.line() == ""


def test_pages_have_each_connection_once(peers: tuple[Daemon, list[Peer]]) -> None:
    daemon, (asking, *_) = peers
    with ExitStack() as stack:
        more = [stack.enter_context(daemon.connect()) for _ in range(PAGE + 20)]
        for peer in more:
            assert peer.ask("PING") == "OK"
        addresses = {address_of(peer) for peer in more}
        # Others, which a test before this one had, may be about to end.
        there = [name for name, facts in clients(asking).items() if facts["address"][0] in addresses]
        assert len(there) == PAGE + 20
        names: list[str] = []
        while page := clients(asking, " limit=50" + (f" after={names[-1]}" if names else "")):
            assert len(page) <= 50
            names += page
        assert [name for name in names if name in there] == there
        assert len(set(names)) == len(names)
        with sync.connect(daemon.addr) as kv:
            assert [one.id for one in kv.clients() if one.id in there] == there
            assert len(list(kv.clients(limit=PAGE + 5))) == PAGE + 5


def test_a_process_that_is_stopped_keeps_nobody_waiting_for_long(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--workers", "2")
    with one_each(daemon) as (asking, other):
        first, second = daemon.worker_pids()
        name = id_of(asking, other)
        os.kill(second, signal.SIGSTOP)
        try:
            assert asking.ask(f"KICK {name}").startswith("ERR unavailable ")
            assert asking.ask("PING") == "OK"
        finally:
            os.kill(second, signal.SIGCONT)
        # What it was asked while it was stopped, it does when it goes on.
        assert other.line() == ""
        wait_for("an answer", lambda: name not in clients(asking))
        os.kill(second, signal.SIGKILL)
        wait_for("another worker", lambda: set(daemon.worker_pids()) - {first, second} != set())
        assert {name.partition("-")[0] for name in clients(asking)} == {f"{first}"}


def test_a_line_tells_what_is_known_of_a_connection(start_daemon: StartDaemon, tmp_path: Path) -> None:
    path = tmp_path / "kvd.sock"
    began = int(time.time() * 1000)
    daemon = start_daemon("--listen", "127.0.0.1:0", "--listen", f"unix:{path}")
    with daemon.connect() as asking, daemon.connect() as peer, sync.connect(f"unix:{path}") as kv:
        for _ in range(3):
            assert peer.ask("GET a") == "NONE"
        peer.ask("WATCH a b*")
        facts = clients(asking)[id_of(asking, peer)]
        assert facts == facts | {"user": ["-"], "requests": ["4"], "patterns": ["2"], "watch": ["a", "b*"]}
        assert began <= int(facts["since"][0]) <= time.time() * 1000 + 1
        peer.send("SET a " + "v" * 100_000)
        wait_for("a line that has begun", lambda: int(clients(asking)[id_of(asking, peer)]["held"][0]) > 100_000)
        me = pwd.getpwuid(os.geteuid()).pw_name
        (own,) = (one for one in kv.clients() if one.address == f"unix:{me}")
        assert (own.user, own.patterns, own.watched) == ("", 0, ())
        assert kv.kick("1-1") is False
        (found,) = (one for one in kv.clients() if one.address == address_of(peer))
        assert (found.patterns, found.watched) == (2, ("a", "b*"))


def test_patterns_are_told_as_far_as_there_is_space_for_them(shared_daemon: Daemon) -> None:
    with shared_daemon.connect() as peer:
        patterns = ["a" * 100, "b" * 100, "c" * 100, "d" * 50]
        peer.ask(f"WATCH {' '.join(patterns)}")
        facts = clients(peer)[id_of(peer, peer)]
        assert (facts["patterns"], facts["watch"]) == (["4"], patterns[:2])
        peer.ask("WATCH " + " ".join(f"k{number}" for number in range(1000)))
        facts = clients(peer)[id_of(peer, peer)]
        assert (facts["patterns"], len(facts["watch"])) == (["1000"], 10)


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice in one piece"])
def test_a_connection_that_is_kicked_ends_and_a_watch_is_told(times: int, shared_daemon: Daemon) -> None:
    with shared_daemon.connect() as asking, shared_daemon.connect() as peer, shared_daemon.connect() as half:
        position = peer.ask("WATCH").removeprefix("OK ")
        assert half.ask("WATCH") == f"OK {position}"
        half.socket.shutdown(socket.SHUT_WR)
        for one in (peer, half):
            name = id_of(asking, one)
            asking.send(f"KICK {name}\n" * times)
            assert asking.lines(times) == ["OK"] * times
            assert one.line().startswith(f"END {position} kicked ")
            assert one.line() == ""
            wait_for("its end", lambda: asking.ask(f"KICK {name}") == "NONE")  # noqa: B023


def test_who_does_not_read_is_cut_off(shared_daemon: Daemon) -> None:
    with shared_daemon.connect() as asking, shared_daemon.connect() as peer:
        asking.ask("SET large " + "v" * 1_000_000)
        peer.send("GET large\n" * 30)
        name = id_of(asking, peer)
        wait_for("what is not read", lambda: int(clients(asking)[name]["held"][0]) > 50_000)
        assert asking.ask(f"KICK {name}") == "OK"
        wait_for("its end", lambda: name not in clients(asking))
        asking.ask("DEL large")


def test_a_watch_by_http_that_takes_time_is_cut_off(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--http", "127.0.0.1:0")
    port = port_of(daemon)

    def is_gone() -> bool:
        found = psutil.Process(daemon.pid).net_connections("tcp")
        return not any(one.laddr.port == port and one.status != psutil.CONN_LISTEN for one in found)

    def begin(asking: Peer, connection: socket.socket) -> str:
        connection.sendall(b"GET /v1/watch HTTP/1.1\r\nHost: localhost\r\n\r\n")
        address = [address_of(Peer(connection))]

        def names() -> list[str]:
            return [name for name, facts in clients(asking).items() if facts["address"] == address]

        wait_for("its name", names)
        return names()[0]

    with daemon.connect() as asking:
        with stopped_store(daemon), socket.create_connection(("127.0.0.1", port)) as late:
            name = begin(asking, late)
            wait_for("its request", lambda: clients(asking)[name]["requests"] == ["1"])
            assert asking.ask(f"KICK {name}") == "OK"
            wait_for("its end", is_gone)
        with socket.create_connection(("127.0.0.1", port)) as slow:
            name = begin(asking, slow)

            def waits() -> bool:
                asking.ask("SET k " + "v" * 100_000)
                return int(clients(asking)[name]["held"][0]) > 100_000

            wait_for("what is not read", waits)
            assert asking.ask(f"KICK {name}") == "OK"
            wait_for("its end", is_gone)


def test_where_there_are_users_it_takes_the_right_admin(start_daemon: StartDaemon, tmp_path: Path) -> None:
    rules = {"root": {"*": "admin"}, "all": {"*": "read,write,watch"}}
    file = tmp_path / "users.toml"
    file.write_text(users_text(rules))
    daemon = start_daemon("--users", str(file))
    with (
        sync.connect(daemon.addr, user="all", password=PASSWORD) as all_,
        sync.connect(daemon.addr, user="root", password=PASSWORD) as root,
    ):
        with pytest.raises(Denied, match="admin"):
            list(all_.clients())
        found = {one.user: one.id for one in root.clients()}
        assert found.keys() == {"root", "all"}
        with pytest.raises(Denied, match="admin"):
            all_.kick(found["root"])
        assert root.kick(found["all"])
        wait_for("its end", lambda: found["all"] not in {one.id for one in root.clients()})


def test_kvctl_lists_and_ends_connections(shared_daemon: Daemon) -> None:
    with shared_daemon.connect() as peer:
        peer.ask("WATCH lock/*")
        done = kvctl.run("--addr", shared_daemon.addr, "clients")
        (line,) = (line for line in done.stdout.decode().splitlines() if f"address={address_of(peer)} " in line)
        assert line.endswith(" patterns=1 watch=lock/*")
        name = line.split(" ")[0]
        done = kvctl.run("--addr", shared_daemon.addr, "kick", name)
        assert (done.returncode, done.stdout) == (0, b"OK\n")
        assert peer.line().startswith("END ")
        wait_for("its end", lambda: kvctl.run("--addr", shared_daemon.addr, "kick", name).returncode == 1)
        assert kvctl.run("--addr", shared_daemon.addr, "kick", "1-1").returncode == 1
        assert kvctl.run("--addr", shared_daemon.addr, "kick", "nobody").returncode == 2
