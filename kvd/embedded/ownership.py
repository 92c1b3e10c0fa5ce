"""Whose the data directory is, and what is in it.

Who can write to the directory can do all that kvd may do: the engine runs what its append-only file says, and a link
in the place of a file has its target overwritten.  So a directory is used only if it is this user's and closed to all
others, and if nothing in it is another's or leads elsewhere.  It is looked at once more when it is closed, for until
then others may change it; from then on it is held by a descriptor, even if somebody replaces what its path leads to.
"""

import errno
import logging
import os
import pwd
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from kvd.embedded import aof
from kvd.errors import StartError, one_line

logger = logging.getLogger("kvd.embedded")

INNER = "kvd"
"""The directory that is used in one that is not for kvd alone."""
RUN = "run"
LOST_FOUND = "lost+found"
"""Every disk has one, which is root's."""
MOST_LINKS = 40
"""Symbolic links that lead to one another, as the kernel has it."""
ANOTHER = "or choose another directory with --data DIR"

_OTHERS, _OTHERS_WRITE = 0o077, 0o022
_DIRECTORIES = (RUN, aof.PARTS)
_FILES = re.compile(r"(kvd|redis)\.lock(\.new)?|life|mark|sums|restoring|dump\.rdb|temp-.*|appendonly\..*")
"""In the directory itself; all that is in the two others is kvd's, too."""
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without the last, opening a pipe would wait for its other end.
_OPEN_FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


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
    directory = os.open(path, _OPEN_DIRECTORY)
    status = os.fstat(directory)
    if not _is_ours(status):
        why = f"is {_who(status)}"
    elif status.st_mode & stat.S_ISVTX and status.st_mode & _OTHERS_WRITE and not _holds_store(directory):
        why = "is for everybody's files"
    elif status.st_mode & _OTHERS and not _holds_store(directory) and _holds_other_files(path, directory):
        why = "holds other files than kvd's, and is open to others"
    else:
        exposed = _close(path, directory)
        if not os.fstat(directory).st_mode & _OTHERS_WRITE:
            return Secured(path, directory, exposed, given)
        why = "stays writable by others, whatever its mode is made"
    inner = _secure_inner(path, directory, why)
    os.close(directory)
    return inner._replace(shown=given / INNER)


def open_file(directory: int, name: str, flags: int) -> int:
    """A descriptor of a file in a directory that is secured, made with mode 0600.  Raises OSError."""
    descriptor = os.open(name, flags | _OPEN_FILE, 0o600, dir_fd=directory)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1 or not _is_ours(status):
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
                f"{path} is a symbolic link, and {_who(status)}: it is not followed; name its target with --data, "
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
        descriptor = os.open(INNER, _OPEN_DIRECTORY, dir_fd=directory)
    except OSError as error:
        raise StartError(_refusal(outer, why, f"cannot be used: {os.strerror(error.errno or 0)}")) from None
    status = os.fstat(descriptor)
    if not _is_ours(status):
        raise StartError(_refusal(outer, why, f"is {_who(status)}"))
    # Those of the directory's owner, too: to begin with an empty store beside them would look like a loss.
    if _holds_store(directory, os.fstat(directory).st_uid) and not _holds_store(descriptor):
        raise StartError(
            f"{outer} {why}, so {path} is used instead, but {outer} itself holds data of kvd: if you trust who could "
            f"write there, move them (appendonly*, life, mark) into {path}, and give them to user {os.geteuid()}; if "
            f"not, move them away, {ANOTHER}"
        )
    exposed = _close(path, descriptor)
    if os.fstat(descriptor).st_mode & _OTHERS_WRITE:
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
    _look(path, directory)
    return any(
        not (name in (*_DIRECTORIES, INNER, LOST_FOUND) or _FILES.fullmatch(name)) for name in os.listdir(directory)
    )


def _close(path: Path, directory: int) -> frozenset[str]:
    """Take all rights on the directory, and on what is kvd's in it, from others; which files others could open.

    Raises StartError if something in it is another's or leads elsewhere, and before anything is changed if it can.
    """
    _refuse_read_only(path, directory)
    _look(path, directory)
    mode = stat.S_IMODE(os.fstat(directory).st_mode)
    if mode & ~0o700:
        os.fchmod(directory, mode & 0o700)
    if mode & _OTHERS:
        logger.warning("the data directory %s was open to others (mode %04o); it was closed to them (mode %04o)",
                    one_line(str(path)), mode, stat.S_IMODE(os.fstat(directory).st_mode))  # fmt: skip
    return frozenset(_look(path, directory, close=True))


def _look(path: Path, directory: int, *, close: bool = False, inner: bool = False) -> list[str]:
    """See whose the entries of a directory are; close: take others' rights on them, and see that they can be used.

    inner: whether all of them are kvd's.  Returns the names of files that others had rights on.
    """
    exposed: list[str] = []
    for name in os.listdir(directory):
        # Another daemon may run there, and its server makes and removes files.
        with explained(path), suppress(FileNotFoundError):
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            _refuse_stranger(path / name, status)
            if stat.S_ISDIR(status.st_mode) and name in _DIRECTORIES and not inner:
                _look_into(path / name, directory, close=close)
            elif close:
                _refuse_other_kind(path / name, status, inner=inner)
                if stat.S_ISREG(status.st_mode) and (inner or _FILES.fullmatch(name)):
                    _close_file(directory, name, status)
                    exposed += [name] if status.st_mode & _OTHERS else []
    return exposed


def _look_into(path: Path, outer: int, *, close: bool) -> None:
    """As `_look`, one of the directories in the data directory."""
    directory = os.open(path.name, _OPEN_DIRECTORY, dir_fd=outer)
    try:
        _refuse_read_only(path, directory)
        mode = stat.S_IMODE(os.fstat(directory).st_mode)
        if close and mode & ~0o700:
            os.fchmod(directory, mode & 0o700)
        _look(path, directory, close=close, inner=True)
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
    if not _is_ours(status):
        if path.name == LOST_FOUND and status.st_uid == 0:
            return
        what = f"is {_who(status)}"
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
    if not inner and path.name in _DIRECTORIES:
        raise StartError(f"cannot use {path}: it is not a directory; move it away, {ANOTHER}")
    # The server's socket is a file, too; the append-only file in one piece is looked at by the directory.
    right = stat.S_ISREG(status.st_mode) or (inner and path.parent.name == RUN and not stat.S_ISDIR(status.st_mode))
    if not right and (inner or (_FILES.fullmatch(path.name) and path.name != aof.NAME)):
        raise StartError(f"cannot use {path}: it is not a file; move it away, {ANOTHER}")


def _refuse_read_only(path: Path, directory: int) -> None:
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


def _is_ours(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid()


def _who(status: os.stat_result) -> str:
    """Whose something is, such as "another user's (alice, 1000)"."""
    name = ""
    with suppress(KeyError):
        name = f"{pwd.getpwuid(status.st_uid).pw_name}, "
    return f"another user's ({name}{status.st_uid})"
