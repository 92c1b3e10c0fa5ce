"""Run a command while holding a lock, so that it never runs twice at once, on however many machines.

    python docs/examples/lock.py KEY TTL COMMAND...     such as: lock/backup 30 ./backup

The lock is a key that only one program can make (if=0).  It expires TTL seconds after its holder last renewed it, so a
holder that dies sets it free.  A holder that can no longer renew it kills the command.  KVCTL_ADDR names the daemon.
"""

import asyncio
import os
import signal
import sys

from kvd.client import DEFAULT_ADDRESS, Client, Conflict, connect
from kvd.errors import KvdError

ADDRESS = os.environ.get("KVCTL_ADDR", DEFAULT_ADDRESS)
OWNER = f"{os.uname().nodename}/{os.getpid()}"


async def acquire(kv: Client, key: str, ttl: float) -> int:
    """Wait for the lock and take it; return the key's revision."""
    async with kv.watch(key) as changes:  # before the first attempt, so that no release is missed
        while True:
            try:
                return await kv.set(key, OWNER, ttl=ttl, if_revision=0)
            except Conflict:
                while (await anext(changes)).verb == "SET":
                    pass


async def run(key: str, ttl: float, command: list[str]) -> int:
    """Run the command under the lock; return its exit status.  Raises KvdError if the lock is lost."""
    if task := asyncio.current_task():  # SIGTERM ends the command, too, as Ctrl-C does
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with await connect(ADDRESS, timeout=ttl / 3) as kv:  # silence is noticed before the lock expires
        revision = await acquire(kv, key, ttl)
        # What the command writes to may refuse a LOCK_REVISION that is older than one it has seen.
        process = await asyncio.create_subprocess_exec(*command, env=os.environ | {"LOCK_REVISION": str(revision)})
        try:
            while process.returncode is None:
                try:
                    await asyncio.wait_for(process.wait(), ttl / 3)
                except TimeoutError:
                    revision = await kv.set(key, OWNER, ttl=ttl, if_revision=revision)
        except BaseException:
            process.kill()
            await process.wait()
            raise
        await kv.delete(key, if_revision=revision)  # Conflict: the lock expired before the command ended
        return process.returncode


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(run(sys.argv[1], float(sys.argv[2]), sys.argv[3:])))
    except (KvdError, KeyboardInterrupt, asyncio.CancelledError) as error:
        sys.exit(f"lock: {str(error) or 'stopped'}")
