"""Whose the files in the data directory are: nothing in it may be another's or lead elsewhere (see `securing`)."""

import errno
import os
import pwd
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kvd.embedded import aof
from kvd.errors import StartError

INNER = "kvd"
"""The directory that is used in one that is not for kvd alone."""
RUN = "run"
LOST_FOUND = "lost+found"
"""Every disk has one, which is root's."""
ANOTHER = "or choose another directory with --data DIR"

OTHERS, OTHERS_WRITE = 0o077, 0o022
"""What others may have in a mode: any right, and that to write."""
DIRECTORIES = (RUN, aof.PARTS)
"""Those in the data directory."""
FILES = re.compile(r"(kvd|redis)\.lock(\.new)?|life|mark|sums|restoring|dump\.rdb|temp-.*|appendonly\..*")
"""In the directory itself; all that is in the two others is kvd's, too."""
OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without the last, opening a pipe would wait for its other end.
_OPEN_FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def open_file(directory: int, name: str, flags: int) -> int:
    """A descriptor of a file in a directory that is secured, made with mode 0600.  Raises OSError."""
    descriptor = os.open(name, flags | _OPEN_FILE, 0o600, dir_fd=directory)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1 or not is_ours(status):
        os.close(descriptor)
        raise OSError(errno.EPERM, "it is not a file of this user alone", name)
    return descriptor


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an OSError about a file in a directory into a StartError that names the file."""
    try:
        yield
    except OSError as error:
        where = path / error.filename if isinstance(error.filename, str) else path
        raise StartError(_cannot_use(where, error)) from None


def look(path: Path, directory: int, *, close: bool = False, inner: bool = False) -> list[str]:
    """See whose the entries of a directory are; close: take others' rights on them, and see that they can be used.

    inner: whether all of them are kvd's.  Returns the names of files that others had rights on.
    """
    exposed: list[str] = []
    for name in os.listdir(directory):
        # Another daemon may run there, and its server makes and removes files.
        with explained(path), suppress(FileNotFoundError):
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            _refuse_stranger(path / name, status)
            if stat.S_ISDIR(status.st_mode) and name in DIRECTORIES and not inner:
                _look_into(path / name, directory, close=close)
            elif close:
                _refuse_other_kind(path / name, status, inner=inner)
                if stat.S_ISREG(status.st_mode) and (inner or FILES.fullmatch(name)):
                    _close_file(directory, name, status)
                    exposed += [name] if status.st_mode & OTHERS else []
    return exposed


def _look_into(path: Path, outer: int, *, close: bool) -> None:
    """As `_look`, one of the directories in the data directory."""
    directory = os.open(path.name, OPEN_DIRECTORY, dir_fd=outer)
    try:
        refuse_read_only(path, directory)
        mode = stat.S_IMODE(os.fstat(directory).st_mode)
        if close and mode & ~0o700:
            os.fchmod(directory, mode & 0o700)
        look(path, directory, close=close, inner=True)
    finally:
        os.close(directory)


def _close_file(directory: int, name: str, status: os.stat_result) -> None:
    """Raises OSError if kvd cannot use it."""
    mode = stat.S_IMODE(status.st_mode)
    if mode & ~0o600:
        os.chmod(name, mode & 0o600, dir_fd=directory)
    os.close(open_file(directory, name, os.O_RDWR))


def _refuse_stranger(path: Path, status: os.stat_result) -> None:
    """Raises StartError for what another user made, or what is also elsewhere."""
    if not is_ours(status):
        if path.name == LOST_FOUND and status.st_uid == 0:
            return
        what = f"is {who(status)}"
    elif stat.S_ISLNK(status.st_mode):
        what = "is a symbolic link"
    elif stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
        what = f"has another name elsewhere ({status.st_nlink} hard links)"
    else:
        return
    raise StartError(
        f"{path} {what}; nothing in a data directory may be, for kvd (user {os.geteuid()}) would trust it: move it "
        f"away, {ANOTHER}"
    )


def _refuse_other_kind(path: Path, status: os.stat_result, *, inner: bool) -> None:
    """Raises StartError for a directory in the place of a file, or the other way."""
    if not inner and path.name in DIRECTORIES:
        raise StartError(f"cannot use {path}: it is not a directory; move it away, {ANOTHER}")
    # The server's socket is a file, too; the append-only file in one piece is looked at by the directory.
    right = stat.S_ISREG(status.st_mode) or (inner and path.parent.name == RUN and not stat.S_ISDIR(status.st_mode))
    if not right and (inner or (FILES.fullmatch(path.name) and path.name != aof.NAME)):
        raise StartError(f"cannot use {path}: it is not a file; move it away, {ANOTHER}")


def refuse_read_only(path: Path, directory: int) -> None:
    """Raises OSError if nothing can be made in a directory."""
    if os.access(".", os.R_OK | os.W_OK | os.X_OK, dir_fd=directory, effective_ids=True):
        return
    code = errno.EROFS if os.fstatvfs(directory).f_flag & os.ST_RDONLY else errno.EACCES
    raise OSError(code, os.strerror(code), str(path))


def _cannot_use(path: Path, error: OSError) -> str:
    """In one line, with what to do."""
    remedies = {
        errno.EACCES: f"give user {os.geteuid()} the right to read and write it (chown, chmod u+rwX)",
        errno.EPERM: f"give user {os.geteuid()} the right to read and write it (chown, chmod u+rwX, lsattr)",
        errno.EROFS: "mount it for writing",
        errno.ENOSPC: "free some space on its disk",
        errno.EDQUOT: "free some space on its disk",
    }
    remedy = remedies.get(error.errno or 0, "mend that")
    return f"cannot use {path} for the data: {error.strerror or error}; {remedy}, {ANOTHER}"


def is_ours(status: os.stat_result) -> bool:
    """Whether something is this process's user's."""
    return status.st_uid == os.geteuid()


def who(status: os.stat_result) -> str:
    """Whose something is, such as "another user's (alice, 1000)"."""
    name = ""
    with suppress(KeyError):
        name = f"{pwd.getpwuid(status.st_uid).pw_name}, "
    return f"another user's ({name}{status.st_uid})"
