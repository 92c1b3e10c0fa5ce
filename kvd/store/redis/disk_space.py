"""Free space on the store's disk: writing stops before the disk is full, for with a full one Redis ends itself."""

import os
import resource
import select
from collections.abc import Callable
from pathlib import Path

from kvd.errors import StartError

RESERVE_BYTES = 64 * 1024 * 1024
"""Free bytes below which only deletes and the sweep write; half of it, and nothing does."""
RESERVE_SHARE = 4
"""On a small disk, and below a low limit on the size of files, the reserve is this part of it at the most."""

WRITTEN = 3
"""Bytes that a byte of a value takes in the append-only file: a short one is in the change log and in the data,
and there is some to spare."""

FreeSpace = Callable[[int], float]
"""What share of the reserve is free after a batch of so many bytes: 1 and more is enough for every write, 1/2 for
deletes, less for nothing."""

DELETES_SHARE = 0.5
"""The share of the reserve that deletes and the sweep need."""
FULL = (
    "the store's disk is nearly full, or a limit on it nearly reached (quota, inodes, ulimit -f), or the data "
    "directory is gone; nothing was done; mend that and try again"
)


def unlimited(_: int) -> float:
    """That of a store whose disk is somebody else's care."""
    return 1.0


def on_disk(
    path: Path, growing: Callable[[], Path] | None = None, refuses: Callable[[], bool] = lambda: False
) -> FreeSpace:
    """The free space on the disk of a directory; none if that does not say.

    growing: the file that the store appends to, which a limit on the size of files (ulimit -f) ends; may raise
    StartError; None if there is no such care.
    refuses: whether the disk is known to take no writes for a reason that it does not show.
    """

    def free_space(size: int) -> float:
        try:
            if refuses():
                return 0.0
            share = _on_file_system(path, WRITTEN * size)
            return min(share, _in_file(growing, WRITTEN * size)) if growing else share
        except (OSError, StartError):
            return 0.0

    return free_space


def refused_by(descriptor: int) -> Callable[[], bool]:
    """Whether there is something to read from a pipe, which says that the disk takes no writes."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return lambda: bool(poll.poll(0))


def _on_file_system(path: Path, size: int) -> float:
    disk = os.statvfs(path)
    # A file system that counts no files, or no blocks, has no end that could be seen.
    if disk.f_files and not disk.f_favail:
        # Without a new file the append-only file cannot be written anew.
        return 0.0
    return _share(disk.f_bavail * disk.f_frsize - size, disk.f_blocks * disk.f_frsize) if disk.f_blocks else 1.0


def _in_file(growing: Callable[[], Path], size: int) -> float:
    """What this process's limit on the size of files, which its children have, too, leaves."""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit == resource.RLIM_INFINITY:
        return 1.0
    file = growing()
    return _share(limit - size - (file.stat().st_size if file.exists() else 0), limit)


def _share(free: int, whole: int) -> float:
    """How much of the reserve is free."""
    reserve = min(RESERVE_BYTES, whole / RESERVE_SHARE)
    return free / reserve if reserve else 0.0
