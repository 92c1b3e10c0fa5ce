"""Room on the store's disk: writing stops before the disk is full, for with a full one Redis ends itself."""

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
"""Bytes that a byte of a value takes in the append-only file: a short one stands in the log and in the data, and there
is some room."""

Room = Callable[[int], float]
"""How much of the reserve is free after a batch of so many bytes: 1 and more is enough for every write, 1/2 for
deletes, less for nothing."""

DELETES_ROOM = 0.5
"""The room that deletes and the sweep want."""
FULL = (
    "the store's disk is nearly full, or a limit on it nearly reached (quota, inodes, ulimit -f); nothing was done; "
    "make room on it and try again"
)


def unlimited(_: int) -> float:
    """The room of a store whose disk is somebody else's care."""
    return 1.0


def on_disk(path: Path, growing: Callable[[], Path] | None = None, refuses: Callable[[], bool] = lambda: False) -> Room:
    """The room on the disk of a directory; none if that does not say.

    growing: the file that the store appends to, which a limit on the size of files (ulimit -f) ends; may raise
    StartError; None if there is no such care.
    refuses: whether the disk is known to take no writes for a reason that it does not show.
    """

    def room(size: int) -> float:
        try:
            if refuses():
                return 0.0
            share = _on_file_system(path, WRITTEN * size)
            return min(share, _in_file(growing, WRITTEN * size)) if growing else share
        except (OSError, StartError):
            return 0.0

    return room


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
