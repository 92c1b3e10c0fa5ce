"""A command that is run while a lock is held."""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from kvd.cli.command import Arguments, how
from kvd.cli.guard import Guard
from kvd.cli.locks import NOT_BEGUN
from kvd.cli.status import CANNOT_RUN, Failure, as_of_a_shell, asking
from kvd.client import Copy, Item, arguments
from kvd.client.dialing import Addresses
from kvd.client.errors import LeaseLost
from kvd.client.following import Following
from kvd.client.limits import Limits, checked
from kvd.client.locking import Locking, Locks
from kvd.client.tasks import TaskFace
from kvd.errors import KvdError

LOST, NOT_FOUND = 124, 127
LEASE = 15.0
"""Seconds."""
GRACE = 0.05
"""The part of the time to live that a command has between SIGTERM and SIGKILL: a lease counts as lost after nine tenths
of it, and nobody else has the lock before its end."""
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
FROM_TERMINAL = (signal.SIGINT, signal.SIGQUIT)
"""A terminal sends them to all of its foreground: there the command gets them as kvctl does."""


def prepare(args: Arguments) -> None:
    """Make the guard, while there is only one thread."""
    args["--ttl"] = LEASE if args["--ttl"] is None else args["--ttl"]
    args["guard"] = Guard(GRACE * args["--ttl"])


async def hold(args: Arguments, value: bytes | None) -> None:
    """Wait for the lock, and run the command.  Raises Failure with the exit status."""
    signals = Signals()
    try:
        try:
            with asking():
                arguments.key(args["<NAME>"])
                limits = checked(**how(args))
                locking = Locks(TaskFace(), args["--addr"], limits).locking(args["<NAME>"], args["--ttl"], value, None)
                item = await locking.acquire(args["--wait"])
        except TimeoutError:
            raise Failure(NOT_BEGUN, f"{args['<NAME>']} was not to be had in {args['--wait']:g} s") from None
        except ValueError as error:
            raise Failure(NOT_BEGUN, str(error)) from None
        except Failure as failure:
            raise Failure(NOT_BEGUN, *failure.messages) from None
        try:
            holding = Holding(args, limits, locking, item)
            status = await holding.run(args["<CMD>"], args["guard"], signals)
        finally:
            await locking.release()
    finally:
        signals.close()
    if holding.lost:
        raise Failure(LOST, f"lost {args['<NAME>']}: {holding.lost}")
    if status:
        raise Failure(as_of_a_shell(status))


class Signals:
    """Signals that come to kvctl: they cancel the task, and once the command runs they are passed on to it."""

    def __init__(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._target = 0
        self._came: signal.Signals | None = None
        self._at_interrupt = signal.getsignal(signal.SIGINT)
        for number in PASSED_ON:
            self._loop.add_signal_handler(number, self._take, number)

    def pass_on(self, target: int) -> None:
        """From now on, to a process, or to a group with its number negated; 0: to nobody."""
        self._target = target

    def _take(self, number: signal.Signals) -> None:
        if self._target > 0 and number in FROM_TERMINAL:
            return
        if self._target:
            with suppress(ProcessLookupError):
                os.kill(self._target, number)
        elif self._task:
            self._came = number
            self._task.cancel()

    def close(self) -> None:
        """Have them act as before; one that has cancelled the task ends the program."""
        for number in PASSED_ON:
            self._loop.remove_signal_handler(number)
        if self._at_interrupt != signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._at_interrupt)
        if self._came:
            os.kill(os.getpid(), self._came)


class Holding:
    """What happens while the lock is held.

    lost: why it is not any more.
    """

    def __init__(self, args: Arguments, limits: Limits, locking: Locking, item: Item) -> None:
        self._locking, self._item = locking, item
        self._following = Following(
            TaskFace(), Addresses(args["--addr"]), limits, (item.key,), None, None, True, None, None
        )
        self.lost: LeaseLost | None = None

    async def run(self, words: Sequence[str], guard: Guard, signals: Signals) -> int:
        """Run the command; return its status, as subprocess has it.  Raises Failure."""
        self._guard = guard
        guard.extend(self._locking.lease.until)
        try:
            process = await self._started(words)
        except Failure:
            guard.done()
            raise
        target = process.pid if is_foreground() else -process.pid
        guard.begun(target)
        signals.pass_on(target)
        self._locking.lease.renewed = guard.extend
        self._locking.told = self._lose
        if self._locking.lost:
            await self._lose(self._locking.lost)
        watching = asyncio.create_task(self._watch())
        try:
            return await process.wait()
        finally:
            signals.pass_on(0)
            guard.done()
            watching.cancel()
            await self._following.close()

    async def _started(self, words: Sequence[str]) -> asyncio.subprocess.Process:
        environment = {"KVD_LOCK_KEY": self._item.key, "KVD_LOCK_REVISION": f"{self._item.revision}"}
        alone = is_foreground()
        try:
            return await asyncio.create_subprocess_exec(
                *words,
                env=os.environb | {name.encode(): text.encode() for name, text in environment.items()},
                process_group=-1 if alone else 0,
                preexec_fn=partial(self._guard.command, 1 if alone else -1),
            )
        except FileNotFoundError:
            raise Failure(NOT_FOUND, f"{words[0]}: there is no such command") from None
        except OSError as error:
            raise Failure(CANNOT_RUN, f"{words[0]}: cannot be run ({error.strerror})") from None

    async def _lose(self, why: LeaseLost) -> None:
        if not self.lost:
            self.lost = why
            self._guard.lose()

    async def _watch(self) -> None:
        """Learn at once that somebody has deleted the key; the lease learns it when it is renewed."""
        try:
            while True:
                change = await self._following.next()
                found = change.items.get(self._item.key) if isinstance(change, Copy) else change
                if found is None or found.value is None or found.revision != self._item.revision:
                    await self._lose(LeaseLost(f"{self._item.key} is gone or another's"))
        except KvdError:  # it may not be watched: the lease learns it
            pass


def is_foreground() -> bool:
    """Whether this program has a terminal to itself, as its command is to have then."""
    try:
        return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False
