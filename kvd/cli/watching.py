"""The command that goes on: watch."""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from kvd.cli.command import ON_A_TERMINAL, PATTERN, Arguments, Command, how
from kvd.cli.hangup import call_at_hangup
from kvd.cli.output import Output, as_on_the_wire, json_value, say
from kvd.client import Watch

MOST_SHOWN = 10
"""Names in a message: enough to see what they are."""


async def watch(args: Arguments, out: Output) -> None:
    """Print changes.  It is cancelled when nobody reads them: the next change may be long in coming."""
    call_at_hangup(1, _cancelling())
    async with Watch(args["--addr"], *args["<PATTERN>"], **how(args)) as changes:
        say(f"watching from {changes.position}")
        _tell_of_keys(args["<PATTERN>"])
        async for position, revision, verb, key, value, *_ in changes:
            fields: dict[str, Any] = {"position": position, "revision": revision, "verb": verb, "key": key}
            if value is None:
                out.line(f"{position} {verb} {key}", **fields)
            else:
                word, text = as_on_the_wire(verb, value)
                out.line(f"{position} {word} {key} {text}", **fields, **json_value(value))
            out.flush()


def _cancelling() -> Callable[[], None]:
    """Make what cancels this task, from any thread."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def cancel() -> None:
        if task:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(task.cancel)

    return cancel


def _tell_of_keys(patterns: Sequence[str]) -> None:
    """Say what is watched where a shell may have put names of files in the place of a pattern."""
    keys = [pattern for pattern in patterns if not pattern.endswith("*")]
    files = [key for key in keys if os.path.lexists(key)]
    if len(keys) > 1 or files:
        others = len(patterns) - len(keys)
        what = _counted(len(keys), "key") + (f" and {_counted(others, 'pattern')}" if others else "")
        say(f"watching {what}: {', '.join(patterns[:MOST_SHOWN])}{', ...' if len(patterns) > MOST_SHOWN else ''}")
    if files:
        directory = files[0][: files[0].rfind("/") + 1]
        say(f"names of files here are among them; to watch a pattern, quote it, such as '{directory}*'")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


COMMANDS = (
    Command(
        "watch", "[<PATTERN>...]", "Use watch to watch updates to any keys in kv store", watch, endless=True,
        notes=(PATTERN, """\
watch prints POSITION SET KEY VALUE, POSITION DEL KEY and POSITION EXPIRE KEY; a
value that is not one line of text is in base64, and the word before it is SET64.""", ON_A_TERMINAL),
    ),
)  # fmt: skip
