"""Build and run etcd.go, the load on etcd through its own Go client."""

import json
import os
import subprocess
from pathlib import Path
from typing import TypedDict, cast

from bench.others.servers import NotInstalled, find

SOURCE = Path(__file__).with_name("etcd.go")
PACKAGES = Path("/usr/share/gocode")
"""Where Debian keeps the sources of Go packages."""
BUILD_WAIT = 600.0
"""Seconds to compile: a quarter of a minute the first time, later a second, from Go's cache."""
EXTRA_WAIT = 60.0
"""Seconds beyond those asked for, to connect and to fill: the program itself gives up earlier."""


class Result(TypedDict, total=False):
    """What a run saw while it was measured.  The percentiles are missing if nothing was done."""

    operations: int
    """Requests answered; in mode watch, changes delivered."""
    seconds: float
    p50_us: int
    """Microseconds of a request; in mode watch, from sending a put to having its change."""
    p99_us: int
    cpu_seconds: float
    """User and system, of the client alone."""
    server_cpu_seconds: float
    """The same of the process given as pid."""
    errors: int
    puts: int
    """In mode watch: the puts acknowledged."""


def build(directory: Path) -> Path:
    """Compile etcd.go into a directory, and give the program's path.  Raises NotInstalled."""
    go = find("go", "golang-go")
    if not (PACKAGES / "src/go.etcd.io/etcd/clientv3").is_dir():
        raise NotInstalled("etcd's Go client is not installed (Debian's package: golang-etcd-server-dev)")
    program = directory / "etcd-load"
    settings = {"GO111MODULE": "off", "GOFLAGS": "", "GOPATH": str(PACKAGES)}
    subprocess.run(
        [go, "build", "-o", str(program), str(SOURCE)], env=os.environ | settings, check=True, timeout=BUILD_WAIT
    )
    return program


def run(
    program: Path, address: str, mode: str, *, seconds: float = 3, warmup: float = 1, **flags: int | bool
) -> Result:
    """Load the etcd at HOST:PORT.  Modes: get, put, watch; the other flags are those of etcd.go."""
    command = [str(program), "-endpoint", address, "-mode", mode, f"-seconds={seconds}", f"-warmup={warmup}"]
    command += [f"-{name}={str(value).lower()}" for name, value in flags.items()]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=warmup + seconds + EXTRA_WAIT)
    return cast(Result, json.loads(done.stdout))
