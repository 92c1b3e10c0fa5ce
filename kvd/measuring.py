"""Every metric of the daemon, as of now, whichever of its processes is asked."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from kvd import __version__, metrics
from kvd.counts import Start, Table, Values
from kvd.errors import Refusal
from kvd.metrics import COUNTED, Metric
from kvd.model import ALL_KEYS, Position
from kvd.process import machine
from kvd.settings import Settings
from kvd.store.redis.store import Store

Measured = int | float | str | Mapping[tuple[str, ...], int] | Mapping[tuple[str, ...], Values]
"""Of a metric: its value, or that of each series."""
MILLISECOND = 0.001
STORE_TIME = 3.0
"""Seconds that the store has to answer: who collects metrics waits for ten or so, and the rest is told without it."""
_OF_CLIENTS = (metrics.CONNECTIONS, metrics.WATCHERS, metrics.CATCHING_UP)


class Measuring:
    """Those of one process.  certificate_expiry: seconds since 1970, 0 for no certificate; to be set."""

    def __init__(self, store: Store, table: Table, start: Start, settings: Settings) -> None:
        self._store = store
        self._table = table
        self._start = start
        self._settings = settings
        # Of a server that is not the daemon's own only itself knows, and of one that leaves it to the system nobody.
        self._knows_syncs = not (settings.store or settings.follow or settings.fsync == "no")
        self.certificate_expiry = 0.0

    async def short(self) -> dict[Metric, Any]:
        """Those that INFO tells, in the order of protocol.txt.  Raises Unavailable."""
        position, _ = await self._store.history()
        used, _ = await self._store.memory()
        return {
            metrics.USED_MEMORY: used,
            metrics.ENGINE: await self._store.engine(),
            metrics.UPTIME: self._uptime(),
            **{metric: self._table.sum(metric) for metric in _OF_CLIENTS},
            # With the one that asks, which is not answered yet.
            metrics.REQUESTS: self._requests() + 1,
            **{metric: self._table.sum(metric) for metric in (metrics.HELD, *metrics.LIMITED)},
            metrics.KEYS: await self._store.count(ALL_KEYS),
            metrics.DAEMON_MEMORY: self._memory(),
            metrics.CHANGES: self._changes(position),
        }

    async def all(self) -> dict[Metric, Measured]:
        """All that there are; while the store does not answer, those that processes count."""
        found: dict[Metric, Measured] = {
            metrics.BUILD: __version__,
            metrics.UPTIME: self._uptime(),
            metrics.DAEMON_MEMORY: self._memory(),
            metrics.HELD_LIMIT: self._settings.memory.connections,
            metrics.REQUESTS: self._requests(),
            **{metric: self._counted(metric) for metric in COUNTED},
        }
        if not self._knows_syncs:
            del found[metrics.SYNCS]
        if self.certificate_expiry:
            found[metrics.CERTIFICATE] = self.certificate_expiry
        try:
            async with asyncio.timeout(STORE_TIME):
                return found | await self._of_store() | {metrics.UP: 1}
        except (Refusal, TimeoutError):
            return found | {metrics.UP: 0}

    async def _of_store(self) -> dict[Metric, Measured]:
        """Raises Unavailable."""
        position, floor = await self._store.history()
        used, _ = await self._store.memory()
        vitals = await self._store.vitals()
        return {
            metrics.ENGINE: await self._store.engine(),
            metrics.KEYS: await self._store.count(ALL_KEYS),
            metrics.CHANGES: self._changes(position),
            metrics.REVISION: position.revision,
            metrics.OLDEST: floor,
            metrics.HISTORY: position.revision - floor,
            metrics.USED_MEMORY: used,
            metrics.RESIDENT: vitals.resident,
            metrics.SYNC_DELAYS: vitals.sync_delays,
            metrics.SWEEP_BACKLOG: vitals.backlog,
            metrics.SWEEP_LAG: vitals.lag * MILLISECOND,
        }

    def _counted(self, metric: Metric) -> Measured:
        if metric.bounds:
            return self._table.values(metric)
        return self._table.sums(metric) if metric.labels else self._table.sum(metric)

    def _requests(self) -> int:
        return sum(values.number for values in self._table.values(metrics.TIMES).values())

    def _uptime(self) -> int:
        return int(time.monotonic() - self._start.at)

    def _memory(self) -> int:
        return sum(map(machine.resident, self._table.processes()))

    def _changes(self, position: Position) -> int:
        """Since the start; a history that was replaced begins with it, for its revisions have jumped."""
        if position.store != self._start.position.store:
            self._start = self._start._replace(position=position)
        return position.revision - self._start.position.revision


def lines_of(metric: Metric, measured: Measured) -> list[str]:
    """`name value`, as INFO tells it; of a metric with labels one for each series that is not 0."""
    if not isinstance(measured, Mapping):
        return [f"{metric.name} {measured:.10g}" if isinstance(measured, float) else f"{metric.name} {measured}"]
    lines = []
    for series, value in measured.items():
        name = ".".join([metric.name, *(word.replace(" ", "-") for word in series)]).lower()
        if isinstance(value, Values):
            if value.number:
                lines += [f"{name}.count {value.number}", f"{name}.sum {value.sum:.10g}"]
        elif value:
            lines.append(f"{name} {value}")
    return lines
