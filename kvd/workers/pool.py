"""The parent's side of the workers: they are started, watched, started again, stopped."""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress

from kvd.admission import DRAIN_TIMEOUT
from kvd.counts import Start
from kvd.errors import StartError, Superseded
from kvd.process.child import Child, terminal_held_back
from kvd.process.sockets import Listener
from kvd.reloadable import Reloadable
from kvd.settings import Settings
from kvd.store.location import StoreLocation
from kvd.store.redis.shared_cache import WorkerSlot, share_versions
from kvd.workers.config import EXIT_SUPERSEDED, READY, RELOADED, Message, Task, code_on_disk, give_message
from kvd.workers.others import LONGEST_LINE, Exchange

logger = logging.getLogger("kvd")


class Workers:
    """All of them: `start` them in the main thread, keep `run` running, `drain` them, `close` them."""

    def __init__(
        self, settings: Settings, location: StoreLocation, listeners: Sequence[Listener], inherited: Sequence[int],
        loaded: Reloadable, start: Start,
    ) -> None:  # fmt: skip
        """listeners: from now on they are ours.  inherited: more descriptors.

        start: of the daemon.  Raises StartError if the addresses cannot be shared.
        """
        self._held = ExitStack()
        # They keep the ports while a worker is down; those of TCP never listen.
        bound = [_share(listener, self._held) for listener in listeners]
        # Nobody else writes to a store that fills our disk: it is the embedded one.
        keeps = location.disk is not None and settings.read_cache > 0
        slots = _slots(settings.workers, self._held) if keeps else [None] * settings.workers
        code, exchange = code_on_disk(), Exchange()
        self._workers = [
            Worker(
                number, settings, location._replace(slot=slot), bound, inherited, code, loaded,
                start._replace(slot=start.slot and start.slot._replace(number=number)), exchange,
            )
            for number, slot in enumerate(slots, 1)
        ]  # fmt: skip
        # Connections may wait in these already, which would break if they were closed, and others opened instead.
        self._workers[0].begin_with(listeners)

    async def start(self) -> None:
        """Start the workers; returns when all listen.  Raises StartError."""
        await asyncio.gather(*(worker.launch() for worker in self._workers))

    async def run(self) -> None:
        """Start those that end again, until `drain`.

        Raises Superseded, after all have ended in order, when another version of kvd has replaced one of them.
        """
        try:
            await asyncio.gather(*(worker.supervise() for worker in self._workers))
        except Superseded:
            await self.drain()
            raise

    async def reload(self, loaded: Reloadable) -> None:
        """Give all of them what was read anew; returns when each has it, also those that are just started."""
        await asyncio.gather(*(worker.reload(loaded) for worker in self._workers))

    async def drain(self) -> None:
        """End the workers in order: each answers what is being done, and tells its watchers."""
        with self._held:
            await asyncio.gather(*(worker.stop() for worker in self._workers))

    close = drain
    """A second time, it finds nothing to do; and a start that failed leaves nothing else."""


class Worker(Child):
    """One process that serves."""

    # It closes its connections within that time; the rest is for a machine that is busy.
    stop_wait = DRAIN_TIMEOUT + 3

    def __init__(
        self,
        number: int,
        settings: Settings,
        location: StoreLocation,
        bound: Sequence[Listener],
        inherited: Sequence[int],
        code: bytes,
        loaded: Reloadable,
        start: Start,
        exchange: Exchange,
    ) -> None:
        """bound: sockets at the addresses where it will listen.  code: what its own must be, as Task.give takes it.

        exchange: of all workers.
        """
        super().__init__()
        self.name = f"worker {number}"
        self._settings = settings
        self._location = location
        self._bound = bound
        self._first: Sequence[Listener] = ()
        self._inherited = inherited
        self._code = code
        self._loaded = loaded
        self._start = start
        self._exchange = exchange
        self._writing = asyncio.Lock()
        self._said = b""
        self._ready, self._reloaded = asyncio.Event(), asyncio.Event()
        self._hearing: asyncio.Task[None] | None = None

    def begin_with(self, listeners: Sequence[Listener]) -> None:
        """Have it listen on these very sockets when it is first started; from now on they are its own."""
        self._first = listeners

    async def stop(self) -> None:
        """End it, cleanly if it can be."""
        self._stopping = True
        await self._terminate()
        await self._release()

    async def reload(self, loaded: Reloadable) -> None:
        """Give it what was read anew; returns when it has it, or has ended, for it is started again with it."""
        self._loaded = loaded
        process, hearing = self._process, self._hearing
        if not (process and hearing):
            return
        # Before it listens it reads nothing.
        if await self._happens(self._ready, hearing):
            self._reloaded.clear()
            await self.tell(loaded)
            await self._happens(self._reloaded, hearing)

    @property
    def serves(self) -> bool:
        """Whether it is there to answer."""
        return self._ready.is_set() and self._hearing is not None and not self._hearing.done()

    async def tell(self, message: Message) -> None:
        """Give it something; returns when it has it, or is gone."""
        async with self._writing:
            process = self._process
            if process and process.stdin and not process.stdin.closed:
                with suppress(OSError):
                    # It may be stopped, and there may be more to write than a pipe holds.
                    await asyncio.to_thread(give_message, message, process.stdin)

    async def _happens(self, event: asyncio.Event, hearing: asyncio.Task[None]) -> bool:
        """Wait for an event, or for the end of the process: False."""
        waiting = asyncio.create_task(event.wait())
        await asyncio.wait({waiting, hearing}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        return event.is_set()

    async def launch(self) -> None:
        """Start it; returns when it listens.  Raises StartError, Superseded."""
        await self._release()
        try:
            process = self._process = self._spawn()
        except OSError as error:
            raise StartError(f"cannot start {self.name}: {error.strerror or error}") from None
        self._ready.clear()
        self._hearing = asyncio.create_task(self._hear(process))
        if not await self._happens(self._ready, self._hearing):
            await self._wait()
            raise StartError(self._said.decode().strip() or f"{self.name} ended while it started; its log says why")
        logger.info("%s is process %d", self.name, process.pid)

    def _spawn(self) -> subprocess.Popen[bytes]:
        """The process.  Raises OSError."""
        first, self._first = self._first, ()
        with terminal_held_back(), ExitStack() as stack:
            listeners = first or [listener.share() for listener in self._bound]
            taken = tuple((stack.enter_context(listener.socket).fileno(), listener.address) for listener in listeners)
            http = frozenset(number for (number, _), listener in zip(taken, listeners, strict=True) if listener.is_http)
            # It finds its modules where we do, which -P keeps from beginning in the current directory; and it is in a
            # group of its own, so that Ctrl-C in a terminal reaches the parent alone,
            # which alone decides about its end.
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "kvd.workers"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                pass_fds=[*dict(taken), *self._inherited, *self._location.descriptors(), *self._start.descriptors()],
                process_group=0,
            )  # fmt: skip
        assert process.stdin  # noqa: S101
        # It may have ended already, which shows elsewhere.
        with suppress(BrokenPipeError):
            task = Task(os.getpid(), self._settings, self._location, taken, self._loaded, self._start, http)
            task.give(process.stdin, self._code)
        return process

    async def _wait(self) -> int:
        assert self._process  # noqa: S101
        if self._hearing:
            await asyncio.wait({self._hearing})
        code = self._process.wait()
        if code == EXIT_SUPERSEDED and not self._stopping:
            raise Superseded(self._said.decode().strip())
        return code

    async def _hear(self, process: subprocess.Popen[bytes]) -> None:
        """What it says, until its end."""
        loop = asyncio.get_running_loop()
        lines = asyncio.StreamReader(LONGEST_LINE)
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), process.stdout)
        try:
            self._said = await lines.readline()
            if self._said == READY:
                self._exchange.begin(self)
                self._ready.set()
            while said := await lines.readline():
                if said == RELOADED:
                    self._reloaded.set()
                elif not self._exchange.hear(self, said):
                    self._said = said
        finally:
            self._exchange.end(self)
            transport.close()

    async def _release(self) -> None:
        """Let go of a process that has ended."""
        if self._process and self._process.stdin:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        if self._hearing:
            self._hearing.cancel()
            await asyncio.gather(self._hearing, return_exceptions=True)
            self._hearing = None


def _share(listener: Listener, held: ExitStack) -> Listener:
    """Another at the same address, which is closed with `held`."""
    try:
        shared = listener.share()
        held.enter_context(shared.socket)
        return shared
    except OSError as error:
        raise StartError(f"cannot share an address among workers: {error.strerror or error}") from None


def _slots(workers: int, held: ExitStack) -> Sequence[WorkerSlot | None]:
    """What read caches share, given back with `held`; without it the workers have none, and serve all the same."""
    try:
        slots = share_versions(workers)
    except OSError as error:
        logger.warning(
            "no memory to be shared by the workers: %s; values that are read are not kept (--read-cache)", error
        )
        return [None] * workers
    held.callback(os.close, slots[0].descriptor)
    return slots
