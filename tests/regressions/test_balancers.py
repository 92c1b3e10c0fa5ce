"""Behind a balancer: what netcat loses there, and watches that its idle limit cuts.

Reported of etcd and Redis behind HAProxy and nginx, and seen with kvd: a client that shuts its sending side down (`nc
-N`) was cut off by nginx before its replies came; a watch that had nothing to say was cut after the balancer's limit.
"""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.kvctl import printed, run
from tests.support.peers import Peer
from tests.support.ports import quiet_port
from tests.support.processes import PATIENCE, Daemon, needs, wait_for

pytestmark = pytest.mark.slow

IDLE = 1
"""Seconds after which the balancers cut a connection on which nothing comes.  So they do while the machine stands still
for longer: then what is to last is tried again."""

HAPROXY = """
global
    maxconn 100
defaults
    mode tcp
    timeout connect 5s
    timeout check {patience}s
    timeout client {idle}s
    timeout server {idle}s
listen kvd
    bind 127.0.0.1:{port}
    option tcp-check
    tcp-check send PING\\r\\n
    tcp-check expect string OK
    server one 127.0.0.1:{to} check inter 100ms
"""
NGINX = """
{module}
daemon off;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 100; }}
stream {{
    server {{
        listen 127.0.0.1:{port};
        proxy_pass 127.0.0.1:{to};
        proxy_timeout {idle}s;
    }}
}}
"""


Start = Callable[[Path, int, float], Iterator[int]]


@contextmanager
def running(command: list[str], port: int) -> Iterator[int]:
    """A balancer that listens on a port."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for("the balancer", lambda: _answers(port))
        yield port
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _answers(port: int) -> bool:
    """Whether a daemon answers through a port."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(b"PING\n")
        return connection.recv(10) == b"OK\n"
    return False


def haproxy(directory: Path, to: int, idle: float) -> Iterator[int]:
    needs("haproxy")
    port, file = quiet_port(), directory / "haproxy.cfg"
    file.write_text(HAPROXY.format(idle=idle, port=port, to=to, patience=round(PATIENCE)))
    with running(["haproxy", "-db", "-f", str(file)], port):
        yield port


def nginx(directory: Path, to: int, idle: float) -> Iterator[int]:
    needs("nginx")
    module = next(Path("/usr/lib/nginx/modules").glob("ngx_stream_module.so"), None)
    port, file = quiet_port(), directory / "nginx.conf"
    load = f"load_module {module};" if module else ""
    file.write_text(NGINX.format(idle=idle, port=port, to=to, directory=directory, module=load))
    with running([str(shutil.which("nginx")), "-p", str(directory), "-c", str(file)], port):
        yield port


@pytest.fixture(params=[haproxy, nginx], ids=["haproxy", "nginx"])
def start(request: pytest.FixtureRequest) -> Start:
    """Starts a balancer, and gives its port."""
    started: Start = request.param
    return started


@pytest.fixture
def balancer(start: Start, daemon: Daemon, tmp_path: Path) -> Iterator[int]:
    """The port of a balancer in front of the daemon."""
    yield from start(tmp_path, daemon.port, IDLE)


@pytest.fixture
def patient(start: Start, daemon: Daemon, tmp_path: Path) -> Iterator[int]:
    """The port of one that cuts nobody whose replies are long in coming."""
    yield from start(tmp_path, daemon.port, round(PATIENCE))


@contextmanager
def connected(port: int) -> Iterator[Peer]:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        peer = Peer(connection)
        yield peer
        peer.close()


def test_netcat_gets_every_reply_if_it_ends_with_quit(patient: int) -> None:
    needs("nc")
    script = f"(seq 300 | sed 's/.*/SET key& &/'; echo QUIT) | nc 127.0.0.1 {patient}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.splitlines() == [*(f"OK {number}" for number in range(1, 301)), "OK bye"]


def test_kvctl_gets_every_reply_without_quit(patient: int) -> None:
    lines = "".join(f"SET key{number} {number}\n" for number in range(1, 301))
    done = run("--addr", f"127.0.0.1:{patient}", "send", stdin=lines.encode())
    assert printed(done).decode().splitlines() == [f"OK {number}" for number in range(1, 301)]


def changes_after_quiet(watcher: Peer, writer: Peer) -> list[str]:
    """What a watch is told that is quiet for longer than the limit, and then told of a change: none if it is cut."""
    requests = (f"PROGRESS {IDLE / 4}", "WATCH")
    if not all(watcher.ask(request).startswith("OK") for request in requests):
        return []
    quiet_until = time.monotonic() + 3 * IDLE
    while time.monotonic() < quiet_until:
        line = watcher.line()
        assert line == "" or line.startswith("PROGRESS ")
        if not line:
            return []
    assert writer.ask("SET a 1").startswith("OK ")
    while (line := watcher.line()).startswith("PROGRESS "):
        pass
    return [line] if line else []


def test_a_quiet_watch_with_progress_outlives_the_idle_limit(balancer: int, daemon: Daemon) -> None:
    def is_told() -> bool:
        with suppress(ConnectionError), connected(balancer) as watcher, daemon.connect() as writer:
            return [line.split(" ", 2)[2] for line in changes_after_quiet(watcher, writer)] == ["SET a 1"]
        return False

    wait_for("a watch that outlives the limit", is_told)


def test_a_quiet_watch_without_it_is_cut_and_resumes(balancer: int, daemon: Daemon) -> None:
    with daemon.connect() as writer:
        position = writer.ask("UNWATCH").removeprefix("OK ")
        with connected(balancer) as watcher:
            watcher.send("WATCH\n")
            with suppress(ConnectionError):
                assert watcher.rest() in ([f"OK {position}"], [])
        assert writer.ask("SET a 1") == "OK 1"

    def is_told() -> bool:
        with suppress(ConnectionError), connected(balancer) as watcher:
            begun = watcher.ask(f"RESUME {position}")
            assert begun in (f"OK {position}", "")
            return begun != "" and watcher.line().endswith(" SET a 1")
        return False

    wait_for("the change", is_told)
