"""Faults of others by which watches, transactions and unchecked calls leaked, each under its number, from outside.

All verbs and rights are crossed in tests/session/test_users.py; what a handshake costs is in tests/daemon/test_tls.py.
"""

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support import tls
from tests.support.access import PASSWORD, users_text
from tests.support.peers import Peer
from tests.support.processes import PATIENCE, Daemon, wait_for
from tests.support.tls import Authority

ALL = "read,write,watch"
RULES = {"root": {"*": ALL}, "ada": {"app/*": ALL}, "ro": {"app/*": "read,watch"}}
HANDSHAKE = 0.5
"""Seconds that a TLS handshake may take."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs the certificates of daemon and clients."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the users."""
    return tmp_path_factory.mktemp("users") / "users.toml"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, authority: Authority, users: Path) -> Iterator[Daemon]:
    """A daemon with users, on a plain address and one that takes TLS and certificates."""
    users.write_text(users_text(RULES))
    options = [*tls.options(authority.sign(tls.HOST), authority.file), "--handshake-time", f"{HANDSHAKE}"]
    daemon = Daemon(tmp_path_factory.mktemp("guarded") / "data", [*options, "--users", str(users), "--fsync", "no"])
    daemon.start()
    with login(daemon, "root") as root:
        for key in ("app/1", "secret/1"):
            assert root.ask(f"SET {key} hidden").startswith("OK ")
    yield daemon
    daemon.stop()


@contextmanager
def login(daemon: Daemon, name: str) -> Iterator[Peer]:
    with daemon.connect() as peer:
        assert peer.ask(f"AUTH {name} {PASSWORD}") == "OK"
        yield peer


def test_cve_2026_33343_nothing_nested_in_a_transaction_goes_around_the_rules(guarded: Daemon) -> None:
    """etcd checked the requests of a transaction, and not those of the transactions in it."""
    inner = (
        "GET secret/1", "CHECK secret/1", "CHECK secret/* if=0", "SET secret/1 x", "PUT app/2 with=secret/1 = x",
        "DEL secret/1", "DEL secret/*", "TOUCH secret/1 ttl=1", "INCR secret/n",
    )  # fmt: skip
    with login(guarded, "ada") as peer, login(guarded, "root") as root:
        for line in inner:
            peer.send(f"BEGIN\nSET app/9 1\nBEGIN\n{line}\nCOMMIT\nCOMMIT\nABORT\n{line}\n")
            said = peer.lines(8)
            assert not [one for one in said if "hidden" in one or (one.startswith("OK ") and one != "OK queued")], said
            assert root.ask("GET secret/1") == "OK hidden"
            assert root.ask("GET app/9") == "NONE"


def test_cve_2026_33413_no_verb_is_without_a_check(guarded: Daemon) -> None:
    """etcd answered some calls (member lists, alarms, leases, compaction) without asking who calls."""
    lines = ["CLIENTS", "KICK 1-1", "WATCH", "SYNC", "FOLLOW -", "CHANGES 0@x", "TOUCH secret/1 ttl=1"]
    with guarded.connect() as nobody, login(guarded, "ada") as peer:
        for line in lines:
            assert nobody.ask(line).startswith("ERR auth "), line
            assert not peer.ask(line).startswith(("OK", "CLIENT", "PAIR", "CHANGE")), line
        for line in ("KEYS", "LIST"):
            assert nobody.ask(line).startswith("ERR auth ")
            peer.send(f"{line}\nPING end\n")
            assert not [one for one in iter(peer.line, "OK end") if "secret" in one]


@pytest.mark.parametrize("verb", ["WATCH", "SYNC", "FOLLOW -", "RESUME 0@{store}", "CHANGES 0@{store}"])
def test_ghsa_xg4h_6gfc_h4m8_a_watch_has_no_range_beyond_the_rules(verb: str, guarded: Daemon) -> None:
    """etcd let a watch with an open end see keys that its user might not read."""
    with login(guarded, "ada") as peer, login(guarded, "root") as root:
        store = root.ask("UNWATCH").split("@")[1]
        asked = verb.format(store=store)
        for pattern in ("", "*", "app*", "a*", "app/* secret/*", "app/* app0", "secret/1", "app/* *", "*keys *"):
            assert peer.ask(f"{asked} {pattern}".rstrip()).startswith("ERR denied "), pattern
        root.send("SET secret/1 hidden\n")
        assert root.line().startswith("OK ")
        assert peer.ask("PING end") == "OK end"


def test_cve_2024_23944_a_watch_tells_nothing_of_what_lost_its_right(guarded: Daemon, users: Path) -> None:
    """ZooKeeper told persistent watchers the paths of nodes that they might not read."""
    with login(guarded, "ada") as peer, login(guarded, "root") as root:
        assert peer.ask("WATCH *keys app/*").startswith("OK ")
        users.write_text(users_text(RULES | {"ada": {"app/1": ALL}}))
        before = guarded.log.count("kvd: reloaded\n")
        guarded.kill(signal.SIGHUP)
        wait_for("the users to be read", lambda: guarded.log.count("kvd: reloaded\n") > before)
        assert root.ask("SET app/hidden 1").startswith("OK ")
        assert root.ask("DEL app/hidden").startswith("OK ")
        peer.send("PING end\n")
        said = list(iter(peer.line, "OK end"))
        assert [line.split(" ")[2] for line in said] == ["denied"]
    users.write_text(users_text(RULES))
    guarded.kill(signal.SIGHUP)
    wait_for("the users to be read", lambda: guarded.log.count("kvd: reloaded\n") > before + 1)


@pytest.mark.parametrize("sent", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01"], ids=["nothing", "a byte", "a header"])
def test_ghsa_6vch_q96h_7gc3_a_tls_handshake_has_a_deadline(sent: bytes, guarded: Daemon) -> None:
    """etcd waited for ever for the first bytes of a handshake; drops of it do not make it longer here."""
    with socket.create_connection((tls.HOST, tls.port_of(guarded)), timeout=PATIENCE) as raw:
        raw.sendall(sent)
        with suppress(ConnectionError):
            assert raw.recv(1 << 16) == b""
    with socket.create_connection((tls.HOST, tls.port_of(guarded)), timeout=0.05) as raw, suppress(ConnectionError):
        raw.sendall(b"\x16\x03\x01\x02\x00")
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up:
            raw.sendall(b"\x01")
            with suppress(TimeoutError):
                assert raw.recv(1 << 16) == b""
                return
        pytest.fail("a handshake of drops goes on")


@pytest.mark.parametrize("name", ["root\0", "root\0.example.org", "\0root"])
def test_a_nul_in_a_certificates_name_makes_nobody_another_user(
    name: str, guarded: Daemon, authority: Authority
) -> None:
    """As CVE-2009-2408 and CVE-2013-4238, where a name ended at its NUL for those who compared it."""
    nul = authority.client(authority.sign("nul@example.org", common_name=name))
    why = f"the name in the client's certificate, {name!r}, has a character that cannot be shown"

    def is_refused_for_it() -> bool:
        # Not only because the handshake was not done in time.
        with pytest.raises((OSError, AssertionError)), tls.connect(tls.port_of(guarded), nul) as peer:
            assert peer.ask("PING") == "OK"
        return why in guarded.log

    wait_for("the reason in the log", is_refused_for_it)


@pytest.mark.parametrize("line", ["GET {}", "GETS {}", "TTL {}", "SET {} x", "PUT {} = x", "DEL {}", "INCR {}"])
def test_the_key_that_is_checked_is_the_key_that_is_used(line: str, guarded: Daemon) -> None:
    """No other way to write a key, and no place of a request in what is sent at once, has another one checked."""
    keys = ("secret/1", "app/../secret/1", "secret/1\r", "APP/1", "app", "%61pp/1", "app\u2215x", "\u0430pp/1")
    with login(guarded, "ada") as peer, login(guarded, "root") as root:
        for key in keys:
            request = line.format(key) + "\n"
            peer.send(f"GET app/1\n{request}{request.lower().replace(key.lower(), key)}GET app/1\n")
            first, *said, last = peer.lines(4)
            is_allowed = key.startswith("app/")
            assert first == last == "OK hidden"
            # Before a value the CR is a part of the key, and may be none.
            refused = [one.startswith(("ERR denied ", "ERR bad-key ")) for one in said]
            assert refused == [not is_allowed] * 2, (key, said)
        # A key is its bytes: `..` is no way up.
        assert root.ask("GET secret/1") == "OK hidden"
