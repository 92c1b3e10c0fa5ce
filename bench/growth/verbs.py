"""Requests that are not the plainest: how fast each kind is, next to the plain one and to bare Redis."""

from statistics import median

from bench import servers
from bench.curves import Check, Curve
from bench.load import Result
from bench.measure import Bench, alternate, ratio
from bench.servers import System
from bench.targets import KEYS, VALUE

GET, SET = "GET", "SET"
READS = {GET: 0, "GET, CR LF": 1, "get": 2, "GETS": 3, "TTL": 4}
WRITES = {SET: 0, "PUT k = v": 1, "PUT with ttl=": 2, "INCR": 3}
MIXED = "half GET, half PUT with ttl="
KINDS = {
    **{name: {"reads": 100, "read-form": form} for name, form in READS.items()},
    **{name: {"reads": 0, "write-form": form} for name, form in WRITES.items()},
    MIXED: {"reads": 50, "write-form": 2},
}
DEPTHS = {
    "50 connections": {"connections": 50},
    "50 connections, 16 deep": {"connections": 50, "depth": 16},
    "1 connection": {"connections": 1},
}
REDIS_GET = "bare Redis: GET"
WANTED = {"GET, CR LF": 0.75, "get": 0.72, "GETS": 0.65, "TTL": 0.60}
"""Of bare Redis's GET, 50 connections."""
WANTED_OF_SET = {"PUT k = v": 0.85, "PUT with ttl=": 0.70, "INCR": 0.80}
"""Of kvd's own SET, 50 connections, and
WANTED_DEEP: of its GET or SET, 16 deep."""
WANTED_DEEP = {"PUT k = v": 0.85, "PUT with ttl=": 0.50, "INCR": 0.55, "GETS": 0.60}
Seen = dict[tuple[str, str], list[Result]]
"""Results by kind and depth."""


def measure(bench: Bench) -> list[Curve]:
    """Each kind on one daemon, in alternating rounds, and bare Redis's GET in each round."""
    seen: Seen = {}
    with servers.kvd(bench.kvd_arguments) as kvd, servers.bare_redis() as redis:
        for system in (kvd, redis):
            bench.generator.fill(system, KEYS, VALUE)
        for name in alternate([*KINDS, REDIS_GET], bench.pace.rounds):
            bench.say(f"{name} ...")
            # What a PUT gave a time to live is not kept for reads, and what a SET wrote is asked for once.
            bench.generator.fill(kvd, KEYS, VALUE)
            for depth in DEPTHS:
                result = _run(bench, redis if name == REDIS_GET else kvd, name, depth)
                seen.setdefault((name, depth), []).append(result)
    return [_curve(seen)]


def _run(bench: Bench, system: System, name: str, depth: str) -> Result:
    settings = {"keys": KEYS, "value": VALUE, **KINDS.get(name, {"reads": 100}), **DEPTHS[depth]}
    result = bench.generator.run(
        system, "requests", settings, seconds=bench.growth_pace.seconds / 2, warmup=bench.pace.warmup
    )
    servers.settle(system)
    return result


def _curve(seen: Seen) -> Curve:
    names = [*KINDS, REDIS_GET]
    columns = {f"{depth}/s": [median(r.rate for r in seen[name, depth]) for name in names] for depth in DEPTHS}
    flat, deep = list(DEPTHS)[:2]
    checks = [_check(seen, name, REDIS_GET, flat, limit) for name, limit in WANTED.items()]
    checks += [_check(seen, name, SET, flat, limit) for name, limit in WANTED_OF_SET.items()]
    checks += [_check(seen, name, GET if name in READS else SET, deep, limit) for name, limit in WANTED_DEEP.items()]
    return Curve("verbs", "Other requests", HOW, "request", names, columns, checks, is_growth=False)


def _check(seen: Seen, name: str, base: str, depth: str, limit: float) -> Check:
    found = ratio([r.rate for r in seen[name, depth]], [r.rate for r in seen[base, depth]])
    return Check(f"{name} / {base}, {depth}", found.median, "at least", limit)


def in_words(curve: Curve) -> list[str]:
    """What it shows, for readers."""
    rates = dict(zip(curve.x, next(iter(curve.columns.values())), strict=True))
    return [
        f"Times as many a second as {base}, with 50 connections: "
        + ", ".join(f"`{name}` {rates[name] / rates[base]:.2f}" for name in kinds)
        + "."
        for base, (_, *kinds) in ((GET, READS), (SET, WRITES))
    ]


HOW = (
    f"Each kind of request on one daemon in turn, of {KEYS:,} keys with values of {VALUE} bytes, by 50 connections, by "
    "50 of which each has 16 requests in flight, and by one. All writes are durable; the numbers of INCR are keys of "
    "their own."
)
