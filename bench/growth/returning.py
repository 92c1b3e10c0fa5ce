"""More watchers that come back at once, and watchers that are further behind: the time until all are up to date."""

from collections.abc import Callable, Sequence

from bench import servers
from bench.curves import Check, Curve
from bench.growth.comeback import Known, Request, come_back, few_rounds, known_ratio, medians, rest
from bench.growth.crowd_client import allow, position
from bench.load import LoadFailed
from bench.measure import Bench, alternate
from bench.servers import System
from bench.targets import VALUE

WATCHERS = (100, 1000, 10_000)
BEHIND = 1000
"""Changes that these are behind."""
CHANGES = (100, 1000, 10_000, 100_000)
SIZE = 1000
"""Watchers that are so many changes behind."""
ROOM = 1000
"""Changes that the history has to keep beside these."""
FIGURES = {"all know, s": "worst", "daemon, s": "daemon"}
RESUME, WATCH = "RESUME", "WATCH"


def measure_watchers(bench: Bench, sizes: Sequence[int] = WATCHERS) -> list[Curve]:
    """RESUMEs and WATCHes of so many, in alternating rounds on one daemon.  Raises LoadFailed."""
    allowed = allow(max(sizes))
    possible = [size for size in sizes if size <= allowed]
    if possible != list(sizes):
        bench.say(f"not more than {allowed:,} watchers: the limit of open files (ulimit -Hn) allows no more")
    if not possible:
        raise LoadFailed("returning: the limit of open files is too low")
    with servers.kvd(bench.kvd_arguments) as system:
        where = _position_before(bench, system, BEHIND)
        columns, found = _grown(bench, system, possible, lambda size: (size, where))
    last = possible[-1]
    checks = [_check(f"{last:,} watchers", found[RESUME, last], found[WATCH, last])]
    names = [f"{size:,}" for size in possible]
    return [Curve("returning", "More watchers that come back", HOW_WATCHERS, "watchers", names, columns, checks)]


def measure_behind(bench: Bench, changes: Sequence[int] = CHANGES) -> list[Curve]:
    """RESUMEs of positions so far back, and WATCHes, in alternating rounds on one daemon."""
    kept = [*bench.kvd_arguments, "--history-changes", str(max(changes) + ROOM)]
    with servers.kvd(kept) as system:
        allow(SIZE)
        where = {}
        for behind, later in zip(changes[::-1], (*changes[::-1][1:], 0), strict=True):
            where[behind] = _position_before(bench, system, behind - later)
        columns, found = _grown(bench, system, changes, lambda behind: (SIZE, where[behind]))
    last = changes[-1]
    checks = [_check(f"{last:,} changes behind", found[RESUME, last], found[WATCH, last])]
    names = [f"{behind:,}" for behind in changes]
    return [Curve("behind", "Watchers that are further behind", HOW_BEHIND, "changes behind", names, columns, checks)]


def watchers_in_words(curve: Curve) -> list[str]:
    """What it shows, for readers."""
    return [f"{curve.x[-1]} watchers that RESUME take {_times(curve)} to be up to date."]


def behind_in_words(curve: Curve) -> list[str]:
    """What it shows, for readers."""
    return [f"{SIZE:,} watchers that are {curve.x[-1]} changes behind take {_times(curve)} to be up to date."]


def _times(curve: Curve) -> str:
    seconds = curve.columns[_column(RESUME, "all know, s")][-1]
    return f"{seconds:.1f} s, {curve.checks[0].value:.2f} times what as many that begin to WATCH do,"


def _position_before(bench: Bench, system: System, changes: int) -> bytes:
    """Make so many changes; the position before them."""
    where = position(system.server.port)
    bench.generator.fill(system, changes, VALUE)
    return where


def _grown(
    bench: Bench, system: System, points: Sequence[int], load: Callable[[int], tuple[int, bytes]]
) -> tuple[dict[str, list[float]], dict[tuple[str, int], list[Known]]]:
    """Columns, and what they are of.  load: for each point, how many watchers, and where RESUMEs begin."""
    found: dict[tuple[str, int], list[Known]] = {(name, point): [] for point in points for name in (RESUME, WATCH)}
    for number, (name, point) in enumerate(alternate(list(found), few_rounds(bench))):
        size, where = load(point)
        bench.say(f"{name}: {size:,} watchers ({point:,}) ...")
        rest(system)
        # A prefix of its own, of which nothing was set before.
        request = Request(name, b"%d/" % number, where if name == RESUME else b"")
        found[name, point].append(come_back(system, size, request, settled=True))
    columns = {
        _column(name, title): [medians(found[name, point], figure) for point in points]
        for title, figure in FIGURES.items()
        for name in (RESUME, WATCH)
    }
    missing = max(one.missing for known in found.values() for one in known)
    if missing:
        raise LoadFailed(f"{missing:,} watchers were refused, or not up to date in time")
    return columns, found


def _column(name: str, title: str) -> str:
    return f"{name}: {title}"


def _check(title: str, figures: Sequence[Known], bases: Sequence[Known]) -> Check:
    return Check(f"{title}: {RESUME} / {WATCH}", known_ratio(figures, bases, "worst"))


HOW_WATCHERS = (
    f"So many connections RESUME at once, {BEHIND:,} changes of other keys behind, or begin to WATCH; when all have "
    "their OK, a key that they watch is set. The seconds are from sending the requests to when the last of them has "
    "read the new value, *daemon* the daemon's processor time until then. The watchers are one program on the same "
    "cores."
)
HOW_BEHIND = (
    f"As before, with {SIZE:,} connections, and from positions that are further back. The daemon has just begun to "
    "follow the log, and knows nothing yet of what has changed."
)
