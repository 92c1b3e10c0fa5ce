"""Unix sockets to listen on: files, which a daemon that was killed leaves behind.

Whether somebody listens at a file is seen by connecting to it.  Between that and the place of a new file nobody else
may do the same: daemons take the directory's lock for it.
"""

import errno
import fcntl
import os
import select
import socket
import stat
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

MODE = 0o660
"""Of the file: its user and its group may connect."""
_CREDENTIALS = struct.Struct("3i")
"""struct ucred of Linux: process, user and group."""
_XUCRED = struct.Struct("Ii")
"""What struct xucred of macOS begins with: its version, and the user."""
_LOCAL_PEERCRED = 1


class SocketFile(NamedTuple):
    """A file that was made, as it is told from another that may come in its place."""

    path: str
    device: int
    inode: int

    def remove(self) -> None:
        """Remove it, unless that has happened."""
        with suppress(OSError):
            if _identity(self.path) == (self.device, self.inode):
                Path(self.path).unlink()


def bind(path: str) -> tuple[socket.socket, SocketFile]:
    """A socket that listens at a path, and its file.  Raises OSError, also if somebody else listens there.

    A file that nobody listens at any more is replaced.
    """
    bound = socket.socket(socket.AF_UNIX)
    try:
        with _locked(Path(path).parent):
            _clear(path)
            # On Linux the file takes it from here: no other may ever connect.
            with suppress(OSError):
                os.fchmod(bound.fileno(), MODE)
            bound.bind(path)
            Path(path).chmod(MODE)
            # Before the lock is given back: to those who look, it would be a dead one's.
            bound.listen()
            return bound, SocketFile(path, *_identity(path))
    except BaseException:
        bound.close()
        raise


def user_of(connection: Any) -> int | None:
    """The user id of the process that connected; None where the kernel does not say.

    connection: a unix socket, or a transport's.
    """
    with suppress(OSError):
        if hasattr(socket, "SO_PEERCRED"):
            known = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            return int(_CREDENTIALS.unpack(known)[1])
        if sys.platform == "darwin":
            known = connection.getsockopt(0, _LOCAL_PEERCRED, 128)
            return int(_XUCRED.unpack_from(known)[1])
    return None


def is_hung_up(connection: Any) -> bool:
    """Whether the peer has closed its socket, also where nothing is read any more.

    connection: a unix socket, or a transport's.
    """
    asking = select.poll()
    try:
        asking.register(connection.fileno(), 0)
    except (OSError, ValueError):  # it is closed
        return False
    return any(found & select.POLLHUP for _, found in asking.poll(0))


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Raises OSError if there is no such directory; some file systems know no locks."""
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):
            fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def _clear(path: str) -> None:
    """Remove what a daemon that was killed has left.  Raises OSError if there is anything else."""
    try:
        mode = Path(path).lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "there is a file already, and it is no socket", path)
    with socket.socket(socket.AF_UNIX) as asking:
        # One whose queue is full would let us wait.
        asking.setblocking(False)
        try:
            asking.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
            return
        except BlockingIOError:
            pass
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), path)


def _identity(path: str) -> tuple[int, int]:
    """Raises OSError."""
    found = Path(path).lstat()
    return found.st_dev, found.st_ino
