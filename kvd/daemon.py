"""The daemon: the embedded store, if it is ours, and who serves it, this process or several."""

import asyncio
import importlib
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from kvd import __version__, exposure
from kvd.addresses import AnyAddress
from kvd.counts import Slot, Start, Table, Tally, size_of
from kvd.embedded.server import EmbeddedServer
from kvd.errors import StartError
from kvd.http import needed
from kvd.metrics import SYNCS
from kvd.model import Position
from kvd.process import activation, limits, service_manager, shared_bytes
from kvd.process.log_lines import facts
from kvd.process.reaping import reap_adopted
from kvd.process.sockets import HTTP, Listener, listen, taken
from kvd.process.tasks import run_together
from kvd.reloadable import NOTHING, Reloadable
from kvd.settings import Settings, check_alone, described, told, unused
from kvd.store.location import StoreLocation
from kvd.store.redis.note import EndNote
from kvd.store.redis.store import Store
from kvd.taking_up import open_edge, open_embedded, open_external

if TYPE_CHECKING:
    from kvd.edge.location import EdgeLocation
    from kvd.edge.store import EdgeStore
    from kvd.server import Server
    from kvd.workers.pool import Workers

logger = logging.getLogger("kvd")

DEFAULT_LISTEN = Settings().listen

DAY = 24 * 60 * 60
"""Seconds."""


class Daemon:
    """One kvd: `start` it, keep `run` running, `drain` it, `close` it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._serving: Server | Workers | None = None
        self._is_started = False
        self._store: Store | None = None
        self._note = EndNote(settings.notes)
        self.embedded: EmbeddedServer | None = None
        if not settings.follow:
            check_alone(settings)
        self._edge = _edge(settings) if settings.follow else None
        if not (settings.store or settings.follow):
            self.embedded = EmbeddedServer(
                settings.data, settings.fsync, settings.max_value, engine=settings.engine, processes=settings.workers,
                memory=settings.memory,
            )  # fmt: skip
        self._listeners: list[Listener] = []
        self._loaded = NOTHING
        self.engine = ""
        workers = settings.workers
        self._slot = _share_counts(workers + 1 if workers > 1 else 1)
        # This process counts before the workers, or is the one that serves.
        self._counts = Table(self._slot).own
        self._start = Start(time.monotonic(), Position(0, b""), self._slot)
        if self.embedded:
            self.embedded.meanwhile = partial(_load_who_serves, settings)
            self.embedded.restarted = self._count_restart
            self.embedded.syncs.took = partial(Tally(SYNCS, self._counts).observe, 0)

    async def start(self) -> None:
        """Start the store, then listen.  Raises StartError; `close` cleans up in any case."""
        self._tell_of_limits()
        passed = taken(activation.passed())
        by_http = [listener for listener in passed if listener.is_http]
        by_line = [listener for listener in passed if not listener.is_http]
        if by_line and self._settings.listen == DEFAULT_LISTEN:
            # Who passes some need not say where else.
            self._settings = replace(self._settings, listen=())
        self._check(passed)
        self._loaded = Reloadable.read(self._settings)
        location = await self._open_store()
        self._listeners = listen(self._settings.listen, by_line)
        self._listeners += listen(self._settings.http, by_http, is_http=True)
        exposure.check_bound(self._settings, self.addresses)
        exposure.check_bound(self._settings, self.http_addresses, HTTP)
        self._serving = self._who_serves(location)
        await self._serving.start()
        self._is_started = True
        service_manager.tell(service_manager.READY)
        self._tell_of_start()

    def _tell_of_limits(self) -> None:
        """Have the log tell of the plan of memory, and of what is too little."""
        if limits.connections() < limits.FEW:
            logger.warning(
                "the limit of open files leaves few connections to a process (%d); %s",
                limits.connections(), limits.REMEDY,
            )  # fmt: skip
        if self.embedded:
            logger.info("memory: %s", described(self._settings))
            if self._settings.memory.warning:
                logger.warning("%s", self._settings.memory.warning)

    def _check(self, passed: Sequence[Listener]) -> None:
        """Raises StartError if what is to be served may not be, or cannot.  passed: by who has started the daemon."""
        exposure.check(self._settings)
        if self._settings.http or any(listener.is_http for listener in passed):
            needed.check()
        if (without_use := unused(self._settings)) and not any(listener.is_tls for listener in passed):
            logger.warning("%s", without_use)

    def _who_serves(self, location: "StoreLocation | EdgeLocation") -> "Server | Workers":
        """This process, or several."""
        if not isinstance(location, StoreLocation) or self._settings.workers == 1:
            from kvd.server import Server

            return Server(self._settings, location, self._listeners, self._loaded, self._start)
        from kvd.workers.pool import Workers

        # While a worker is left, so is the lock: the next daemon waits until the port is free.
        inherited = [self.embedded.lock] if self.embedded else []
        return Workers(self._settings, location, self._listeners, inherited, self._loaded, self._start)

    def _tell_of_start(self) -> None:
        """Have the log tell what was started, and with which settings."""
        store = self._start.position
        # Beside the settings, which have their options' names: store is one of them.
        known = {"version": __version__, "server": self.engine, "store-id": store.store.decode(),
                 "revision": store.revision, "listening": " ".join(map(str, self.addresses)),
                 "listening-http": " ".join(map(str, self.http_addresses))}  # fmt: skip
        logger.info("started", extra=facts(**known, **told(self._settings)))

    def _count_restart(self) -> None:
        self._counts.engine_restarts += 1

    @property
    def addresses(self) -> list[AnyAddress]:
        """Where it listens."""
        return [listener.address for listener in self._listeners if not listener.is_http]

    @property
    def http_addresses(self) -> list[AnyAddress]:
        """Where it listens for HTTP."""
        return [listener.address for listener in self._listeners if listener.is_http]

    def _remove_files(self) -> None:
        for listener in self._listeners:
            listener.remove()

    async def _open_store(self) -> "StoreLocation | EdgeLocation":
        """Look at the store once; the embedded one is started before.  Raises StartError."""
        if self.embedded:
            opened = await open_embedded(self.embedded, self._settings)
        elif self._edge:
            opened = await open_edge(self._edge, self._settings)
            # What is in its copy can be read and written here.
            self._settings = replace(self._settings, max_value=self._edge.max_value())
        else:
            opened = await open_external(self._settings, self._note)
            self._store = opened.store
        self.engine = opened.engine
        self._start = self._start._replace(position=opened.position)
        return opened.location

    @property
    def kept(self) -> str:
        """Where the data are, for people."""
        if self.embedded:
            return f"{self.embedded.shown}/ (fsync {self._settings.fsync})"
        return "in the store given with --store" if self._settings.store else "none of its own: it serves a copy"

    async def run(self) -> None:
        """Serve until cancelled; what fails here for a reason unforeseen ends the daemon.

        Raises Superseded, after an end in order, when another version of kvd is in charge.
        """
        assert self._serving  # noqa: S101
        embedded = [self.embedded.supervise(), self.embedded.keep_sealed()] if self.embedded else []
        await run_together(
            self._serving.run(), reap_adopted(), self._look_at_certificates(), service_manager.keep_alive(), *embedded
        )

    async def _look_at_certificates(self) -> None:
        """Warn in time, also who never starts it anew."""
        while True:
            await asyncio.sleep(DAY)
            if self._loaded.certificates:
                self._loaded.certificates.warn()

    async def reload(self) -> None:
        """Read anew what may change while it runs, and give it to all who serve; or leave all as it was, and say so."""
        assert self._serving  # noqa: S101
        service_manager.tell_reloading()
        try:
            await self._reload(self._serving)
        finally:
            service_manager.tell(service_manager.READY)

    async def _reload(self, serving: "Server | Workers") -> None:
        try:
            loaded = Reloadable.read(self._settings)
        except StartError as error:
            logger.error("reloaded nothing, what was loaded before goes on: %s", error)
            return
        self._loaded = loaded
        await serving.reload(loaded)
        logger.info("reloaded")

    async def drain(self) -> None:
        """Accept nothing more, answer what is being done, tell the watchers, close the connections."""
        assert self._serving  # noqa: S101
        service_manager.tell(service_manager.STOPPING)
        logger.info("stopping: what is in flight is answered, and watchers are told")
        self._remove_files()
        await self._serving.drain()

    async def close(self) -> None:
        """Let go of the store, and end the embedded one."""
        self._remove_files()
        if self._serving:
            await self._serving.close()
        elif self._edge:
            await self._edge.close()
        if self._store and self._settings.notes:
            self._note.write(await self._store.end())
        if self.embedded:
            await self.embedded.stop()
        if self._is_started:
            uptime = round(time.monotonic() - self._start.at)
            logger.info("stopped", extra=facts(uptime=uptime))
        if self._slot:
            os.close(self._slot.descriptor)
            self._slot = None


def _load_who_serves(settings: Settings) -> None:
    """Which takes longer than the embedded store takes to start."""
    importlib.import_module("kvd.server" if settings.workers == 1 else "kvd.workers.pool")


def _edge(settings: Settings) -> "EdgeStore":
    # With the client that it follows by, loaded only where there is an edge.
    from kvd.edge.store import EdgeStore

    return EdgeStore(settings)


def _share_counts(rows: int) -> Slot | None:
    """Where all processes count; None if there is no memory to be shared: then each tells of itself alone."""
    try:
        descriptor = shared_bytes.share("kvd-counts", size_of(rows))
    except OSError as error:
        logger.warning("no memory to be shared by the processes: %s; each tells of itself alone", error)
        return None
    return Slot(descriptor, rows, 0)
