"""Run a command while holding a lock, so that it never runs twice at once, on however many machines.

    python docs/examples/lock.py NAME TTL COMMAND...     such as: lock/backup 30 ./backup

Those who wait get it in the order in which they came.  A holder that dies sets it free after TTL seconds; one that
loses it, as when the daemon cannot be reached for that long, kills the command.  KVCTL_ADDR names the daemon.
"""

import asyncio
import os
import signal
import sys

from kvd.client import DEFAULT_ADDRESS, connect
from kvd.errors import BadKey, KvdError

ADDRESS = os.environ.get("KVCTL_ADDR", DEFAULT_ADDRESS)


async def run(name: str, ttl: float, command: list[str]) -> int:
    """Run the command under the lock; return its status, as a shell's.  Raises LeaseLost if the lock is lost."""
    if task := asyncio.current_task():  # SIGTERM ends the command, too, as Ctrl-C does
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with await connect(ADDRESS) as kv, kv.lock(name, ttl) as lock:
        # What the command writes to may refuse a LOCK_REVISION that is older than one it has seen.
        environment = os.environ | {"LOCK_REVISION": str(lock.revision)}
        try:
            process = await asyncio.create_subprocess_exec(*command, env=environment)
        except OSError as error:
            print(f"lock: {error}", file=sys.stderr)
            return 127 if isinstance(error, FileNotFoundError) else 126
        try:
            status = await process.wait()
            return status if status >= 0 else 128 - status  # less than 0: a signal has ended it
        except asyncio.CancelledError:  # the lock is lost, or this program is to end
            process.kill()
            await process.wait()
            raise


if __name__ == "__main__":
    try:
        name, ttl, program, *words = sys.argv[1:]
        sys.exit(asyncio.run(run(name, float(ttl), [program, *words])))
    except (ValueError, BadKey):  # too few words, or no such TTL, or NAME
        print("usage: lock.py NAME TTL COMMAND...     such as: lock/backup 30 ./backup", file=sys.stderr)
        sys.exit(2)
    except (KvdError, KeyboardInterrupt, asyncio.CancelledError) as error:
        sys.exit(f"lock: {str(error) or 'stopped'}")
