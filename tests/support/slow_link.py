"""A link between two bridges that takes its time: every frame that comes on one side leaves on the other one later.

Usage: python -m tests.support.slow_link DEVICE DEVICE SECONDS

It makes the two devices, says "ready", and runs until it is ended.  (The kernel's own netem is not everywhere.)
"""

import fcntl
import os
import select
import struct
import sys
import time
from collections import deque
from contextlib import suppress

_TUNSETIFF = 0x400454CA
_TAP_NO_HEADER = 0x0002 | 0x1000
LARGEST_FRAME = 65536
MOST_WAITING = 20_000
"""Frames on their way; further ones are lost, as on any link."""


def tap(name: str) -> int:
    """A device that a network sees, and whose frames are read and written here."""
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(file, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TAP_NO_HEADER))
    return file


def forward(one: int, other: int, seconds: float) -> None:
    """From each to the other, for ever."""
    across = {one: other, other: one}
    waiting: deque[tuple[float, int, bytes]] = deque()
    while True:
        patience = max(waiting[0][0] - time.monotonic(), 0) if waiting else None
        for ready in select.select([one, other], [], [], patience)[0]:
            with suppress(OSError):
                while frame := os.read(ready, LARGEST_FRAME):
                    if len(waiting) < MOST_WAITING:
                        waiting.append((time.monotonic() + seconds, across[ready], frame))
        while waiting and waiting[0][0] <= time.monotonic():
            _, to, frame = waiting.popleft()
            # One that is full, or down, loses it.
            with suppress(OSError):
                os.write(to, frame)


def main() -> None:
    one, other, seconds = sys.argv[1:]
    devices = tap(one), tap(other)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    forward(*devices, float(seconds))


if __name__ == "__main__":
    main()
