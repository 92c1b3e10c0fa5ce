"""A client that says who it is: the Python library, in both faces, and kvctl."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kvd.client import connect, sync
from kvd.errors import Denied, NotAuthenticated
from tests.support.access import PASSWORD, users_text
from tests.support.kvctl import complaint, printed, run
from tests.support.processes import Daemon

WRONG: Any = {"KVCTL_PASSWORD": "wrong"}
ALICE: Any = {"user": "alice", "password": PASSWORD}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    directory = tmp_path_factory.mktemp("users")
    file = directory / "users.toml"
    file.write_text(users_text({"alice": {"a*": "read,write,watch"}, "bob": {"b*": "read"}}))
    running = Daemon(directory / "data", ["--fsync", "no", "--users", str(file)])
    running.start()
    yield running
    running.stop()


async def test_the_library_says_it_on_each_connection(daemon: Daemon) -> None:
    async with await connect(daemon.addr, **ALICE) as kv:
        await kv.set("a1", "x")
        with pytest.raises(Denied, match="alice may not read this key"):
            await kv.get("b")
        async with kv.watch("a*") as changes, kv.sync("a*") as copied:
            await kv.set("a2", "y")
            assert (await changes.next()).key == "a2"
            assert copied.copy
        async with kv.follow("a*") as events:
            assert (await events.next()).position
        async with kv.mirror("a*") as mirrored:
            assert mirrored["a2"] == b"y"
        with pytest.raises(Denied):
            async with kv.watch("b"):
                pass


def test_without_an_event_loop_too(daemon: Daemon) -> None:
    with sync.connect(daemon.addr, **ALICE) as kv:
        kv.set("a1", "x")
        with pytest.raises(Denied):
            kv.get("b")
        with kv.watch("a*") as changes:
            kv.set("a2", "y")
            assert changes.next().key == "a2"


async def test_who_is_not_known_is_told_so(daemon: Daemon, shared_daemon: Daemon) -> None:
    async with await connect(daemon.addr) as kv:
        with pytest.raises(NotAuthenticated):
            await kv.get("a1")
    with pytest.raises(NotAuthenticated, match="is wrong"):
        await connect(daemon.addr, user="bob", password="wrong")  # noqa: S106
    with pytest.raises(NotAuthenticated, match="is wrong"):
        sync.connect(daemon.addr, user="nobody", password="wrong")  # noqa: S106
    with pytest.raises(NotAuthenticated, match="there are no users here"):
        await connect(shared_daemon.addr, **ALICE)


@pytest.mark.parametrize(
    ("user", "password", "error"),
    [
        ("alice", None, ValueError), (None, "x", ValueError), ("a b", "x", ValueError), ("", "x", ValueError),
        ("alice", "", ValueError), ("alice", "a\nb", ValueError), ("alice", "x" * 1025, ValueError),
        (b"alice", "x", TypeError), ("alice", b"x", TypeError),
    ],
)  # fmt: skip
async def test_what_no_user_can_have_is_refused_before_anything_is_sent(
    user: str, password: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await connect("127.0.0.1:1", user=user, password=password)
    with pytest.raises(error):
        sync.connect("127.0.0.1:1", user=user, password=password)


async def test_the_password_is_not_shown(daemon: Daemon) -> None:
    async with await connect(daemon.addr, **ALICE) as kv:
        assert PASSWORD not in repr(kv._limits)


def test_kvctl_takes_it_from_the_environment_or_a_file(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\nmore\n")
    addr = ["--addr", daemon.addr]
    assert printed(run(*addr, "--user", "alice", "set", "a3", "v", KVCTL_PASSWORD=PASSWORD)).strip().isdigit()
    assert printed(run(*addr, "--user", "alice", "--password-file", str(file), "get", "a3")) == b"v"
    assert printed(run(*addr, "ping")) == b"OK\n"
    assert "auth: say who you are first" in complaint(run(*addr, "get", "a3"), 4)
    denied = run(*addr, "--user", "alice", "get", "b", KVCTL_PASSWORD=PASSWORD)
    assert "denied: alice may not read" in complaint(denied, 4)
    wrong = run(*addr, "--user", "carol", "get", "b", **WRONG)
    assert "auth: the user or the password is wrong" in complaint(wrong, 4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--user", "alice", "get", "a"], "no password: expected it in KVCTL_PASSWORD, or --password-file FILE"),
        (["--password-file", os.devnull, "get", "a"], "expected --user NAME beside it"),
        (["--user", "alice", "--password-file", os.devnull, "get", "a"], "no password"),
        (["--user", "alice", "--password-file", "/nowhere/x", "get", "a"], "cannot read '/nowhere/x'"),
        (["--user", "alice", "--password=secret", "get", "a"], "unknown option '--password'"),
    ],
)
def test_kvctl_says_what_is_missing(words: list[str], said: str) -> None:
    message = complaint(run(*words), 2)
    assert said in message
    assert "secret" not in message


def test_kvctl_refuses_what_no_user_can_have() -> None:
    assert "--user: invalid name 'a b'" in complaint(run("--user", "a b", "get", "a", **WRONG), 2)
