"""Reported: `kvd --stroe redis://u:secret@h` echoed the password, and that of `--store` could only be an argument."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from kvd.credentials import masked
from kvd.errors import StartError
from kvd.settings import read
from tests.support.processes import ROOT, Redis, StartDaemon, needs, wait_for

SECRET = "hunter2hunter2"  # noqa: S105
URL = f"redis://u:{SECRET}@127.0.0.1:1/0"


def kvd(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a daemon that cannot start, and see that it says so without any part of a password."""
    done = subprocess.run(
        [sys.executable, "-m", "kvd", *options],
        cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == ""
    assert "hunter" not in done.stderr
    assert done.stderr.startswith("kvd: ")
    assert done.stderr.count("\n") == 1
    return done


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (f"--stroe {URL}", "'--stroe ...'"),
        (f"--stroe={URL}", "'--stroe=...'"),
        (f"--store {URL} --store {URL}", "'--store ... --store ...'"),
        (f"--data x {URL}", "'--data ... ...'"),
        ("redis://u:hunter two hunter@h --fsync", "'... ... ... --fsync'"),
        (f"--password {SECRET}", "'--password ...'"),
        (f"-a {SECRET}", "'-a ...'"),
        ("-aunter2", "'-a...'"),
        ("serve", "'serve'"),
        ("--data", "'--data'"),
    ],
)
def test_a_command_that_is_not_understood_is_shown_without_values(words: str, shown: str) -> None:
    done = kvd(*words.split(" "))
    assert done.returncode == 2
    assert done.stderr.startswith(f"kvd: unknown, repeated or incomplete option: {shown}; ")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["listen", "data", "engine", "fsync", "max-value", "workers", "log-level", "store-file"]
)
def test_a_url_where_something_else_is_wanted_is_not_shown(name: str) -> None:
    done = kvd(f"--{name}", URL)
    assert done.returncode == 1
    assert f"--{name}" in done.stderr


@pytest.mark.parametrize(
    "url",
    [
        "u:hunter@h",
        "u:hunter@h:6379/0",
        "redis:u:hunter@h",
        ":hunter2@h",
        "u:h@hunter@h",
        "//u:hunter@h",
        "redis//:hunter@h",
    ],
)
@pytest.mark.parametrize("name", ["follow", "listen", "fsync", "max-value", "workers", "http", "log-level"])
def test_a_url_without_its_scheme_is_not_shown_either(name: str, url: str) -> None:
    with pytest.raises(StartError) as wrong:
        read({f"--{name}": url}, {})
    assert "hunter" not in str(wrong.value)


WRONG = [
    "redis://u:hunter/2@h:6379/0",
    "redis://u:12/hunter@h:6379/0",
    "redis://u:hunter?2@h:6379/0",
    "redis://u:12?hunter@h:6379/0",
    "redis://u:hunter#2@h:6379/0",
    "redis://u:12#hunter@h:6379/0",
    "redis://u:[hunter]@h:6379/0",
    "redis://u:hunter\u2100@h:6379/0",
    "redis://u:hunter 2@h:6379/0",
    "redis://u:2@h:hunter",
    "redis://u:2@h/hunter",
    "redis:/u:hunter@h:6379/0",
    "redis:u:hunter@h:6379/0",
    "u:hunter@h:6379/0",
    "http://u:hunter@h:6379/0",
    "unix://u:hunter/2@/run/redis.sock",
    "unix://u:12/hunter@/run/redis.sock",
    "unix://u:hunter@",
]


@pytest.mark.parametrize("url", WRONG)
def test_of_a_wrong_url_nothing_is_shown(url: str, tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(url)
    for options, environment in (
        ({"--store": url}, {}),
        ({}, {"KVD_STORE": url}),
        ({"--store-file": str(file)}, {}),
        ({}, {"KVD_STORE_FILE": str(file)}),
    ):
        with pytest.raises(
            StartError, match=r"^(KVD_STORE|--store).*: not the URL of a Redis: .*; expected redis://"
        ) as wrong:
            read(options, environment)
        assert "hunter" not in str(wrong.value)


@pytest.mark.slow
def test_of_a_wrong_url_nothing_is_shown_by_the_command() -> None:
    assert kvd("--store", WRONG[0]).returncode == 1
    assert kvd(KVD_STORE=WRONG[1]).returncode == 1


@pytest.mark.parametrize(
    "url",
    [
        "redis://h", "rediss://h/", "redis://:p@h:1/12", "redis://u:p@ss:w@h", "REDIS://h", "redis://[::1]:6379",
        "unix:///run/a@b#c?db=1".replace("#", "%23"), "unix://u:p@/run/redis.sock?db=1", "redis://h?password=p@ss",
    ],
)  # fmt: skip
def test_other_urls_are_left_to_the_client_of_redis(url: str) -> None:
    assert read({"--store": url}, {}).store == url
    assert url not in repr(read({"--store": url}, {}))


class WithoutAuth(Redis):
    """A server that does not know AUTH, and quotes it in its error with the password, as what is no Redis may do."""

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False


@pytest.fixture
def quoting(tmp_path: Path) -> Iterator[Redis]:
    needs("redis-server")
    server = WithoutAuth(tmp_path / "redis", "--rename-command", "AUTH", "")
    server.password = ""
    server.start()
    yield server
    server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("user", ["", "u"])
def test_a_password_that_a_server_sends_back_is_not_shown(quoting: Redis, user: str) -> None:
    done = kvd("--store", f"redis://{user}:{SECRET}@127.0.0.1:{quoting.port}/0")
    assert done.returncode == 1
    assert "***" in done.stderr


def test_the_log_and_tracebacks_show_no_password() -> None:
    code = (
        "import logging, sys; from kvd.process import service; service.log_to_stderr('info', of_many=True); "
        f"logging.getLogger('x').warning('lost %s', '{URL}'); raise ValueError('{URL}')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "lost redis://***@127.0.0.1:1/0" in done.stderr
    assert "ValueError: redis://***@127.0.0.1:1/0" in done.stderr.splitlines()
    assert masked("redis://[user:password@]host:port/db") == "redis://[user:password@]host:port/db"


def arguments_of(pid: int) -> str:
    """What `ps` shows of a process and its children."""
    process = psutil.Process(pid)
    return str([of.cmdline() for of in (process, *process.children(recursive=True))])


@pytest.mark.slow
@pytest.mark.parametrize("by", ["option", "environment", "pipe"])
def test_the_url_is_read_from_a_file(by: str, redis: Redis, tmp_path: Path, start_daemon: StartDaemon) -> None:
    file = tmp_path / "url"
    options, environment = ["--store-file", str(file)], {}
    if by == "pipe":
        os.mkfifo(file)
        # What is written stays in it while somebody has it open to read, so that it is there when the daemon comes.
        held = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
        subprocess.run(["sh", "-c", 'printf "%s\\n" "$1" >"$2"', "sh", redis.tcp_url, file], check=True)
    else:
        file.write_bytes(b"\xef\xbb\xbf" + redis.tcp_url.encode() + b"\r\n")
    if by == "environment":
        options, environment = [], {"KVD_STORE_FILE": str(file)}
    daemon = start_daemon("--workers", "2", "--log-level", "debug", *options, is_forked=False, **environment)
    if by == "pipe":
        os.close(held)
    with daemon.connect() as peer:
        assert peer.ask("SET a 1") == "OK 1"
        redis.kill()
        redis.start()
        wait_for("the store", lambda: peer.ask("GET a") == "OK 1")
    shown = arguments_of(daemon.pid)
    daemon.stop()
    assert "'-m', 'kvd', '--listen'" in shown
    assert "kvd.workers" in shown
    assert "s3cret" not in shown
    assert "s3cret" not in daemon.log


def test_one_store_is_named_and_an_option_is_stronger_than_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("redis://file")
    by_option, in_environment = {"--store-file": str(file)}, {"KVD_STORE_FILE": str(file)}
    assert read(by_option, {"KVD_STORE": "redis://h"}).store == "redis://file"
    assert read({"--store": "redis://h"}, in_environment).store == "redis://h"
    with pytest.raises(StartError, match=r"^--store and --store-file: both"):
        read({"--store": "redis://h"} | by_option, {})
    with pytest.raises(StartError, match=r"^KVD_STORE and KVD_STORE_FILE: both"):
        read({}, {"KVD_STORE": "redis://h"} | in_environment)


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b" \n", b"\xff", b"redis://h\nredis://i\n", b"x" * 100_000])
def test_a_file_that_holds_no_url_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "url").write_bytes(content)
    assert kvd("--store-file", str(tmp_path / "url")).returncode == 1


@pytest.mark.slow
def test_a_file_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    assert "Is a directory" in kvd("--store-file", str(tmp_path)).stderr
    assert "No such file" in kvd("--store-file", str(tmp_path / "nope")).stderr
