"""What a crowd costs others: the time of their GETs, and memory of the daemon."""

import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from bench import servers
from bench.growth.comeback import PATIENCE, Request, few_rounds
from bench.growth.crowd_client import OK, Crowd, crowd, position
from bench.growth.interference import LIGHT
from bench.measure import Bench, alternate, ratio
from bench.servers import System
from bench.targets import KEYS, VALUE
from kvd.model import Change
from kvd.watch.index import ChangeIndex

PAGE = 500
"""Changes that the index is given at once, as by a page of the log."""


def p99_meanwhile(bench: Bench, size: int, behind: int, seconds: float) -> float:
    """p99 of a light load's GETs while so many watchers resume, all at once and again and again, as a multiple of that
    alone."""
    found: dict[bool, list[float]] = {True: [], False: []}
    load = {**LIGHT, "keys": KEYS}
    with servers.kvd(bench.kvd_arguments) as system:
        bench.generator.fill(system, KEYS, VALUE)
        where = position(system.server.port)
        bench.generator.fill(system, behind, VALUE)
        for busy in alternate([False, True], few_rounds(bench)):
            servers.settle(system)
            with _resuming(system, size, where) if busy else nullcontext():
                result = bench.generator.run(system, "requests", load, seconds=seconds, warmup=bench.pace.warmup)
            found[busy].append(result.p99_us)
    return ratio(found[True], found[False]).median


@contextmanager
def _resuming(system: System, size: int, where: bytes) -> Iterator[None]:
    over = threading.Event()
    with crowd(system.server.port, size) as watchers:
        request = bytes(Request("RESUME", b"quiet/", where))
        thread = threading.Thread(target=_resume_until, args=[watchers, request, over])
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _resume_until(watchers: Crowd, request: bytes, over: threading.Event) -> None:
    while not over.is_set():
        watchers.ask(request)
        watchers.wait(OK, PATIENCE)


def bytes_per_change(changes: int) -> float:
    """Memory that the index of changes takes for each, of as many distinct keys, without the keys' own bytes: the more
    of when they are published and when they are read from the log."""
    return max(_growth(_published, changes), _growth(_read, changes)) - len(_key(0))


def _growth(fill: Callable[[ChangeIndex, int], None], changes: int) -> float:
    index = ChangeIndex(changes)
    tracemalloc.start()
    try:
        fill(index, changes)
        return tracemalloc.get_traced_memory()[0] / changes
    finally:
        tracemalloc.stop()


def _published(index: ChangeIndex, changes: int) -> None:
    for first in range(1, changes + 1, PAGE):
        index.append([Change(revision, b"SET", _key(revision)) for revision in range(first, first + PAGE)])


def _read(index: ChangeIndex, changes: int) -> None:
    index.start(changes)
    for first in reversed(range(1, changes + 1, PAGE)):
        index.prepend([_key(revision) for revision in range(first, first + PAGE)], [False] * PAGE)


def _key(number: int) -> bytes:
    return b"key:%08d" % number
