"""The command that goes on: watch."""

import asyncio
import fcntl
import os
import stat
from typing import Any

from kvd.cli.output import Output, as_on_the_wire, json_value, say
from kvd.client import Watch


async def watch(changes: Watch, out: Output) -> None:
    async with changes:
        _end_when_nobody_reads()
        say(f"watching from {changes.position}")
        async for position, revision, verb, key, value in changes:
            fields: dict[str, Any] = {"position": position, "revision": revision, "verb": verb, "key": key}
            if value is None:
                out.line(f"{position} {verb} {key}", **fields)
            else:
                word, text = as_on_the_wire(verb, value)
                out.line(f"{position} {word} {key} {text}", **fields, **json_value(value))
            out.flush()


def _end_when_nobody_reads() -> None:
    """Cancel this task when standard output is a pipe and loses its reader; a write may be long in coming."""
    is_pipe = stat.S_ISFIFO(os.fstat(1).st_mode)
    task = asyncio.current_task()
    if task and is_pipe and fcntl.fcntl(1, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
        asyncio.get_running_loop().add_reader(1, task.cancel)
