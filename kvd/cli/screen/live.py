"""The live screen: drawn anew after each look, each key and each change of the window's size."""

import asyncio
import os
import time
from collections import deque
from contextlib import suppress
from functools import partial

from rich.console import Console, Group, RenderableType
from rich.live import Live

from kvd.cli.interrupts import at_end, ended
from kvd.cli.screen import drawing
from kvd.cli.screen.keyboard import keys, signals
from kvd.cli.screen.looking import Looking
from kvd.cli.screen.prefixes import Prefixes, PrefixWatch
from kvd.cli.signals import ended_by_signals, stop

LOOKS = 200
"""Of the past that the curves show."""
SLOW = 2.0
"""Seconds, beyond the interval, after which a look that is not answered is told of."""
GIVE_BACK = b"\x1b[?1049l\x1b[?25h"
"""Shows the terminal's first screen and its cursor."""


class LiveScreen:
    """Shows what `looking` and `prefixes` have, on this terminal, until q is typed or it is cancelled."""

    def __init__(self, address: str, looking: Looking, prefixes: Prefixes, watch: PrefixWatch) -> None:
        self._address, self._looking, self._prefixes, self._watch = address, looking, prefixes, watch
        self._console = Console(highlight=False)
        self._changed = asyncio.Event()
        self._recent: deque[tuple[float, float]] = deque(maxlen=LOOKS)
        self._watching: asyncio.Task[None] | None = None
        self._is_wanted = True
        self._is_ended = self._is_suspended = False

    async def run(self) -> None:
        """Show it.  Raises KvdError: what the daemon refuses for good."""
        with at_end(partial(os.write, 1, GIVE_BACK)), ended_by_signals(), signals(self._changed.set, self._suspend):
            looking = asyncio.create_task(self._looking.run(self._looked))
            try:
                while not self._is_ended:
                    with keys(self._typed), Live(console=self._console, screen=True, auto_refresh=False) as live:
                        await self._draw_on(live, looking)
                    if self._is_suspended:
                        self._is_suspended = False
                        stop()
            finally:
                await ended(looking)
                await self._stop_watching()

    async def _draw_on(self, live: Live, looking: asyncio.Task[None]) -> None:
        while not self._is_ended and not self._is_suspended:
            self._changed.clear()
            with suppress(OSError):  # the terminal is gone, and a signal comes
                self._console.size = os.get_terminal_size(1)
            await self._watch_if_shown()
            live.update(self._drawn(), refresh=True)
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._changed.wait()
            if looking.done():
                looking.result()

    def _looked(self) -> None:
        figures = self._looking.figures
        self._prefixes.look(time.monotonic())
        if figures and not self._looking.why:
            self._recent.append((figures.requests or 0, figures.changes or 0))
        self._changed.set()

    def _typed(self, data: bytes) -> None:
        if b"q" in data or b"Q" in data:
            self._is_ended = True
        elif b"p" in data:
            self._is_wanted = not self._is_wanted
        self._changed.set()

    def _suspend(self) -> None:
        self._is_suspended = True
        self._changed.set()

    def _rows(self) -> int:
        return drawing.room_for_prefixes(*self._console.size) if self._is_wanted else 0

    async def _watch_if_shown(self) -> None:
        """Watch keys while what comes of it is shown, and no longer: to the daemon it is work."""
        if self._rows() and not self._watching:
            self._watching = asyncio.create_task(self._watch.run())
        elif not self._rows():
            await self._stop_watching()

    async def _stop_watching(self) -> None:
        watching, self._watching = self._watching, None
        if watching:
            await ended(watching)

    def _drawn(self) -> RenderableType:
        looking, now, width = self._looking, time.monotonic(), self._console.width
        silent = now - looking.since
        slow = silent if looking.why or silent > looking.interval + SLOW else 0
        parts: list[RenderableType] = [drawing.head(self._address, looking.figures, looking.why, slow)]
        if looking.figures:
            parts[0] = Group(parts[0], drawing.rates(looking.figures, self._recent, width))
            parts.append(drawing.table(looking.figures, width))
        if rows := self._rows():
            why = "" if looking.why else self._watch.why
            parts.append(drawing.busiest_table(self._prefixes.busiest(rows), why, width))
        parts.append(drawing.foot(wanted=self._is_wanted, shown=bool(rows)))
        return drawing.screen(parts)
