"""Locks of a data directory: files that one process at a time has locked."""

import asyncio
import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from kvd.embedded.ownership import open_file
from kvd.embedded.securing import Secured

POLL = 0.005
"""Seconds between looks whether a lock is free."""

_KERNELS = Path("/proc/locks")
_ROOT = 0


class LockTaken(Exception):
    """Somebody has the lock; `owner` is what the file says of the process."""

    def __init__(self, owner: str) -> None:
        super().__init__(owner)
        self.owner = owner


async def take(directory: Secured, name: str, wait: float) -> tuple[int, bool]:
    """Take the lock of that name; its descriptor, and whether somebody had it before.

    wait: seconds.  Raises LockTaken, OSError.
    """
    give_up = time.monotonic() + wait
    while True:
        # Opened anew each time: the process that has it may replace the file.
        lock = open_file(directory.descriptor, name, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            late = time.monotonic() >= give_up
            if late and name in directory.exposed and _is_strangers(lock):
                os.unlink(name, dir_fd=directory.descriptor)
            elif late:
                owner = _owner(lock)
                os.close(lock)
                raise LockTaken(owner) from None
            else:
                await asyncio.sleep(POLL)
        else:
            if _is_still(directory.descriptor, name, lock):
                had_owner = os.fstat(lock).st_size > 0
                if name in directory.exposed:
                    lock = _renew(directory.descriptor, name, lock)
                _sign(lock)
                return lock, had_owner
        os.close(lock)


async def take_opened(lock: int, wait: float) -> bool:
    """Take a lock that is open; whether it was free within that many seconds."""
    give_up = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= give_up:
                return False
            await asyncio.sleep(POLL)
        else:
            return True


def _sign(lock: int) -> None:
    """Write whose it is, which helps a person only; a full disk must not keep the daemon from starting."""
    with suppress(OSError):
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _owner(lock: int) -> str:
    return os.pread(lock, 100, 0).decode(errors="replace").strip() or "unknown"


def _is_still(directory: int, name: str, lock: int) -> bool:
    """Whether the file is the one of that name, not one that was replaced."""
    try:
        return os.path.samestat(os.fstat(lock), os.stat(name, dir_fd=directory, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _renew(directory: int, name: str, lock: int) -> int:
    """Replace a lock that others could open, for they could lock it as long as they have it open."""
    new = f"{name}.new"
    with suppress(FileNotFoundError):
        os.unlink(new, dir_fd=directory)
    try:
        renewed = open_file(directory, new, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    except OSError:  # a full disk
        return lock
    fcntl.flock(renewed, fcntl.LOCK_EX)
    os.replace(new, name, src_dir_fd=directory, dst_dir_fd=directory)
    os.close(lock)
    return renewed


def _is_strangers(lock: int) -> bool:
    """Whether it is known that another user's process has the lock, which opened the file when that was possible.

    Only Linux tells, of processes that can be seen from here; root's is no stranger.
    """
    status = os.fstat(lock)
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        lines = [line.split() for line in _KERNELS.read_text().splitlines()]
        pids = [words[4] for words in lines if words[1] == "FLOCK" and words[5] == file]
        users = {user for pid in pids for user in _users(pid)}
    except (OSError, IndexError):
        return False
    return bool(users) and users.isdisjoint({_ROOT, os.geteuid()})


def _users(pid: str) -> list[int]:
    """Those of a process: real, effective, saved, for files.  Raises OSError."""
    lines = Path("/proc", pid, "status").read_text().splitlines()
    return [int(user) for line in lines if line.startswith("Uid:") for user in line.split()[1:]]
