"""What a service manager is told that waits for it (systemd's Type=notify): that this process is ready, reads its files
anew, stops; and with a watchdog, again and again, that it is not stuck.
"""

import asyncio
import os
import socket
import time
from contextlib import suppress

SOCKET, INTERVAL, PROCESS = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
"""What it says in the environment: where it listens; in how many microseconds it wants to hear, and of whom."""
READY = "READY=1"
STOPPING = "STOPPING=1"
ALIVE = "WATCHDOG=1"
SHARE = 0.5
"""Of that interval: twice as often, for a machine that is busy."""


def tell(state: str) -> None:
    """Send it a message, if there is one that listens; what cannot be sent is not worth an end."""
    address = os.environ.get(SOCKET, "")
    if address[:1] not in ("/", "@"):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
        sending.setblocking(False)
        sending.sendto(state.encode(), f"\0{address[1:]}" if address[0] == "@" else address)


def tell_reloading() -> None:
    """Files are read anew from now on, until READY."""
    tell(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


async def keep_alive() -> None:
    """Tell it that the event loop goes round, for ever; returns if nobody wants to know."""
    interval = os.environ.get(INTERVAL, "")
    if not interval.isdecimal() or os.environ.get(PROCESS, f"{os.getpid()}") != f"{os.getpid()}":
        return
    while True:
        tell(ALIVE)
        await asyncio.sleep(SHARE * int(interval) / 1_000_000)
