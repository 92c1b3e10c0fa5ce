"""The systems that are measured: kvd, bare Redis and others, each running, with the processes that it is made of."""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench import targets
from bench.others import servers
from bench.others.servers import NotInstalled, Server
from kvd.embedded import engines

ROOT = Path(__file__).parent.parent
ENGINES = ("redis-server", "valkey-server")
"""Names of the processes that keep kvd's data."""
QUIET = 0.05
"""Share of a processor below which a server has nothing left to do."""
QUIET_FOR = 0.2
"""Seconds over which that is looked at."""
QUIET_WAIT = 5.0
"""Seconds after which it is no longer waited for."""


@dataclass(frozen=True)
class System:
    """A running system and its processes.

    daemons: pids of what speaks to the clients; stores: pids of what keeps the data, if that is another process.
    """

    name: str
    protocol: str
    """As load.c names it; "" if it has its own client."""
    server: Server
    daemons: tuple[int, ...]
    stores: tuple[int, ...] = ()

    @property
    def title(self) -> str:
        """Its name for people."""
        return targets.TITLES[self.name]


@contextmanager
def kvd(arguments: Sequence[str] = (), data: str = "data", name: str = targets.KVD) -> Iterator[System]:
    """This checkout's kvd with its embedded store.  `arguments`: more of its options.  `data`: its directory."""
    port = servers.free_port()
    command = [sys.executable, "-m", "kvd", "--listen", f"{servers.HOST}:{port}", "--data", data]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with servers.running(
        "kvd", [*command, *arguments], port, ask=b"COUNT\n", answer=b"OK ", environment={"PYTHONPATH": path}
    ) as server:
        children = psutil.Process(server.pid).children(recursive=True)
        stores = tuple(child.pid for child in children if child.name() in ENGINES)
        workers = tuple(child.pid for child in children if child.pid not in stores)
        yield System(name, "kvd", server, (server.pid, *workers), stores)


def bare_redis(directory: str = ".") -> AbstractContextManager[System]:
    """The engine of kvd's own store, by itself."""
    binary = engines.choose(os.environ.get("KVD_ENGINE", "")).binary
    return _other(targets.REDIS, "redis", lambda: servers.redis("always", str(binary), directory))


@contextmanager
def _other(name: str, protocol: str, start: Callable[[], AbstractContextManager[Server]]) -> Iterator[System]:
    with start() as server:
        if name in (targets.REDIS, targets.REDIS_7):
            yield System(name, protocol, server, (), (server.pid,))
        else:
            yield System(name, protocol, server, (server.pid,))


def start(name: str, kvd_arguments: Sequence[str]) -> AbstractContextManager[System]:
    """The system of that name.  Entering raises NotInstalled."""
    starters: dict[str, Callable[[], AbstractContextManager[System]]] = {
        targets.KVD: lambda: kvd(kvd_arguments),
        targets.KVD_NO_SYNC: lambda: kvd([*kvd_arguments, "--fsync", "no"], name=name),
        targets.KVD_NO_CACHE: lambda: kvd([*kvd_arguments, "--read-cache", "0"], name=name),
        targets.REDIS: bare_redis,
        targets.REDIS_7: lambda: _other(name, "redis", servers.redis),
        targets.MEMCACHED: lambda: _other(name, "memcached", servers.memcached),
        targets.ETCD: lambda: _other(name, "", servers.etcd),
        targets.NATS: lambda: _other(name, "nats", servers.nats),
    }
    return starters[name]()


def start_all(
    stack: ExitStack,
    names: Sequence[str],
    prepare: Callable[[str], None],
    kvd_arguments: Sequence[str],
    say: Callable[[str], None],
) -> dict[str, System]:
    """Start those that are installed, to be ended with the stack, and say which are not.

    prepare: gets ready to load the system of that name, or raises NotInstalled.
    """
    running = {}
    for name in names:
        try:
            prepare(name)
            running[name] = stack.enter_context(start(name, kvd_arguments))
        except NotInstalled as missing:
            say(f"Left out: {missing}")
    return running


def settle(system: System) -> None:
    """Wait until a system has done what was left to do, such as to forget connections."""
    give_up = time.monotonic() + QUIET_WAIT
    while time.monotonic() < give_up:
        before = cpu_seconds(system)
        time.sleep(QUIET_FOR)
        if cpu_seconds(system) - before <= QUIET * QUIET_FOR:
            return


def cpu_seconds(system: System) -> float:
    """User and system time of all its processes since they began."""
    times = [psutil.Process(pid).cpu_times() for pid in (*system.daemons, *system.stores)]
    return float(sum(one.user + one.system for one in times))


def use_real_disk() -> str:
    """Have temporary directories made on a disk, for memory syncs at no cost; where, and on which file system."""
    for directory in (tempfile.gettempdir(), "/var/tmp", str(ROOT)):  # noqa: S108
        kind = file_system(Path(directory))
        if kind not in ("tmpfs", "ramfs"):
            tempfile.tempdir = directory
            return f"{directory} ({kind})"
    raise NotInstalled("no directory on a disk: set TMPDIR to one")


def file_system(path: Path) -> str:
    """The kind of file system that a path lies on, such as ext4."""
    mounts = {Path(part.mountpoint): str(part.fstype) for part in psutil.disk_partitions(all=True)}
    whole = path.resolve()
    return next((mounts[parent] for parent in (whole, *whole.parents) if parent in mounts), "unknown")
