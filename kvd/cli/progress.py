"""How far something long has come, shown on a terminal."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kvd.cli.interrupts import at_end

CLEAR = b"\r\x1b[2K\x1b[?25h"
"""Clears the line, and shows the cursor."""

PAUSE = 0.1
"""Seconds between two drawings."""

Advance = Callable[[int], object]


@contextmanager
def progress(what: str, total: int | None, *, shown: bool = True) -> Iterator[Advance]:
    """Show a bar on standard error, if that is a terminal; what is yielded takes by how much it grows.

    total: None if nobody knows.  shown: False where somebody types meanwhile.
    """
    if not shown or sys.stderr is None or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    count = TextColumn("{task.completed:,.0f}" if total is None else "{task.completed:,.0f} of {task.total:,.0f}")
    columns = TextColumn("{task.description}"), BarColumn(), count, TimeElapsedColumn()
    console = Console(stderr=True)
    # No thread draws it: a signal would wait for that one while it waits for what the signal has interrupted.
    bar = Progress(
        *columns, console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
    )
    drawn = 0.0

    def give_back() -> None:
        # Not by the bar, nor through sys.stderr: the signal may have come amid a write of that one.
        if not console.is_dumb_terminal:
            os.write(sys.stderr.fileno(), CLEAR)

    def advance(step: int) -> None:
        nonlocal drawn
        bar.advance(task, step)
        if time.monotonic() > drawn + PAUSE:
            bar.refresh()
            drawn = time.monotonic()

    with at_end(give_back), bar:
        task = bar.add_task(what, total=total)
        yield advance
