"""Take jobs from a queue, each by one worker at a time; start as many workers as you like.

    python docs/examples/work_queue.py COMMAND...       such as: wc -c
    kvctl set queue/1 'some text'                       adds a job; its result will be in done/1

A worker claims a job by making its claim/ key, which only one can (if=0).  If the worker dies or the command fails, the
claim expires, and the job is taken again.  So a command must be safe to repeat.  KVCTL_ADDR names the daemon.
"""

import asyncio
import os
import subprocess
import sys
from contextlib import suppress

from kvd.client import DEFAULT_ADDRESS, Client, Conflict, connect
from kvd.errors import KvdError

ADDRESS = os.environ.get("KVCTL_ADDR", DEFAULT_ADDRESS)
WORKER = f"{os.uname().nodename}/{os.getpid()}"
LEASE = float(os.environ.get("LEASE", "60"))
"""Seconds that a claim lasts; a command is killed before."""


def output_of(command: list[str], text: bytes) -> bytes:
    """Give the command the text; return what it prints.  Raises SubprocessError if it fails or takes too long."""
    return subprocess.run(command, input=text, stdout=subprocess.PIPE, timeout=LEASE * 0.8, check=True).stdout


async def attempt(kv: Client, key: str, command: list[str]) -> None:
    """Do one job.  Raises Conflict if another worker has it, or it was changed meanwhile; SubprocessError."""
    name = key.removeprefix("queue/")
    claim = await kv.set(f"claim/{name}", WORKER, ttl=LEASE, if_revision=0)
    job = await kv.gets(key)
    if job:  # else it was done since it was listed
        await kv.set(f"done/{name}", await asyncio.to_thread(output_of, command, job.value))
        await kv.delete(key, if_revision=job.revision)
    await kv.delete(f"claim/{name}", if_revision=claim)


async def work(command: list[str]) -> None:
    """Do all jobs that there are, and then those that come, or whose claim expires."""
    async with await connect(ADDRESS) as kv, kv.watch("queue/*", "claim/*") as changes:
        while True:
            async for key in kv.keys("queue/*"):
                with suppress(Conflict, subprocess.SubprocessError):
                    await attempt(kv, key, command)
            async for event in changes:
                if event.verb == ("SET" if event.key.startswith("queue/") else "EXPIRE"):
                    break


if __name__ == "__main__":
    try:
        asyncio.run(work(sys.argv[1:]))
    except (KvdError, KeyboardInterrupt) as error:
        sys.exit(f"work_queue: {str(error) or 'stopped'}")
