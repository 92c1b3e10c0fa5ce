"""Room on the store's disk: writing stops before the disk is full, for with a full one Redis ends itself."""

import os
from collections.abc import Callable
from pathlib import Path

RESERVE_BYTES = 64 * 1024 * 1024
"""Free bytes below which only deletes and the sweep write; half of it, and nothing does."""
RESERVE_SHARE = 4
"""On a small disk the reserve is this part of it at the most."""

WRITTEN = 3
"""Bytes that a byte of a value takes in the append-only file: a short one stands in the log and in the data, and there
is some room."""

Room = Callable[[int], float]
"""How much of the reserve is free behind a batch of so many bytes: 1 and more is enough for every write, 1/2 for
deletes, less for nothing."""

DELETES_ROOM = 0.5
"""The room that deletes and the sweep want."""
FULL = "the store's disk is nearly full; nothing was done; make room on it and try again"


def unlimited(_: int) -> float:
    """The room of a store whose disk is somebody else's care."""
    return 1.0


def on_disk(path: Path) -> Room:
    """The room on the disk of a directory; none if that does not say."""

    def room(size: int) -> float:
        try:
            disk = os.statvfs(path)
        except OSError:
            return 0.0
        reserve = min(RESERVE_BYTES, disk.f_blocks * disk.f_frsize / RESERVE_SHARE)
        # A file system that counts no blocks has no end that could be seen.
        return (disk.f_bavail * disk.f_frsize - WRITTEN * size) / reserve if reserve else 1.0

    return room
