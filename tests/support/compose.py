"""Docker's compose files without Docker: their services are processes on loopback, with the commands that stand there.

Each service with an address in its network has one of this machine's own for it, 127.X.Y.N, with the same N; so ports
stay as they are.  Servers are told to bind to that; daemons listen where a test has them listen.
"""

import os
import random
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import PATIENCE, ROOT, Daemon, StartDaemon

yaml = pytest.importorskip("yaml")
VARIABLE = re.compile(r"^(?:ENV)? *(KVD_[A-Z_]+)=\"?([^\"\\\n]*?)\"? *\\?$", re.MULTILINE)
NETWORK = re.compile(r"172\.30\.\d+\.")
LISTENED = re.compile(r"\b([a-z]+(?:-\d)?):5830\b")
EXECUTED = re.compile(r"^exec (.*)$", re.MULTILINE)
OF_THE_CONTAINER = ("--listen", "--data")
"""What a test gives itself."""


class Composed:
    """The services of a file.  daemons: by name, started."""

    def __init__(self, name: str, directory: Path, start_daemon: StartDaemon) -> None:
        self._services: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / name).read_text())["services"]
        self._network = f"127.{random.randrange(1, 255)}.{random.randrange(1, 255)}."
        self._directory = directory
        self._start_daemon = start_daemon
        self._image = dict(VARIABLE.findall((ROOT / "Dockerfile").read_text()))
        assert {"KVD_DATA", "KVD_USERS", "KVD_TLS_CERT"} <= self._image.keys()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.daemons: dict[str, Daemon] = {}

    def start(self) -> None:
        """Start all, in their order."""
        started: set[str] = set()
        for name, service in self._services.items():
            assert set(service.get("depends_on", [])) <= started, "services stand before those that need them"
            started.add(name)
            self._await(service)
            if service["image"] == "kvd":
                self._start_kvd(name, service)
            else:
                self._start_server(name, service)

    def _await(self, service: Mapping[str, Any]) -> None:
        """Those that are to have ended."""
        needed = service.get("depends_on", {})
        for name in needed if isinstance(needed, dict) else ():
            assert self._processes[name].wait(PATIENCE) == 0, (self._directory / name / "log").read_text()

    def _start_kvd(self, name: str, service: Mapping[str, Any]) -> None:
        words = [self._here(word) for word in service["command"]]
        for option in OF_THE_CONTAINER:
            if option in words:
                place = words.index(option)
                del words[place : place + 2]
        named = [LISTENED.sub(lambda one: self.daemons[one[1]].addr, word) for word in words]
        data = self._directory / name / "data"
        self.daemons[name] = self._start_daemon(*named, data=data, **self._image | service["environment"])

    def _start_server(self, name: str, service: Mapping[str, Any]) -> None:
        place = self._directory / name
        place.mkdir(parents=True)
        words = [self._here(word).replace("$$", "$") for word in (*service.get("entrypoint", ()), *service["command"])]
        address = service["networks"]["kvd"]["ipv4_address"] if isinstance(service["networks"], dict) else ""
        if address:
            binding = f"--bind {self._here(address)} --bind-source-addr {self._here(address)}"
            words = [EXECUTED.sub(rf"exec \1 {binding}", word) for word in words]
            words += [] if words[0] == "sh" else binding.split(" ")
        variables = {variable: self._here(value) for variable, value in service.get("environment", {}).items()}
        with (place / "log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                words, cwd=place, env=os.environ | variables, stdout=log, stderr=log
            )

    def _here(self, text: str) -> str:
        return NETWORK.sub(self._network, text)

    def stop(self) -> None:
        """End all but the daemons."""
        for process in self._processes.values():
            process.kill()
            process.wait()


@contextmanager
def composed(name: str, directory: Path, start_daemon: StartDaemon) -> Iterator[dict[str, Daemon]]:
    """The daemons of deploy/NAME, while its services run."""
    services = Composed(name, directory, start_daemon)
    try:
        services.start()
        yield services.daemons
        for daemon in services.daemons.values():
            daemon.stop()
    finally:
        services.stop()
