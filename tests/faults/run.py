"""The test, put together: load, watchers and faults for a while; then all comes to rest, and is checked."""

import asyncio
import random
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.faults import expiry
from tests.faults.attribution import attribute
from tests.faults.checks import check
from tests.faults.clients import Client, clients
from tests.faults.connection import Connection, Lost, pair
from tests.faults.crew import workers
from tests.faults.faults import Faults, small_disk
from tests.faults.history import History, HistoryReplaced, Listing, Violation
from tests.faults.processes import end, start, until
from tests.faults.report import report, save
from tests.faults.timeline import Timeline, Version
from tests.faults.watchers import Watcher, watchers
from tests.support.processes import PATIENCE, ROOT, Daemon

WATCH_BUFFER = "64KiB"
"""Little room, so that slow watchers are set aside."""
HISTORIES = ("500", "2000", "50000")
"""Changes that are kept: mostly so few that who is away for long finds them gone.  With several workers the most: the
others go on when one is stopped, and who watches there must find what it missed."""
CUT = "the end of its append-only file was cut off"
"""In the log of a daemon that takes the history for another one because of that."""
SHORTEST = 5.0
"""Seconds that a run takes that is begun anew."""
MOST_RENEWALS = 5
"""More of them in one run are no accident."""


class Renewed(Exception):
    """The history is another one, with a reason."""


def run(seconds: float, seed: str, *, herd: int, tmpfs: bool = False, options: Sequence[str] = ()) -> str:
    """Run it; what was done, in words.  Raises Violation; then the history has been saved, as with any error.

    herd: how many watchers there are who all come back at once.

    A server that is killed while it writes may leave an incomplete end of its append-only file, which makes the history
    another one: then nothing tells what became of the last changes, and the run is begun anew, for the time that is
    left.
    """
    give_up = time.monotonic() + seconds
    renewals = 0
    while True:
        try:
            left = max(give_up - time.monotonic(), SHORTEST)
            again = f"{seed}.{renewals}" if renewals else seed
            summary = _run(left, again, herd=herd, tmpfs=tmpfs, options=options)
        except Renewed:
            renewals += 1
            if renewals > MOST_RENEWALS:
                raise
        else:
            return f"begun anew behind an end that was cut off: {renewals}\n{summary}" if renewals else summary


def _run(seconds: float, seed: str, *, herd: int, tmpfs: bool, options: Sequence[str]) -> str:
    """Run it once.  Raises Violation, Renewed."""
    history = History()
    with ExitStack() as stack:
        data = Path(stack.enter_context(TemporaryDirectory(ignore_cleanup_errors=True))) / "data"
        if tmpfs:
            stack.enter_context(small_disk(data))
        histories = HISTORIES[-1:] if any("--workers" in option for option in options) else HISTORIES
        changes = random.Random(f"{seed} options").choice(histories)
        given = ["--watch-buffer", WATCH_BUFFER, "--history-changes", changes, *options]
        daemon = Daemon(data, given)
        daemon.is_forked = False  # so that it is seen what is left when the test is interrupted
        stack.callback(_end, daemon)  # first, so that nobody can interrupt between its start and this
        try:
            asyncio.run(start(daemon))
            trial = Run(history, daemon, seed, herd=herd, tmpfs=tmpfs)
            asyncio.run(trial.run(seconds))
            asyncio.run(end(daemon, signal.SIGTERM))
            if "Traceback" in daemon.log:
                raise Violation("there is a traceback in the daemon's log")
            check(history)
        except BaseException as error:
            if isinstance(error, HistoryReplaced) and CUT in daemon.log:
                raise Renewed(str(error)) from None
            where = ROOT / "reports" / f"faults-{seed}.jsonl"
            save(history, where)
            where.with_suffix(".log").write_text(daemon.log)
            error.add_note(f"seed {seed}; the history is in {where}")
            raise
    return report(history)


def _end(daemon: Daemon) -> None:
    """After a failure, or when interrupted, the daemon may still run."""
    with suppress(AssertionError, ProcessLookupError, subprocess.TimeoutExpired):
        daemon.kill()
        daemon.wait()


class Run:
    """One run against one daemon."""

    def __init__(self, history: History, daemon: Daemon, seed: str, *, herd: int, tmpfs: bool) -> None:
        self._history = history
        self._daemon = daemon
        self._seed = seed
        self._herd = herd
        self._tmpfs = tmpfs

    async def run(self, seconds: float) -> None:
        """Load, watchers and faults until the time is over; then wait until nothing is in flight."""
        features = await self._features()
        port, place = self._daemon.port, self._daemon.data.parent
        self._watchers: list[Watcher | Client] = [*watchers(self._history, port, self._seed, features, self._herd)]
        self._watchers += clients(self._history, port, self._seed, place)
        self._workers = workers(self._history, self._daemon.port, self._seed, features)
        self._faults = Faults(self._history, self._daemon, self._workers, self._seed, features, disk=self._tmpfs)
        try:
            async with asyncio.TaskGroup() as group:
                watching = [group.create_task(watcher.run()) for watcher in self._watchers]
                await until("the watches", lambda: all(watcher.has_seen(0) for watcher in self._watchers))
                working = [group.create_task(worker.run()) for worker in self._workers]
                await self._faults.run(seconds)
                for worker in self._workers:
                    worker.stop()
                await asyncio.wait(working)
                await self._come_to_rest()
                for task in watching:
                    task.cancel()
        except* Violation as violations:
            raise violations.exceptions[0] from None

    async def _features(self) -> list[str]:
        _, _, items = await self._ask("INFO")
        facts = dict(rest.split(" ", 1) for _, rest in items)
        return facts["features"].split()

    async def _ask(self, request: str) -> tuple[str, str, list[tuple[str, str]]]:
        """One request, as often as it takes."""
        give_up = time.monotonic() + PATIENCE
        while True:
            connection = await Connection.open(self._daemon.port)
            try:
                connection.send(f"{request}\n".encode())
                reply = await connection.reply()
                if reply[0] == "OK":
                    return reply
            except Lost:
                pass
            finally:
                connection.cut(at_once=True)
            if time.monotonic() > give_up:
                raise Violation(f"for {PATIENCE:.0f} s no answer to {request}")

    # ---- the end

    async def _come_to_rest(self) -> None:
        """Wait until all that has a time to live has ended, and all watchers have seen all; list the store."""
        for watcher in self._watchers:
            watcher.settle()
        give_up = time.monotonic() + PATIENCE
        while late := await self._overdue():
            if time.monotonic() > give_up:
                raise Violation(f"waited {PATIENCE:.0f} s for the end of {late[0]}")
        _, position, items = await self._ask("LIST")
        pairs = tuple(pair(*item) for item in items)
        revision = int(position.partition("@")[0])
        self._history.final = Listing(revision, time.monotonic(), pairs)
        await self._all_see(revision)
        for watcher in self._watchers:
            watcher.finish(revision)

    async def _overdue(self) -> list[Version]:
        """What has a time to live, and has not ended yet."""
        _, position, _ = await self._ask("LIST * limit=1")
        timeline = await self._all_see(int(position.partition("@")[0]))
        deadlines = expiry.deadlines(self._history, attribute(self._history, timeline))
        return expiry.overdue(timeline, deadlines, time.monotonic() + PATIENCE)

    async def _all_see(self, revision: int) -> Timeline:
        """Wait until every watcher has seen what there is up to a revision; that history."""
        steady = self._watchers[0]
        await until(f"{steady.name} to see revision {revision}", partial(steady.has_seen, revision))
        changes = self._history.changes
        timeline = Timeline({number: change for number, change in changes.items() if number <= revision})
        for watcher in self._watchers:
            wanted = revision if watcher.sees_progress else max(timeline.matching(watcher.patterns), default=0)
            await until(f"{watcher.name} to see revision {wanted}", partial(watcher.has_seen, wanted))
        return timeline
