"""A command that is run for each change, one after another: --exec."""

import asyncio
import os
import signal
from contextlib import suppress

from kvd.cli.status import CANNOT_RUN, Failure, as_of_a_shell
from kvd.client import Copy, Event

LOOK = 0.02
"""Seconds between looks whether what a shell has left behind is gone: nobody is told of the end of others' children."""


class Commands:
    """Runs the command; the value of the change is its standard input."""

    def __init__(self, command: str) -> None:
        self._command = command

    async def take(self, change: Event | Copy) -> None:
        """Run it for a change, or for each key of a copy.  Raises Failure: it has failed, and so kvctl ends."""
        if isinstance(change, Event):
            await self._run(change)
            return
        store = change.position.partition("@")[2]
        for item in sorted(change.items.values(), key=lambda item: item.revision):
            await self._run(Event(f"{item.revision}@{store}", item.revision, "SET", item.key, item.value))

    async def _run(self, event: Event) -> None:
        beginning = asyncio.ensure_future(self._begin(event))
        try:
            # Shielded, for asyncio kills what it has begun when it is told to stop amid.
            process = await asyncio.shield(beginning)
            status = await process.wait()
        except asyncio.CancelledError:  # kvctl is to end; and the next kvctl may run another command
            await _end_group(await beginning)
            raise
        if status:
            status = as_of_a_shell(status)
            raise Failure(status, f"--exec: the command ended with status {status} at {event.position}"
                                  f" ({event.verb} {event.key})")  # fmt: skip

    async def _begin(self, event: Event) -> asyncio.subprocess.Process:
        import tempfile  # some milliseconds, for --exec alone

        environment = {
            "KVD_POSITION": event.position, "KVD_REVISION": f"{event.revision}", "KVD_OP": event.verb,
            "KVD_KEY": event.key,
        }  # fmt: skip
        with tempfile.TemporaryFile() as value:  # a pipe would have to be written while the command runs
            value.write(event.value or b"")
            value.seek(0)
            try:
                return await asyncio.create_subprocess_shell(
                    self._command,
                    stdin=value,
                    env=os.environb | {os.fsencode(k): v.encode() for k, v in environment.items()},
                    process_group=0,  # so that all that the shell runs can be ended with it
                )
            except OSError as error:
                raise Failure(CANNOT_RUN, f"--exec: cannot run a shell ({error.strerror})") from None


async def _end_group(process: asyncio.subprocess.Process) -> None:
    """End the shell and all that it runs, and wait for their ends."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        await process.wait()
        while True:
            os.killpg(process.pid, 0)
            await asyncio.sleep(LOOK)
