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
LEASE = float(os.environ.get("LEASE", "60"))  # seconds that a claim lasts; a command is killed before


async def attempt(kv: Client, key: str, command: list[str]) -> None:
    """Do one job.  Raises Conflict if another worker has it, or it was changed meanwhile; SubprocessError."""
    name = key.removeprefix("queue/")
    claim = await kv.set(f"claim/{name}", WORKER, ttl=LEASE, if_revision=0)
    try:
        if job := await kv.gets(key):  # else it was done since it was listed
            done = await asyncio.to_thread(subprocess.check_output, command, input=job.value, timeout=LEASE * 0.8)
            await kv.set(f"done/{name}", done)
            await kv.delete(key, if_revision=job.revision)
    except OSError as error:  # the command cannot be run here; another worker may have it
        print(f"work_queue: {error}", file=sys.stderr)
        await kv.delete(f"claim/{name}", if_revision=claim)
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)
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
    if not sys.argv[1:]:
        print("usage: work_queue.py COMMAND...     such as: wc -c", file=sys.stderr)
        sys.exit(2)
    try:
        asyncio.run(work(sys.argv[1:]))
    except (KvdError, KeyboardInterrupt) as error:
        sys.exit(f"work_queue: {str(error) or 'stopped'}")
