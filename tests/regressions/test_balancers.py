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
"""Seconds after which the balancers cut a connection on which nothing comes."""

HAPROXY = """
global
    maxconn 100
defaults
    mode tcp
    timeout connect 5s
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


def haproxy(directory: Path, to: int) -> Iterator[int]:
    needs("haproxy")
    port, file = quiet_port(), directory / "haproxy.cfg"
    file.write_text(HAPROXY.format(idle=IDLE, port=port, to=to))
    with running(["haproxy", "-db", "-f", str(file)], port):
        yield port


def nginx(directory: Path, to: int) -> Iterator[int]:
    needs("nginx")
    module = next(Path("/usr/lib/nginx/modules").glob("ngx_stream_module.so"), None)
    port, file = quiet_port(), directory / "nginx.conf"
    load = f"load_module {module};" if module else ""
    file.write_text(NGINX.format(idle=IDLE, port=port, to=to, directory=directory, module=load))
    with running([str(shutil.which("nginx")), "-p", str(directory), "-c", str(file)], port):
        yield port


@pytest.fixture(params=[haproxy, nginx], ids=["haproxy", "nginx"])
def balancer(request: pytest.FixtureRequest, daemon: Daemon, tmp_path: Path) -> Iterator[int]:
    """The port of a balancer in front of the daemon."""
    start: Callable[[Path, int], Iterator[int]] = request.param
    yield from start(tmp_path, daemon.port)


@contextmanager
def connected(port: int) -> Iterator[Peer]:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        peer = Peer(connection)
        yield peer
        peer.close()


def test_netcat_gets_every_reply_if_it_ends_with_quit(balancer: int) -> None:
    needs("nc")
    script = f"(seq 300 | sed 's/.*/SET key& &/'; echo QUIT) | nc 127.0.0.1 {balancer}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.splitlines() == [*(f"OK {number}" for number in range(1, 301)), "OK bye"]


def test_kvctl_gets_every_reply_without_quit(balancer: int) -> None:
    lines = "".join(f"SET key{number} {number}\n" for number in range(1, 301))
    done = run("--addr", f"127.0.0.1:{balancer}", "send", stdin=lines.encode())
    assert printed(done).decode().splitlines() == [f"OK {number}" for number in range(1, 301)]


def test_a_quiet_watch_with_progress_outlives_the_idle_limit(balancer: int, daemon: Daemon) -> None:
    with connected(balancer) as watcher, daemon.connect() as writer:
        assert watcher.ask(f"PROGRESS {IDLE / 4}") == "OK"
        assert watcher.ask("WATCH").startswith("OK ")
        quiet_until = time.monotonic() + 3 * IDLE
        while time.monotonic() < quiet_until:
            assert watcher.line().startswith("PROGRESS ")
        assert writer.ask("SET a 1") == "OK 1"
        while (line := watcher.line()).startswith("PROGRESS "):
            pass
        assert line.endswith(" SET a 1")


def test_a_quiet_watch_without_it_is_cut_and_resumes(balancer: int, daemon: Daemon) -> None:
    with connected(balancer) as watcher:
        position = watcher.ask("WATCH").removeprefix("OK ")
        assert watcher.is_closed()
    with daemon.connect() as writer:
        assert writer.ask("SET a 1") == "OK 1"
    with connected(balancer) as watcher:
        assert watcher.ask(f"RESUME {position}") == f"OK {position}"
        assert watcher.line().endswith(" SET a 1")
