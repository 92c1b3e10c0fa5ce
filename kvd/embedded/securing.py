"""The data directory, closed to all others before anything in it is used.

Who can write to the directory can do all that kvd may do: the engine runs what its append-only file says, and a link
in the place of a file has its target overwritten.  So a directory is used only if it is this user's and closed to all
others, and if nothing in it is another's or leads elsewhere.  It is looked at once more when it is closed, for until
then others may change it; from then on it is held by a descriptor, even if somebody replaces what its path leads to.
"""

import errno
import logging
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from kvd.embedded import aof
from kvd.embedded.ownership import (
    ANOTHER,
    DIRECTORIES,
    FILES,
    INNER,
    LOST_FOUND,
    OPEN_DIRECTORY,
    OTHERS,
    OTHERS_WRITE,
    is_ours,
    look,
    refuse_read_only,
    who,
)
from kvd.errors import StartError, one_line

logger = logging.getLogger("kvd.embedded")

MOST_LINKS = 40
"""Symbolic links that lead to one another, as the kernel has it."""


class Secured(NamedTuple):
    """A directory that nobody else can enter.

    path: without links.  descriptor: of the directory itself, whatever the path leads to later.  exposed: the names of
    its files that others could have opened before; their descriptors stay valid.  shown: the path as it was given.
    """

    path: Path
    descriptor: int
    exposed: frozenset[str]
    shown: Path


def secure(given: Path) -> Secured:
    """Make a directory if need be, and close it to all others; or that in it, if it is not for this user alone.

    Raises StartError that says what to do, OSError.
    """
    path = _resolve(given)
    _make(path)
    directory = os.open(path, OPEN_DIRECTORY)
    status = os.fstat(directory)
    if not is_ours(status):
        why = f"is {who(status)}"
    elif status.st_mode & stat.S_ISVTX and status.st_mode & OTHERS_WRITE and not _holds_store(directory):
        why = "is for everybody's files"
    elif status.st_mode & OTHERS and not _holds_store(directory) and _holds_other_files(path, directory):
        why = "holds other files than kvd's, and is open to others"
    else:
        exposed = _close(path, directory)
        if not os.fstat(directory).st_mode & OTHERS_WRITE:
            return Secured(path, directory, exposed, given)
        why = "stays writable by others, whatever its mode is made"
    inner = _secure_inner(path, directory, why)
    os.close(directory)
    return inner._replace(shown=given / INNER)


def _resolve(given: Path) -> Path:
    """The path without links.  One in the place of the directory must be root's or ours: its maker chose the target."""
    path = given.absolute()
    for _ in range(MOST_LINKS):
        if path.name in ("", ".."):
            return Path(os.path.realpath(path))
        path = Path(os.path.realpath(path.parent)) / path.name
        if not path.is_symlink():
            return path
        status = path.lstat()
        if status.st_uid not in (0, os.geteuid()):
            raise StartError(
                f"{path} is a symbolic link, and {who(status)}: it is not followed; name its target with --data, "
                "if you trust that, or remove it"
            )
        path = path.parent / path.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(given))


def _make(path: Path) -> None:
    """With the directories that it is in; nobody is to replace it there, whatever the umask is."""
    for parent in reversed(path.parents):
        if not parent.exists():
            parent.mkdir(mode=0o755, exist_ok=True)
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)


def _secure_inner(outer: Path, directory: int, why: str) -> Secured:
    """DIR/kvd, where DIR cannot be used.  Raises StartError."""
    path = outer / INNER
    try:
        with suppress(FileExistsError):
            os.mkdir(INNER, 0o700, dir_fd=directory)
        descriptor = os.open(INNER, OPEN_DIRECTORY, dir_fd=directory)
    except OSError as error:
        raise StartError(_refusal(outer, why, f"cannot be used: {os.strerror(error.errno or 0)}")) from None
    status = os.fstat(descriptor)
    if not is_ours(status):
        raise StartError(_refusal(outer, why, f"is {who(status)}"))
    # Those of the directory's owner, too: to begin with an empty store beside them would look like a loss.
    if _holds_store(directory, os.fstat(directory).st_uid) and not _holds_store(descriptor):
        raise StartError(
            f"{outer} {why}, so {path} is used instead, but {outer} itself holds data of kvd: if you trust who could "
            f"write there, move them (appendonly*, life, mark) into {path}, and give them to user {os.geteuid()}; if "
            f"not, move them away, {ANOTHER}"
        )
    exposed = _close(path, descriptor)
    if os.fstat(descriptor).st_mode & OTHERS_WRITE:
        raise StartError(_refusal(outer, why, "stays writable by others, too"))
    logger.warning("%s %s; the data directory is %s, which is closed to others", one_line(str(outer)), why,
                one_line(str(path)))  # fmt: skip
    return Secured(path, descriptor, exposed, path)


def _refusal(outer: Path, why: str, inner: str) -> str:
    return (
        f"the data directory {outer} {why}, and {outer / INNER}, which would be used instead, {inner}; "
        f"give {outer} to user {os.geteuid()} with mode 0700, {ANOTHER}"
    )


def _holds_store(directory: int, *owners: int) -> bool:
    """Whether there is a store of ours directly in a directory, or of one of the owners (user ids)."""
    for name in ("life", aof.NAME, aof.PARTS):
        with suppress(OSError):
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if status.st_uid in (os.geteuid(), *owners) and not stat.S_ISLNK(status.st_mode):
                return True
    return False


def _holds_other_files(path: Path, directory: int) -> bool:
    """Whether somebody keeps in a directory what is not kvd's: it is not to be closed to those who use that.

    Raises StartError if something there is another user's or leads elsewhere.
    """
    look(path, directory)
    return any(
        not (name in (*DIRECTORIES, INNER, LOST_FOUND) or FILES.fullmatch(name)) for name in os.listdir(directory)
    )


def _close(path: Path, directory: int) -> frozenset[str]:
    """Take all rights on the directory, and on what is kvd's in it, from others; which files others could open.

    Raises StartError if something in it is another's or leads elsewhere, and before anything is changed if it can.
    """
    refuse_read_only(path, directory)
    look(path, directory)
    mode = stat.S_IMODE(os.fstat(directory).st_mode)
    if mode & ~0o700:
        os.fchmod(directory, mode & 0o700)
    if mode & OTHERS:
        logger.warning("the data directory %s was open to others (mode %04o); it was closed to them (mode %04o)",
                    one_line(str(path)), mode, stat.S_IMODE(os.fstat(directory).st_mode))  # fmt: skip
    return frozenset(look(path, directory, close=True))
