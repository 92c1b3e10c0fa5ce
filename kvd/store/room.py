"""Room on the store's disk: writing stops before the disk is full, for with a full one Redis ends itself."""

import os
from collections.abc import Callable
from pathlib import Path

RESERVE_BYTES = 64 * 1024 * 1024
"""Free bytes below which only deletes and the sweep write; half of it, and nothing does."""
RESERVE_SHARE = 4
"""On a small disk the reserve is this part of it at the most."""

Room = Callable[[], float]
"""How much of the reserve is free: 1 and more is enough for every write, 1/2 for deletes, less for nothing."""

DELETES_ROOM = 0.5
"""The room that deletes and the sweep want."""
FULL = "the store's disk is nearly full; nothing was done; make room on it and try again"


def unlimited() -> float:
    """The room of a store whose disk is somebody else's care."""
    return 1.0


def on_disk(path: Path) -> Room:
    """The room on the disk of a directory."""

    def room() -> float:
        disk = os.statvfs(path)
        reserve = min(RESERVE_BYTES, disk.f_blocks * disk.f_frsize / RESERVE_SHARE)
        return disk.f_bavail * disk.f_frsize / reserve

    return room
