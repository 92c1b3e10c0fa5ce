"""What the image does at its first start, in a directory of the test's own."""

import os
import shlex
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from kvd.access.passwords import matches
from kvd.access.rights import Right
from kvd.access.users_file import load
from tests.support.kvctl import ENVIRONMENT, printed, run
from tests.support.processes import PATIENCE, ROOT, needs

IMAGE = ROOT / "deploy" / "image" / "kvd-image"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The image's variables, with other places for its directories, and ports that are free."""
    needs("openssl")
    programs, data = tmp_path / "bin", tmp_path / "data"
    programs.mkdir()
    data.mkdir(0o700)
    for name, module in {"kvd": "kvd", "kvctl": "kvctl"}.items():
        program = programs / name
        python = shlex.quote(sys.executable)
        program.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {python} -m {module} "$@"\n')
        program.chmod(0o755)
    return ENVIRONMENT | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "KVD_LISTEN": f"tls:127.0.0.1:0 unix:{data}/kvd.sock",
        "KVD_TLS_CERT": f"{data}/tls-cert.pem",
        "KVD_TLS_KEY": f"{data}/tls-key.pem",
        "KVD_USERS": f"{data}/users.toml",
        "KVD_DATA": str(data),
        "KVCTL_ADDR": f"unix:{data}/kvd.sock",
    }


def test_the_first_start_makes_a_user_and_a_certificate(environment: dict[str, str]) -> None:
    data = Path(environment["KVD_DATA"])
    made: dict[str, bytes] = {}
    for start in ("first", "second"):
        process = subprocess.Popen(
            [IMAGE, "kvd"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout
            greeting = process.stdout.readline()
            port = greeting.partition("tls:127.0.0.1:")[2].partition(",")[0]
            # The health check, and what `docker exec` does: its user is the daemon's own.
            assert printed(run("ping", KVCTL_ADDR=environment["KVCTL_ADDR"])) is not None
            assert printed(run("set", "greeting", "hello", KVCTL_ADDR=environment["KVCTL_ADDR"]))
            over_tls = ("--addr", f"localhost:{port}", "--ca", environment["KVD_TLS_CERT"])
            assert b"say who you are first" in run("get", "greeting", *over_tls).stderr
            assert run("get", "greeting", "--tls", "--addr", f"localhost:{port}").returncode == 3
        finally:
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, log
        assert (f"made the user admin; its password is in {data}/admin-password" in log) is (start == "first")
        found = {name: (data / name).read_bytes() for name in ("users.toml", "admin-password", "tls-cert.pem")}
        assert made in ({}, found)
        made = found
    for name in (*made, "tls-key.pem"):
        assert (data / name).stat().st_mode & 0o777 == 0o600, name
    admin = load(data / "users.toml", "test").get("admin")
    assert admin
    password = made["admin-password"].rstrip(b"\n")
    assert len(password) == 32
    assert matches(admin.hashes[0], password)
    assert password.decode() not in log
    assert all(admin.rights.allow(right, b"*") for right in Right)
    assert ssl.create_default_context(cafile=data / "tls-cert.pem").get_ca_certs()


def test_who_brings_files_has_those_and_who_wants_none_has_none(environment: dict[str, str], tmp_path: Path) -> None:
    data = Path(environment["KVD_DATA"])
    show = ["sh", "-c", f"exec {shlex.quote(str(IMAGE))} kvd --version"]
    theirs = {"KVD_USERS": str(tmp_path / "users.toml"), "KVD_TLS_CERT": str(tmp_path / "tls-cert.pem")}
    for given in (theirs, {"KVD_USERS": "", "KVD_TLS_CERT": "", "KVD_TLS_KEY": "", "KVD_LISTEN": "127.0.0.1:0"}):
        done = subprocess.run(show, env=environment | given, capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.startswith("kvd ")
    assert list(data.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


def test_other_commands_are_run_as_they_are(environment: dict[str, str]) -> None:
    done = subprocess.run([IMAGE, "kvctl", "--version"], env=environment, capture_output=True, timeout=60, check=True)
    assert done.stdout.startswith(b"kvctl ")
    assert list(Path(environment["KVD_DATA"]).iterdir()) == []
