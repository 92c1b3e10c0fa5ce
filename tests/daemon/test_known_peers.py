"""Where there are users, a certificate's name and the user of a unix socket's peer say who somebody is."""

import json
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kvd.process.audit import Audit
from kvd.process.identity import NOBODY, Identity
from kvd.session.auth import Access
from kvd.session.identified import user_of
from kvd.session.login import Login
from tests.support import tls
from tests.support.access import PASSWORD, users_of, users_text
from tests.support.processes import PATIENCE, StartDaemon, wait_for
from tests.support.tls import Authority
from tests.support.users import needs_root

OTHER = pwd.getpwnam("nobody")
"""A user of every machine, who is neither root nor whoever runs the tests."""

ASK = """
import os, socket, sys
os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[3]))
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
connection.sendall(sys.stdin.buffer.read())
connection.shutdown(socket.SHUT_WR)
while data := connection.recv(1 << 16):
    sys.stdout.buffer.write(data)
"""


@contextmanager
def access_of(rules: dict[str, dict[str, str]], audit: Audit | None = None) -> Iterator[Access]:
    access = Access(users_of(rules), audit)
    yield access
    access.close()


def test_whom_a_connection_says_that_its_peer_is() -> None:
    rules = {"ada": {"a*": "read"}, "default": {"d*": "read"}, OTHER.pw_name: {"n*": "read"}}
    with access_of(rules) as access:

        def name(identity: Identity) -> str | None:
            found = user_of(identity, access)
            return found and found.name

        assert name(NOBODY) == "default"
        assert name(Identity(certificate="ada")) == "ada"
        assert name(Identity(certificate="ADA")) == "default"
        assert name(Identity(certificate="default")) == "default"
        assert name(Identity(certificate="")) == "default"
        assert name(Identity(user=OTHER.pw_uid)) == OTHER.pw_name
        # A number that nobody has.
        assert name(Identity(user=61801)) == "default"
        for own in (0, os.getuid()):
            found = user_of(Identity(user=own), access)
            assert found
            assert found.rights.may_write(b"anything")
    with access_of({"ada": {"a*": "read"}}) as access:
        assert user_of(NOBODY, access) is None
        assert user_of(Identity(certificate="eve"), access) is None


async def test_who_becomes_a_user_by_a_change_of_the_users_is_noted_as_who_comes_is(tmp_path: Path) -> None:
    audit, link = tmp_path / "audit", tmp_path / "link"
    link.symlink_to(audit)
    with access_of({}, Audit(str(link))) as access:
        login = Login(access, "here", lambda: None, Identity(certificate="ada"))
        for _ in range(2):
            access.change(users_of({"ada": {"a*": "read"}}))
            assert login.user == "ada"
        access.change(users_of({}))
        assert login.user == ""
        link.unlink()
        link.symlink_to("/dev/full")
        access.change(users_of({"ada": {"a*": "read"}}))
        # As long as that cannot be noted.
        assert login.user == ("" if Path("/dev/full").exists() else "ada")
    noted = [json.loads(line) for line in audit.read_text().splitlines()]
    logins = [line for line in noted if line["event"] == "auth"]
    assert [(line["peer"], line["user"], line["ok"], line["by"]) for line in logins] == [
        ("here", "ada", True, "certificate")
    ]


def test_the_name_in_a_certificate_is_the_user(start_daemon: StartDaemon, tmp_path: Path) -> None:
    authority, users = Authority(tmp_path / "ca"), tmp_path / "users.toml"
    users.write_text(users_text({"ada": {"a*": "read,write"}, "bob": {"b*": "read,write"}}))
    options = tls.options(authority.sign(tls.HOST), authority.file)
    daemon = start_daemon(*options, "--users", str(users))
    port = tls.port_of(daemon)
    ada, eve, nul = (
        authority.client(authority.sign(f"{number}@example.org", common_name=name))
        for number, name in enumerate(("ada", "eve", "ada\0"))
    )
    with tls.connect(port, ada) as peer, daemon.connect() as plain:
        assert peer.ask("SET a 1") == "OK 1"
        assert peer.ask("SET b 1").startswith("ERR denied ")
        assert plain.ask("GET a").startswith("ERR auth ")
        # A watch that was allowed ends when the user is gone, and the rights of another login go first.
        assert peer.ask(f"AUTH bob {PASSWORD}") == "OK"
        assert peer.ask("SET b 1") == "OK 2"
        assert peer.ask("SET a 2").startswith("ERR denied ")
        users.write_text(users_text({"ada": {"a*": "read"}}))
        daemon.kill(signal.SIGHUP)
        wait_for("the users to be read", lambda: "kvd: reloaded\n" in daemon.log)
        assert peer.ask("GET a") == "OK 1"
        assert peer.ask("SET a 2").startswith("ERR denied ")
        users.write_text(users_text({"bob": {"b*": "read"}}))
        daemon.kill(signal.SIGHUP)
        wait_for("the users to be read", lambda: daemon.log.count("kvd: reloaded\n") == 2)
        assert peer.ask("GET a").startswith("ERR auth ")
    with tls.connect(port, eve) as peer:
        assert peer.ask("GET a").startswith("ERR auth ")
    with pytest.raises((OSError, AssertionError)), tls.connect(port, nul) as peer:
        assert peer.ask("GET a")


@needs_root
def test_the_user_of_a_unix_sockets_peer_is_the_user(start_daemon: StartDaemon, tmp_path: Path) -> None:
    users, path = tmp_path / "users.toml", tmp_path / "kvd.sock"
    users.write_text(users_text({OTHER.pw_name: {"n*": "read,write"}}))
    daemon = start_daemon("--listen", f"unix:{path}", "--users", str(users))
    # Beyond the group; and pytest keeps others out of the directories above.
    path.chmod(0o666)
    for directory in tmp_path.parents[:3]:
        if directory.owner() == "root" and directory != Path("/tmp"):  # noqa: S108
            directory.chmod(0o755)
    tmp_path.chmod(0o755)

    def ask(user: int, group: int, text: str) -> list[str]:
        command = [sys.executable, "-c", ASK, str(path), str(group), str(user)]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=PATIENCE, check=True)
        return done.stdout.splitlines()

    assert ask(0, 0, "SET other 1\n") == ["OK 1"]
    allowed, denied = ask(OTHER.pw_uid, OTHER.pw_gid, "SET n 1\nSET other 2\n")
    assert allowed == "OK 2"
    assert denied.startswith(f"ERR denied {OTHER.pw_name} may not write ")
    (unknown,) = ask(61801, 61801, "GET other\n")
    assert unknown.startswith("ERR auth ")
    with daemon.connect() as peer:
        assert peer.ask("GET other").startswith("ERR auth ")
