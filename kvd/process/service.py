"""Running a service in this process: its event loop, its log, and the signals that end it."""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, NoReturn, Protocol

from kvd.errors import StartError
from kvd.process.log_lines import write_to_stderr

logger = logging.getLogger("kvd")

STDERR = 2
NO_THREAD = "can't start new thread"
"""What Python says (Modules/_threadmodule.c) where there is no memory, or no process, for one."""

TLS_GIVEN_UP = "Fatal error on SSL protocol", "the handler is closed"
"""What uvloop says, and how its error ends, where a handshake was given up, as with a store that is slow or away."""

TERMINAL = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGQUIT})
"""Signals that come from a terminal: it is closed, Ctrl-C, Ctrl-\\."""
ENDING = TERMINAL | {
    number for number in signal.valid_signals() if getattr(number, "name", "") in ("SIGTERM", "SIGXCPU", "SIGPWR")
}
"""Signals that ask for an end in order; of the last two, one comes at a limit (ulimit -t), one when power fails."""
_REAL_TIME = getattr(signal, "SIGRTMIN", signal.NSIG)
UNUSED = frozenset(
    number
    for number in signal.valid_signals()
    if number >= _REAL_TIME
    or signal.Signals(number).name in ("SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGSTKFLT")
)
"""Signals without a meaning here, whose default is death.  Ignored, they stay ignored in child processes."""

COLLECT_AFTER = 2_000, 3, 300
"""Objects that there must be more of before the garbage collector looks at the new ones; how often it does until it
looks at those of some time; and how often that until it looks at all that there are, which beside 5,000 connections, of
100 objects each, takes 0.2 s.  Hardly anything that connections leave waits for it; but with Python's 700, 10, 10 it
takes those that come and go for old ones, and while 2,000 come it looks at all several times.  Much more would be much
memory, if some were left in cycles after all: these are 2.4 million objects."""

Reload = Callable[[], Coroutine[Any, Any, None]]
"""Reads anew what may change while a service runs; what cannot be used it leaves as it was, and says so."""


class Service(Protocol):
    """What runs until it is told to stop."""

    async def start(self) -> None:
        """Get ready.  Raises StartError; `close` cleans up in any case."""

    async def run(self) -> None:
        """Serve until cancelled."""

    async def drain(self) -> None:
        """End in order, while `run` still runs."""

    async def close(self) -> None:
        """Let go of everything."""


def run(
    service: Service, ready: Callable[[], None], ended_by: Collection[signal.Signals] = (signal.SIGTERM,),
    reload: Reload | None = None,
) -> None:  # fmt: skip
    """Run a service until one of the signals `ended_by`; `ready` is called when it has started.  Raises StartError.

    reload: what SIGHUP calls for, as long as the controlling terminal that there was is still there; None: it ends the
    service.
    A SIGHUP that was ignored when the process began ends nothing: nohup asks for that.  When this returns, these
    signals are held back: what is left is to exit, with the status that the service has earned.
    """
    for number in UNUSED:
        signal.signal(number, signal.SIG_IGN)
    gc.set_threshold(*COLLECT_AFTER)
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if sys.platform != "win32":
        import uvloop

        factory = uvloop.new_event_loop
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(_serve(service, ready, ended_by, reload))
    except RuntimeError as error:
        if str(error) != NO_THREAD:
            raise
        raise StartError(
            "the system gives this process no more threads: raise its limit of memory (ulimit -d or -v, MemoryMax= in "
            "systemd's unit) or of processes (ulimit -u, TasksMax=)"
        ) from None


def leave(status: int) -> NoReturn:
    """End this process, in which nothing is left to do.

    Python's own end frees its memory piece by piece, which takes as long as all else that a daemon does to stop.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError):
                stream.flush()
    os._exit(status)


def open_standard_streams() -> None:
    """Give the standard streams that the shell has closed a place: libuv takes their numbers for its own otherwise."""
    null = os.open(os.devnull, os.O_RDWR)
    while null <= STDERR:
        null = os.dup(null)
    os.close(null)


def log_to_stderr(level: str, form: str = "text", *, of_many: bool) -> None:
    """Write the log to standard error; of_many: each line says which process it comes from."""
    write_to_stderr(level, form, of_many=of_many)
    # What nobody foresaw may quote a URL, too.
    sys.excepthook = lambda kind, error, trace: logging.getLogger("kvd").critical(
        "an error that was not foreseen ends this process", exc_info=(kind, error, trace)
    )


def tell_unforeseen(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error that nobody took; not uvloop's of a TLS connection that we closed: its reason is told elsewhere."""
    message, end = TLS_GIVEN_UP
    if context.get("message") == message and str(context.get("exception")).endswith(end):
        logger.debug("a TLS connection was given up")
    else:
        loop.default_exception_handler(context)


def has_terminal() -> bool:
    """Whether this process has a controlling terminal: no longer once that was closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


async def _serve(
    service: Service, ready: Callable[[], None], ended_by: Collection[signal.Signals], reload: Reload | None
) -> None:
    stopping, reloading = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(tell_unforeseen)
    for number in ended_by:
        if number != signal.SIGHUP:
            loop.add_signal_handler(number, stopping.set)
    if signal.SIGHUP in ended_by:
        _take_hangups(stopping, reloading if reload else None)
    stopped = asyncio.create_task(stopping.wait())
    try:
        if await _first(service.start(), stopped):
            ready()
            async with _reloaded(reload, reloading):
                await _first(service.run(), stopped, before_cancelling=service.drain)
    finally:
        await service.close()
        # The loop gives them back their default, death: a terminal that is closed may send several.
        signal.pthread_sigmask(signal.SIG_BLOCK, ended_by)


def _take_hangups(stopping: asyncio.Event, reloading: asyncio.Event | None) -> None:
    """Have SIGHUP set one of the events; reloading: None if there is nothing to reload."""
    may_end = signal.getsignal(signal.SIGHUP) != signal.SIG_IGN
    had_terminal = has_terminal()

    def hung_up() -> None:
        if may_end and (reloading is None or (had_terminal and not has_terminal())):
            stopping.set()
        elif reloading:
            reloading.set()

    if may_end or reloading:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hung_up)


@asynccontextmanager
async def _reloaded(reload: Reload | None, wanted: asyncio.Event) -> AsyncIterator[None]:
    """Meanwhile reload whenever that is wanted, one time after the other."""

    async def keep() -> None:
        assert reload  # noqa: S101
        while True:
            await wanted.wait()
            wanted.clear()
            try:
                await reload()
            except Exception:
                # What runs already goes on.
                logger.exception("to reload failed for a reason that was not foreseen")

    task = asyncio.create_task(keep()) if reload else None
    try:
        yield
    finally:
        if task:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _first(
    work: Coroutine[Any, Any, None],
    stopped: asyncio.Task[Any],
    before_cancelling: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> bool:
    """Do the work until it is done (True) or the service is to stop (False); what the work raises is raised."""
    task = asyncio.create_task(work)
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
        return True
    if before_cancelling:
        await before_cancelling()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return False
