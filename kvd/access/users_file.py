"""The file of users: read, and edited by one program at a time; readers find the old one or the new one."""

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kvd.access.users import Users, parse
from kvd.errors import StartError
from kvd.opening import read_named

LARGEST = 16 * 1024 * 1024
"""Bytes of a file; room for a hundred thousand users."""
OTHERS_WRITE = stat.S_IWOTH


def load(path: Path, where: str) -> Users:
    """The users of a file.  where: what named it, for messages.  Raises StartError."""
    text, mode = _read(path, where)
    if mode & OTHERS_WRITE:
        raise StartError(f"{where}: anybody may write to {str(path)!r}, and so make users: chmod 600")
    return parse(text, f"{where} {str(path)!r}")


def _read(path: Path, where: str) -> tuple[str, int]:
    """A file's text and mode.  Raises StartError."""
    raw, mode = read_named(path, where, LARGEST, "a TOML file of users")
    if len(raw) > LARGEST:
        raise StartError(f"{where}: {str(path)!r} has more than {LARGEST} bytes; expected a TOML file of users")
    try:
        return raw.decode("utf-8-sig"), mode
    except UnicodeDecodeError:
        raise StartError(f"{where}: {str(path)!r} is not UTF-8; expected a TOML file of users") from None


@contextmanager
def editing(path: Path, where: str) -> Iterator[Any]:
    """The file's table of users, to be changed; the file is replaced in one step if what it would say is right.

    What is not changed stays as it was written, comments too.  A file that is not there is made.  Raises StartError.
    """
    # It takes kvctl 30 ms, and most of its commands do without it.
    import tomlkit

    # What is replaced is the file, and not a link to it.
    path = Path(os.path.realpath(path))
    try:
        with _locked(path) as old:
            text, _ = _read(path, where)
            parse(text, f"{where} {str(path)!r}")
            document = tomlkit.parse(text)
            if "users" not in document:
                document["users"] = tomlkit.table(is_super_table=True)
            yield document["users"]
            new = tomlkit.dumps(document)
            parse(new, f"{where} {str(path)!r}")
            _replace(path, new, old)
    except tomlkit.exceptions.TOMLKitError as error:
        raise StartError(f"{where}: cannot edit {str(path)!r}: {error}") from None
    except OSError as error:
        raise StartError(f"{where}: cannot write {str(path)!r}: {error.strerror or error}") from None


@contextmanager
def _locked(path: Path) -> Iterator[os.stat_result]:
    """The file is there, and nobody else edits it; what it is.  Raises OSError."""
    while True:
        is_new = not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            found = os.fstat(descriptor)
            if not _is_at(path, found):
                # Another has put a new one in its place while this one was waited for.
                continue
            try:
                yield found
            except BaseException:
                if is_new and _is_at(path, found):
                    path.unlink()
                raise
            return
        finally:
            os.close(descriptor)


def _is_at(path: Path, found: os.stat_result) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), found)
    return False


def _replace(path: Path, text: str, old: os.stat_result) -> None:
    """Put a text in the place of a file, readable by its owner alone.  Raises OSError."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8", newline="\n") as opened:  # noqa: PTH123  # it is open
            if (old.st_uid, old.st_gid) != (os.getuid(), os.getgid()):
                _give(descriptor, old)
            opened.write(text)
            opened.flush()
            os.fsync(descriptor)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _give(descriptor: int, old: os.stat_result) -> None:
    """Leave the file to whom it belonged: the daemon, which could not read it any more.  Raises OSError."""
    try:
        os.fchown(descriptor, old.st_uid, old.st_gid)
    except PermissionError:
        if old.st_uid != os.getuid():
            raise OSError(errno.EPERM, "it belongs to another user, to whom it could not be given back") from None
