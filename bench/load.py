"""Build load.c, and load a running system with it; etcd has a program of its own."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.others import etcd, servers
from bench.servers import System
from bench.targets import ETCD, Mode

SOURCE = Path(__file__).with_name("load.c")
EXTRA_WAIT = 120.0
"""Seconds beyond those asked for, to connect and to fill, after which a load is given up."""

ATTEMPTS, LONGER = 3, 4
"""Times that a load is given, each for so many times as long as the one before: on a busy disk one sync may take longer
than a short load."""


class LoadFailed(Exception):
    """A load that did not run to its end, or that was answered wrongly."""


@dataclass(frozen=True)
class Result:
    """What one run of a load saw while it was measured."""

    operations: int
    """Requests answered; in fan-out, changes delivered."""
    errors: int
    """Wrong replies."""
    seconds: float
    p50_us: float
    p99_us: float
    daemon_cpu: float
    """Processor time in seconds, user and system; 0 if there is no such process."""
    store_cpu: float
    generator_cpu: float

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.operations / self.seconds

    def figure(self, name: str) -> float:
        """Its rate, p50_us or p99_us, or the processor time an operation in us: daemon_us, store_us, generator_us."""
        if name.endswith("_us") and name[0] != "p":
            seconds = float(getattr(self, name.replace("_us", "_cpu")))
            return seconds * 1e6 / max(1, self.operations)
        return float(getattr(self, name))


class Generator:
    """The load programs, compiled into a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._program = build(directory)
        self._etcd: Path | None = None

    def prepare(self, name: str) -> None:
        """Compile what a system needs beside load.c.  Raises NotInstalled."""
        if name == ETCD:
            self._etcd = etcd.build(self._directory)

    def run(self, system: System, mode: Mode, settings: Mapping[str, int], *, seconds: float, warmup: float) -> Result:
        """Load a system for so long.  Raises LoadFailed, also for a single wrong reply."""
        for attempt in range(ATTEMPTS):
            result = self._run(system, mode, settings, seconds * LONGER**attempt, warmup)
            if result.errors:
                raise LoadFailed(f"{system.title}: {result.errors} wrong replies in {result.operations}")
            if result.operations:
                return result
        raise LoadFailed(f"{system.title} did nothing, also within {seconds * LONGER ** (ATTEMPTS - 1):g} s")

    def _run(self, system: System, mode: Mode, settings: Mapping[str, int], seconds: float, warmup: float) -> Result:
        if not system.protocol:
            return self._call_etcd(system, mode, settings, seconds, warmup)
        command = [mode, *_words(system), *_settings(settings), f"seconds={seconds}", f"warmup={warmup}"]
        return self._call(system, command, seconds + warmup)

    def fill(self, system: System, keys: int, value: int) -> None:
        """Write every key once."""
        depth = 16 if value < 65536 else 1
        settings = {"keys": keys, "value": value, "connections": min(50, keys), "depth": depth}
        done = self._call(system, ["fill", *_words(system), *_settings(settings)], EXTRA_WAIT)
        if done.errors:
            raise LoadFailed(f"{system.title}: {done.errors} wrong replies to {keys} SETs")

    def begin(
        self, system: System, mode: Mode, settings: Mapping[str, int], *, seconds: float
    ) -> subprocess.Popen[str]:
        """A load in the background."""
        command = [str(self._program), mode, *_words(system), *_settings(settings), f"seconds={seconds}"]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, text=True)

    def _call(self, system: System, arguments: list[str], seconds: float) -> Result:
        return call(self._program, arguments, len(system.daemons), seconds)

    def _call_etcd(
        self, system: System, mode: Mode, settings: Mapping[str, int], seconds: float, warmup: float
    ) -> Result:
        assert self._etcd, "prepare(ETCD) comes first"  # noqa: S101
        if mode == "fan-out":
            flags = {"watchers": settings["watchers"], "inflight": settings["flight"], "wait": True}
            # The client opens one stream a connection; more than watchers would be idle.
            flags["streams"] = min(10, settings["watchers"])
        else:
            flags = {"clients": settings["connections"]}
        kind = "watch" if mode == "fan-out" else "get" if settings["reads"] else "put"
        try:
            seen = etcd.run(
                self._etcd, system.server.address, kind, seconds=seconds, warmup=warmup, pid=system.server.pid, **flags
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise LoadFailed(f"{system.title}: {error}") from error
        return Result(
            seen["operations"], seen["errors"], seen["seconds"], seen.get("p50_us", 0), seen.get("p99_us", 0),
            seen["server_cpu_seconds"], 0, seen["cpu_seconds"],
        )  # fmt: skip


def build(directory: Path) -> Path:
    """Compile load.c into a directory, and give the program's path.  Raises NotInstalled."""
    program = directory / "load"
    subprocess.run([servers.find("cc", "gcc"), "-O2", "-o", str(program), str(SOURCE)], check=True)
    return program


def call(program: Path, arguments: list[str], daemons: int, seconds: float) -> Result:
    """Run load.c's program.  The first so many of its pids are daemons, the others stores.  Raises LoadFailed."""
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=seconds + EXTRA_WAIT)
    except subprocess.TimeoutExpired as error:
        raise LoadFailed(f"{' '.join(arguments)}: no end after {error.timeout:.0f} s") from error
    if done.returncode:
        raise LoadFailed(f"{' '.join(arguments)}: {done.stderr.strip()}")
    seen = json.loads(done.stdout)
    return Result(
        seen["operations"], seen["errors"], seen["seconds"], seen["p50_us"], seen["p99_us"],
        sum(seen["cpu"][:daemons]), sum(seen["cpu"][daemons:]), seen["generator_cpu"],
    )  # fmt: skip


def _words(system: System) -> list[str]:
    pids = [f"pid={pid}" for pid in (*system.daemons, *system.stores)]
    return [system.protocol, system.server.address, *pids]


def _settings(settings: Mapping[str, int]) -> list[str]:
    return [f"{name}={value}" for name, value in settings.items()]
