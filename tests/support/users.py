"""The daemon under other users than the one who runs the tests, who must be root for that."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.processes import ROOT, Daemon

_SWITCH = """
import os, sys
# The interpreter may lie where no other user can read: all that is needed comes first.
import encodings.idna, encodings.unicode_escape, importlib.metadata, pwd, shutil, tempfile, uvloop
import kvd.server, kvd.store.redis.checking
from kvd.__main__ import main
importlib.metadata.version("redis")
user, group, groups, umask = sys.argv[1:5]
os.setgroups([int(number) for number in groups.split()])
os.setgid(int(group))
os.setuid(int(user))
os.umask(int(umask, 8))
sys.exit(main(sys.argv[sys.argv.index("kvd") + 1:]))
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a daemon as another user")


class User(NamedTuple):
    """Numbers that nobody has; groups: more of them, umask: octal."""

    uid: int = 61801
    gid: int = 61801
    groups: tuple[int, ...] = ()
    umask: str = "022"

    @property
    def prefix(self) -> list[str]:
        """Before a command that starts the daemon."""
        groups = " ".join(map(str, self.groups))
        return [sys.executable, "-c", _SWITCH, str(self.uid), str(self.gid), groups, self.umask]


class DaemonOf(Daemon):
    """A daemon that runs as a user."""

    def __init__(self, user: User, data: Path, options: Iterable[str] = ()) -> None:
        super().__init__(data, options)
        self._prefix = user.prefix

    def rest_of_greeting(self) -> str:
        """What it says after the line that tells where it listens."""
        return self._pipes[0].readline().decode()


def run_kvd_as(user: User, data: Path | str) -> subprocess.CompletedProcess[str]:
    """A daemon that is expected to give up by itself."""
    command = [*user.prefix, "kvd", "--listen", "127.0.0.1:0", "--data", str(data)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def running(user: User, data: Path, *options: str) -> Iterator[DaemonOf]:
    """A daemon, stopped at the end."""
    daemon = DaemonOf(user, data, options)
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A temporary directory that every user can enter."""
    path = Path(tempfile.mkdtemp(prefix="kvd-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def give(path: Path, user: User, mode: int) -> None:
    """Make a file or directory a user's."""
    os.chown(path, user.uid, user.gid)
    path.chmod(mode)


def modes(directory: Path) -> dict[str, int]:
    """The permissions of all that is in it, and of itself as "."."""
    found = {".": directory.stat().st_mode & 0o777}
    for path in directory.rglob("*"):
        if not path.is_socket():
            found[str(path.relative_to(directory))] = path.stat().st_mode & 0o777
    return found
