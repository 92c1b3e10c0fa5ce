"""What a crowd costs others: the time of their GETs, and memory of the daemon."""

import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from bench import servers
from bench.growth.comeback import PATIENCE, Request, few_rounds
from bench.growth.crowd_client import Crowd, crowd, position
from bench.growth.interference import LIGHT
from bench.measure import Bench, alternate, ratio
from bench.servers import System
from bench.targets import KEYS, VALUE
from kvd.model import Change
from kvd.watch.index import ChangeIndex

ALONE, RESUME, PING = "alone", "RESUME", "PING"
ANSWERED = b"\nOK"
"""What each answer begins with."""
PAGE = 500
"""Changes that the index is given at once, as by a page of the log."""


def p99_meanwhile(bench: Bench, size: int, behind: int, seconds: float) -> dict[str, float]:
    """p99 of a light load's GETs while so many connections RESUME, or PING, all at once and again and again: as a
    multiple of that alone."""
    found: dict[str, list[float]] = {ALONE: [], RESUME: [], PING: []}
    load = {**LIGHT, "keys": KEYS}
    with servers.kvd(bench.kvd_arguments) as system:
        bench.generator.fill(system, KEYS, VALUE)
        request = bytes(Request(RESUME, b"quiet/", position(system.server.port)))
        bench.generator.fill(system, behind, VALUE)
        meanwhile: dict[str, Callable[[], AbstractContextManager[None]]] = {
            ALONE: nullcontext,
            RESUME: partial(_crowd, system, size, request),
            PING: partial(_crowd, system, size, b"PING\n"),
        }
        for name in alternate(list(found), few_rounds(bench)):
            servers.settle(system)
            with meanwhile[name]():
                result = bench.generator.run(system, "requests", load, seconds=seconds, warmup=bench.pace.warmup)
            found[name].append(result.p99_us)
    return {name: ratio(found[name], found[ALONE]).median for name in (RESUME, PING)}


@contextmanager
def _crowd(system: System, size: int, request: bytes) -> Iterator[None]:
    """So many connections that all send a request, and when all are answered, again."""
    over = threading.Event()
    with crowd(system.server.port, size) as members:
        thread = threading.Thread(target=_ask_until, args=[members, request, over])
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _ask_until(members: Crowd, request: bytes, over: threading.Event) -> None:
    while not over.is_set():
        members.ask(request)
        members.wait(ANSWERED, PATIENCE)


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
