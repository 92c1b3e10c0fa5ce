"""python -m bench.readers: what daemons with watchers cost the primary, by which way the changes come to them.

Usage:
  bench.readers [--counts LIST] [--watchers M] [--seconds S] [--rate R] [--forms LIST]

Options:
  --counts LIST  How many daemons, in turn [default: 0,1,8,32].
  --watchers M   Watchers of every change at each of them [default: 10].
  --seconds S    Seconds of each measurement [default: 5].
  --rate R       SETs a second, one at a time [default: 200].
  --forms LIST   Of these [default: primary,replica,edges,levels].

Three servers under three Sentinels, of which each change is confirmed by one replica, and a daemon on them, the root,
that is written to and has no watchers.  Further daemons with watchers are, by their form,
  primary  on the same store, and read its change log from the primary
  replica  the same, with --log-from replica
  edges    edges of the root
  levels   edges in three levels: 2 of the root, 6 of these, the rest of those 6
At first nothing is written: what that takes is left out of the rest.  A line tells what the primary does then, in
commands a second and percent of a core; how many SETs there were a second, for a busy machine does fewer; how often for
a SET the primary was asked for its log, or to wait for replicas; and microseconds of processor time for a SET, in the
primary, the replicas, the Sentinels, the root, and one of the daemons with watchers.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from docopt import docopt

from bench.edges import Counting, watch
from bench.servers import use_real_disk
from tests.support.groups import SentinelGroup, running
from tests.support.processes import Daemon

LEVELS = (2, 6)
"""Edges of the first level, and of the second."""
LOG_COMMANDS = ("xread", "wait")
"""What a read of the change log takes."""
PAUSE = 0.01
"""Seconds between looks whether all watchers have all changes."""
SETTLING = 1.0
"""Seconds for what begins to come to rest."""


class Cost(NamedTuple):
    """At rest: the primary's commands a second, and percent of a core.  rate: SETs a second.

    log_commands: LOG_COMMANDS of the primary, for a SET.  The rest: microseconds of processor time for a SET.
    """

    resting_commands: float
    resting_percent: float
    rate: float
    log_commands: float
    primary: float
    replicas: float
    sentinels: float
    root: float
    daemon: float


class Use(NamedTuple):
    """Of some time.  seconds: it took.  commands, log_commands: of the primary.

    processors: seconds, of each group of processes.
    """

    seconds: float
    commands: int
    log_commands: int
    processors: list[float]

    def beyond(self, rest: "Use") -> "Use":
        """What is more than at rest, in the same time."""
        share = self.seconds / rest.seconds
        used = [one - other * share for one, other in zip(self.processors, rest.processors, strict=True)]
        return self._replace(processors=used)


def processor(pids: Sequence[int]) -> float:
    """Seconds that processes have run, all their threads together."""
    tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def commands(group: SentinelGroup) -> tuple[int, int]:
    """How many the primary has done, those in scripts, too; and how many of LOG_COMMANDS."""
    calls = {name: int(found["calls"]) for name, found in group.primary.info("commandstats").items()}  # type: ignore[index]
    return sum(calls.values()), sum(calls.get(f"cmdstat_{name}", 0) for name in LOG_COMMANDS)


async def write(port: int, seconds: float, rate: float) -> int:
    """SET at a rate; how many there were."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began, count = time.monotonic(), 0
    while (now := time.monotonic()) < began + seconds:
        await asyncio.sleep(max(0.0, began + count / rate - now))
        writer.write(b"SET bench/key %032d\n" % count)
        await reader.readline()
        count += 1
    writer.close()
    return count


class Tree:
    """The root, and daemons with watchers."""

    def __init__(self, directory: Path, group: SentinelGroup, form: str, stack: ExitStack) -> None:
        self._directory = directory
        self._group = group
        self._form = form
        self._stack = stack
        self._root = self._started("root", "--store", group.url)
        self._daemons: list[Daemon] = []

    def _started(self, name: str, *options: str) -> Daemon:
        daemon = Daemon(self._directory / name, options)
        daemon.start()
        self._stack.callback(daemon.stop)
        return daemon

    def grow(self, count: int) -> None:
        """Have so many daemons."""
        for place in range(len(self._daemons), count):
            self._daemons.append(self._started(str(place), *self._options(place)))

    def _options(self, place: int) -> tuple[str, ...]:
        if self._form in ("primary", "replica"):
            return "--store", self._group.url, "--log-from", self._form
        first, second = LEVELS
        if self._form == "edges" or place < first:
            return "--follow", self._root.addr
        if place < first + second:
            return "--follow", self._daemons[place % first].addr
        return "--follow", self._daemons[first + place % second].addr

    async def measure(self, watchers: int, seconds: float, rate: float) -> Cost:
        """With as many watchers at each."""
        counting = [Counting() for _ in range(watchers * len(self._daemons))]
        transports: list[asyncio.Transport] = []
        for place, daemon in enumerate(self._daemons):
            transports += await watch(daemon.port, counting[place * watchers : (place + 1) * watchers])
        await asyncio.sleep(SETTLING)
        rest = await self._use(asyncio.sleep(seconds))
        sets = 0

        async def work() -> None:
            nonlocal sets
            sets = await write(self._root.port, seconds, rate)
            # The answer to WATCH is a line, too.
            while min((one.lines for one in counting), default=sets + 1) <= sets:  # noqa: ASYNC110  # it is in no hurry
                await asyncio.sleep(PAUSE)

        more = (await self._use(work())).beyond(rest)
        for transport in transports:
            transport.abort()
        await asyncio.sleep(SETTLING)
        primary, replicas, sentinels, root, *others = (one / sets * 1e6 for one in more.processors)
        return Cost(
            rest.commands / rest.seconds, 100 * rest.processors[0] / rest.seconds, sets / more.seconds,
            more.log_commands / sets, primary, replicas, sentinels, root, statistics.mean(others) if others else 0.0,
        )  # fmt: skip

    async def _use(self, work: Coroutine[Any, Any, None]) -> Use:
        """That of some work."""
        began, done, used = time.monotonic(), commands(self._group), [*map(processor, self._pids())]
        await work
        now = [*map(processor, self._pids())]
        return Use(
            time.monotonic() - began, commands(self._group)[0] - done[0], commands(self._group)[1] - done[1],
            [one - other for one, other in zip(now, used, strict=True)],
        )  # fmt: skip

    def _pids(self) -> list[list[int]]:
        primary = self._group.primary
        return [
            [primary.pid], [node.pid for node in self._group.nodes if node is not primary],
            [node.pid for node in self._group.sentinels], [self._root.pid], *([one.pid] for one in self._daemons),
        ]  # fmt: skip


@contextmanager
def planted(form: str) -> Iterator[Tree]:
    """A group and its root."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)))
        group = stack.enter_context(running(SentinelGroup(directory / "group")))
        yield Tree(directory, group, form, stack)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    options = docopt(__doc__, arguments)
    use_real_disk()
    names = ["form", "daemons", "commands/s at rest", "% of a core", "SETs/s", "log commands", *Cost._fields[4:]]
    sys.stdout.write(f"| {' | '.join(names)} |\n|---|{'--:|' * (len(names) - 1)}\n")
    timing = int(options["--watchers"]), float(options["--seconds"]), float(options["--rate"])
    for form in options["--forms"].split(","):
        with planted(form) as tree:
            for count in map(int, options["--counts"].split(",")):
                tree.grow(count)
                found = asyncio.run(tree.measure(*timing))
                sys.stdout.write(f"| {form} | {count} | {' | '.join(f'{one:.1f}' for one in found)} |\n")
                sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
